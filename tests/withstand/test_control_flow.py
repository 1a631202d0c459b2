"""Branches and loops over what they cannot use: one message with the user's line, whichever way the workflow is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Ended, Project, says

WAYS = ("threads", "processes", "yaml")


def ran(project: Project, way: str, name: str = "flow", *options: str) -> Ended:
    """`grandpa run` on threads, on worker processes, or of the compiled YAML."""
    if way == "yaml":
        compiled = project.grandpa("compile", f"flow.py:{name}", "-o", "flow.yaml")
        assert compiled.code == 0, compiled.err
        return project.grandpa("run", "flow.yaml", *options)
    return project.grandpa("run", f"flow.py:{name}", *options, *(("--processes", "2") if way == "processes" else ()))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.flow("""
        from typing import Any
        from grandpa_kfp import collect, each, either, when

        @Node
        def give(kind: str) -> Any:
            return {"list": [1], "dict": {"a": 1}, "number": 3, "text": "abc", "bytes": b"abc", "none": None,
                    "texts": ["a" * 100] * 10_000}[kind]

        @Node
        def double(x: int) -> int:
            return 2 * x

        @Workflow
        def decides(kind: str = "list"):
            with when(give(kind) > 3):  # <- branch
                big = double(1)
            return either(big, 0)

        @Workflow
        def goes_round(kind: str = "number"):
            with each(give(kind), parallelism=2) as x:  # <- loop
                doubled = double(x)
            return collect(doubled)

        @Workflow
        def many(n: int = 10_000):
            with each(range(10_000), parallelism=4) as x:
                doubled = double(x)
            return collect(doubled)[-1]
    """)
    return made


@pytest.mark.parametrize("way", WAYS)
def test_a_condition_on_a_value_of_the_wrong_type(way: str, project: Project) -> None:
    """What it was given, where it stands, and what to do instead."""
    for kind, told in (("list", "was given list of 1; compare it inside a node"), ("text", "orders what has no order")):
        error = ran(project, way, "decides", "-p", f"kind={kind}")
        assert error.code == 3
        (message,) = error.errors
        assert message.startswith("when")
        assert project.line(mark="# <- branch") in message
        assert told in message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["number", "text", "dict", "bytes", "none"])
def test_a_loop_over_something_that_is_no_list(way: str, kind: str, project: Project) -> None:
    error = ran(project, way, "goes_round", "-p", f"kind={kind}")
    assert error.code == 3
    (message,) = error.errors
    assert message.startswith("each")
    assert project.line(mark="# <- loop") in message
    assert "it loops over a list, but was given" in message
    assert "make it one in a node" in message


@pytest.mark.parametrize("way", ["threads", "processes"])
def test_a_loop_of_10_000_rounds(way: str, project: Project) -> None:
    assert ran(project, way, "many").value == 19_998


def test_more_items_than_kubeflow_can_take_are_told_before_any_round(project: Project) -> None:
    """Their handles travel as one argument; the message says where, how many, and what to do."""
    error = ran(project, "yaml", "goes_round", "-p", "kind=texts")
    assert error.code == 3
    (message,) = error.errors
    for part in ("each", project.line(mark="# <- loop"), "10,000 items", "loop over parts of the list"):
        assert part in message
    assert "double" not in message


@pytest.mark.parametrize("verb", ["run", "compile", "check"])
@pytest.mark.parametrize(
    ("result", "told"),
    [("big", "used outside the branch at {}"), ("either(big)", "no condition of the `when` at {} holds")],
)
def test_a_branch_that_may_not_be_taken_whose_value_is_wanted(
    verb: str, result: str, told: str, project: Project
) -> None:
    """Told with both places before anything runs."""
    project.flow(f"""
        from grandpa_kfp import either, when

        @Node
        def double(x: int) -> int:
            return 2 * x

        @Workflow
        def flow(x: int = 1):
            with when(x > 3):  # <- branch
                big = double(x)
            return double({result})  # <- wanted
    """)
    here, branch = project.line(mark="# <- wanted"), project.line(mark="# <- branch")
    says(project.grandpa(verb, "flow.py"), 1, here, told.format(branch), "either(")
