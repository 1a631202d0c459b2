"""The graphs that sizes.py compiles, for both compilers: a chain, a fan-out, random layers.

Annotations are no strings here: the kfp SDK could not read them.
"""

import random
from collections.abc import Callable
from typing import Any

from grandpa_kfp import Node, Static, Workflow

Combine = Callable[..., Any]
SUMMED = 10


@Node
def add(a: int, b: int) -> int:
    return a + b


@Node
def total(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: int) -> int:
    return a + b + c + d + e + f + g + h + i + j


def chain(tasks: int, start: Any, add: Combine, total: Combine) -> Any:
    """Each task reads the one before."""
    value = start
    for number in range(tasks):
        value = add(value, number)
    return value


def fan_out(tasks: int, start: Any, add: Combine, total: Combine) -> Any:
    """Independent tasks, summed by tens in a tree."""
    row = [add(start, number) for number in range(tasks * (SUMMED - 1) // SUMMED)]
    while len(row) >= SUMMED:
        left = row[len(row) // SUMMED * SUMMED :]
        row = [total(*row[at : at + SUMMED]) for at in range(0, len(row) - SUMMED + 1, SUMMED)] + left
    for value in row[1:]:
        row[0] = add(row[0], value)
    return row[0]


def layers(tasks: int, start: Any, add: Combine, total: Combine) -> Any:
    """Layers as wide as there are layers; each task reads two at random of the layer before."""
    drawn = random.Random(0)
    width = round(tasks**0.5)
    row = [add(start, number) for number in range(width)]
    for _ in range(1, tasks // width):
        row = [add(*drawn.sample(row, 2)) for _ in range(width)]
    value = row[0]
    for other in row[1:]:
        value = add(value, other)
    return value


SHAPES: dict[str, Callable[[int, Any, Combine, Combine], Any]] = {
    "chain": chain,
    "fan-out": fan_out,
    "layers": layers,
}


@Workflow
def shape(start: int = 1, name: Static[str] = "chain", tasks: Static[int] = 100) -> int:
    return SHAPES[name](tasks, start, add, total)


def kfp_pipeline(name: str, tasks: int) -> Any:
    """The same graph as a pipeline of the kfp SDK, of container components."""
    from kfp import dsl

    @dsl.container_component
    def kfp_add(a: int, b: int, result: dsl.OutputPath(int)):  # type: ignore[no-untyped-def,valid-type]
        return dsl.ContainerSpec(image="python:3.12", command=["python", "-m", "add"], args=[a, b, result])

    @dsl.container_component
    def kfp_total(  # type: ignore[no-untyped-def]
        a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int, j: int,
        result: dsl.OutputPath(int),  # type: ignore[valid-type]
    ):  # fmt: skip
        words = [a, b, c, d, e, f, g, h, i, j, result]
        return dsl.ContainerSpec(image="python:3.12", command=["python", "-m", "total"], args=words)

    def adding(a: Any, b: Any) -> Any:
        return kfp_add(a=a, b=b).outputs["result"]

    def totalling(*values: Any) -> Any:
        return kfp_total(**dict(zip("abcdefghij", values, strict=True))).outputs["result"]

    @dsl.pipeline(name="shape")
    def pipeline(start: int = 1) -> None:
        SHAPES[name](tasks, start, adding, totalling)

    return pipeline
