"""A calculator: nodes inside nodes, a component inside a workflow.

grandpa run samples/calculator/pipeline.py -p a=23
"""

from __future__ import annotations

from grandpa_kfp import Component, Node, Workflow, launch


@Node
def _add(a: int, b: int) -> int:
    return a + b


@Node
def add(a: int, b: int) -> int:
    """A node whose body calls another node: it grows the graph while it runs."""
    return _add(a, b)


@Node
def subtract(a: int, b: int) -> int:
    return a - b


@Node
def multiply(a: int, b: int, c: int) -> int:
    return a * b * c


@Node
class Divide:
    """A class node: what it is made with, and what it is called with, are apart."""

    def __init__(self, divisor: int) -> None:
        self.divisor = divisor

    def __call__(self, a: int) -> int:
        return a // self.divisor


@Component
def remainder(a: int, b: int) -> int:
    """a modulo b, from the nodes above."""
    quotient = Divide(b)(a)
    return subtract(a, multiply(quotient, b, 1))


@Workflow
def calculator(a: int = 10, b: int = 2, c: int = 5, d: int = 6) -> int:
    """(a + b) * c * (c - d), and what is left of it by 7.

    Args:
        a: the first summand
        b: the second summand
        c: a factor, and what d is taken from
        d: what is taken from c
    """
    product = multiply(add(a, b), c, subtract(c, d))
    return remainder(product, 7)


if __name__ == "__main__":
    launch()
