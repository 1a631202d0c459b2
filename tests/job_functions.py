"""Functions for processes of an `Executor`, which find this module by its name whatever the environment."""

from __future__ import annotations

from grandpa_kfp import Node


@Node
def double(x: int) -> int:
    return 2 * x


def boom(text: str) -> None:
    raise KeyError(text)


class Odd(Exception):
    """One that does not come back from a pickle."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


def odd() -> None:
    raise Odd(1, 2)
