"""Random workflows give the same value, and run each body exactly once, on threads and on 1, 2 and 4 processes.

`SOAK_EXAMPLES=2000` makes it a soak.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_random_workflows import PRELUDE, direct, workflow_bodies

import grandpa_kfp
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.workers import own_or_given
from grandpa_kfp.loading import load_target

TALLY = """
import os


def tally(name):
    descriptor = os.open(os.environ["TALLY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, name.encode() + b"\\n")
    os.close(descriptor)

"""


def _depth(line: str) -> str:
    return " " * (len(line) - len(line.lstrip()) + 4)


_NODE = re.compile(r"(?<=@Node\n)def (\w+).*:\n|(?<=\)\n)def (\w+).*:\n|    def (__call__).*:\n")
COUNTED = TALLY + _NODE.sub(
    lambda found: f'{found[0]}{_depth(found[0])}tally("{found[1] or found[2] or found[3]}")\n', PRELUDE
)

MAPS = """
@Node
def listed(a: int, b: int) -> list:
    tally("listed")
    return list(range(a % 7, a % 7 + abs(b) % 9))


@Node
def mapped(a: int, b: int) -> Any:
    tally("mapped")
    return grown.map(listed(a, b), range(abs(b) % 9), window=4)


@Node
def resolved(a: int, b: int) -> int:
    tally("resolved")
    return add(blend(a, b), b).resolve()

"""


@st.composite
def growing_bodies(draw: st.DrawFn) -> str:
    """A random workflow with maps, bodies that return maps, and bodies that wait for calls of their own."""
    lines = draw(workflow_bodies(8)).splitlines()
    more = [
        f"m{place} = {draw(st.sampled_from(_MORE)).format(draw(st.integers(-9, 9)), draw(st.sampled_from(['p', 'q'])))}"
        for place in range(draw(st.integers(0, 3)))
    ]
    result = lines.pop().removeprefix("    return ")
    made = "".join(f"m{place}, " for place in range(len(more)))
    return "\n".join([*lines, *(f"    {line}" for line in more), f"    return ({result}, {made})"]) + "\n"


_MORE = (
    "total(add.map(listed({0}, {1}), window=3))",
    "mapped({0}, {1})",
    "total(mapped({1}, {0}))",
    "[resolved({0}, {1}), resolved({1}, {0})]",
    "grown.map([{0}, {1}, 3, 4], [{1}, 2, {0}, 1])",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose workflows all use the nodes of one module, so that worker processes stay."""
    folder = tmp_path_factory.mktemp("agreeing")
    (folder / "pyproject.toml").write_text("")
    (folder / "agreeing_nodes.py").write_text(COUNTED + MAPS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("agreeing_nodes", None)


ENGINES = [(0, 4), (1, 1), (2, 1), (4, 1), (2, 2)]


@pytest.fixture(scope="module")
def crews() -> Iterator[list[tuple[Crew | int, int]]]:
    with ExitStack() as stack:
        yield [(stack.enter_context(own_or_given(count, threads, None)) or 0, threads) for count, threads in ENGINES]


numbers = iter(range(1_000_000))


def counts(folder: Path, run: Any) -> tuple[str, Counter[str]]:
    """The value's text, and how often each body ran."""
    file = folder / f"tally-{next(numbers)}"
    file.touch()
    os.environ["TALLY"] = str(file)
    try:
        value = run()
    finally:
        del os.environ["TALLY"]
    return repr(value), Counter(file.read_text().split())


def load(folder: Path, body: str) -> Any:
    name = f"agreeing_{next(numbers)}"
    (folder / f"{name}.py").write_text(f"from grandpa_kfp import Workflow\nfrom agreeing_nodes import *\n\n{body}")
    return load_target(f"{folder / name}.py:made")


def agree(folder: Path, crews: list[tuple[Crew | int, int]], body: str, p: int, expected: Any) -> None:
    workflow = load(folder, body)
    for (processes, threads), engine in zip(crews, ENGINES, strict=True):
        options: dict[str, Any] = {"threads": threads} if not processes else {}

        start = partial(grandpa_kfp.run, workflow, {"p": p}, processes=processes, record=False, **options)
        found = counts(folder, lambda start=start: start().value)
        expected = expected or found
        assert (engine, found) == (engine, expected)


EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", "30"))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=workflow_bodies(12), p=st.integers(-5, 5))
def test_every_engine_gives_what_plain_python_gives(
    folder: Path, crews: list[tuple[Crew | int, int]], body: str, p: int
) -> None:
    """The same value, and as many calls of each node."""
    agree(folder, crews, body, p, counts(folder, lambda: direct(COUNTED + body, {"p": p})))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=growing_bodies(), p=st.integers(-5, 5))
def test_maps_and_waiting_bodies_agree_on_every_engine(
    folder: Path, crews: list[tuple[Crew | int, int]], body: str, p: int
) -> None:
    """The same value, and as many calls of each node."""
    agree(folder, crews, body, p, None)
