"""Rows: containers of other images, between nodes of ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import docker_machine
from by_hand import CALLED, by_hand
from control_flows import count_to, double, total

from grandpa_kfp import ContainerNode, Node, Workflow, collect, each, either, when

from .loops import LOOP
from .rows import Refusal, Row

SHELL = ["sh", "-ec"]
DOCKER = Refusal("", "a container of another image needs Docker")


@ContainerNode(
    image=docker_machine.BASE, command=[*SHELL, 'echo $(($0 + 1)) > "$1"'], args=["{x}", "{result}"], cache=False
)
def one_more(x: int) -> int: ...


@ContainerNode(image=docker_machine.BASE, command=[*SHELL, 'wc -l < "$0" > "$1"'], args=["{text}", "{result}"])
def lines(text: Annotated[Path, "Dataset"]) -> int: ...


@Node
def write(n: int) -> Path:
    place = Path(tempfile.mkdtemp()) / "text.txt"
    place.write_text("line\n" * n)
    return place


@Workflow
def between(n: int = 2) -> Any:
    """Values and a file go into containers, numbers come out of them, a branch and a loop ask for these."""
    more = one_more(double(n))
    with when(more > 4):
        counted = lines(write(n))
    with each(count_to(n)) as x:
        each_one = one_more(x)
    return either(counted, more), total(collect(each_one))


def between_plain(n: int = 2) -> Any:
    more = _one_more(by_hand(double, n))
    if more > 4:
        by_hand(write, n).unlink()
        CALLED.append("lines")
        counted = n
    return counted if more > 4 else more, by_hand(total, [_one_more(x) for x in by_hand(count_to, n)])


def _one_more(x: int) -> int:
    CALLED.append("one_more")
    return x + 1


REFUSED = {**LOOP, **dict.fromkeys(("threads", "processes", "yaml"), DOCKER)}

ROWS = [
    Row("containers of other images", between, between_plain, {"n": 2},
        "double one_more*3 write lines count_to total", refused=REFUSED),
    Row("containers, branch not taken", between, between_plain, {"n": 1}, "double one_more*2 count_to total",
        "write lines", refused=REFUSED),
]  # fmt: skip
