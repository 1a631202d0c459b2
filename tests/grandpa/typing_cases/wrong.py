"""Wrong uses: a type checker must find fault with exactly the lines marked so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from grandpa_kfp import Component, ContainerNode, GeneratorNode, Node, Workflow, sync


@Node
def subtract(a: int, b: int) -> int:
    return a - b


@Node(retries=2)
def text(a: int) -> str:
    return ""


@Component
def group(a: int) -> int:
    return subtract(a, a)


@Workflow
def pipeline(a: int = 1) -> int:
    return group(a)


@GeneratorNode
def counted(n: int) -> Iterator[int]:
    yield n


@ContainerNode(image="alpine:3")
def lines(file: Path) -> int:
    raise AssertionError


subtract("x", 2)  # wrong
subtract(1)  # wrong
subtract(text(1), 2)  # wrong
subtract(1, 2, c=2)  # wrong
subtract(group(1), pipeline(2))
group("x")  # wrong
pipeline(a="x")  # wrong
text(1) + 1  # wrong
text.map(3)  # wrong
Node(retrys=2)  # wrong
Node(retries="x")  # wrong
counted("x")  # wrong
subtract(counted(1), 2)  # wrong
sync.Queue[int]().put("x")  # wrong
lines("x")  # wrong
subtract(text(lines(Path("x"))), 2)  # wrong
ContainerNode(image="alpine:3", packages=["x"])  # wrong
