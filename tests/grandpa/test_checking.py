"""`check` finds everything that is wrong in one go, and tells what is worth knowing."""

from __future__ import annotations

import threading
from pathlib import Path

from command_line import Project

from grandpa_kfp import Component, Node, Workflow, pvc
from grandpa_kfp.checking import check


@Node
def number(x: int) -> int:
    return x


@Node
def text(x: str) -> str:
    return x


@Node(memory="8Gi")
def hungry(x: int) -> int:
    return x


@Node
def calls_hungry(x: int) -> int:
    return hungry(x)


def test_a_right_workflow_has_no_faults_and_tells_its_sizes() -> None:
    """Tasks are counted; code and YAML are weighed."""

    @Workflow
    def right() -> int:
        return number(number(1))

    findings = check(right)
    assert findings.faults == ()
    assert findings.tasks == 2
    assert dict(findings.sizes)["code"] > 0
    assert dict(findings.sizes)["YAML"] > 1000


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    """Two edges that cannot fit and a constant that cannot be stored: three faults, each with file:line."""

    @Workflow
    def wrong() -> int:
        number(text("a"))
        number(text("b"))
        return number(threading.Lock())

    findings = check(wrong)
    assert len(findings.faults) == 3
    assert all("test_checking.py:" in fault for fault in findings.faults)
    assert any("lock" in fault for fault in findings.faults)


def test_what_nothing_consumes_is_noted() -> None:
    """It runs all the same, so it is no fault."""

    @Workflow
    def unused() -> int:
        text("forgotten")
        return number(1)

    findings = check(unused)
    assert findings.faults == ()
    assert [note.partition(" ")[0] for note in findings.notes] == ["text"]


def test_a_body_that_calls_for_more_than_its_task_has_is_noted() -> None:
    """Inner tasks run inside the outer one's container."""

    @Workflow
    def growing() -> int:
        return calls_hungry(1)

    notes = check(growing).notes
    assert [note for note in notes if "hungry" in note and "memory='8Gi'" in note]

    @Workflow
    def asked() -> int:
        return calls_hungry.options(memory="8Gi")(1)

    assert not [note for note in check(asked).notes if "hungry" in note]


def test_a_body_that_calls_for_a_volume_or_a_secret_that_its_task_has_not_is_noted() -> None:
    """Each by its name; what the task has besides is nobody's matter."""

    @Node(volumes={"/data": pvc("datasets")}, secrets={"TOKEN": "vault/token"})
    def reads(x: int) -> int:
        return x

    @Node(secrets={"TOKEN": "vault/token", "USER": "vault/user"})
    def calls_reads(x: int) -> int:
        return reads(x)

    @Workflow
    def growing() -> int:
        return calls_reads(1)

    (note,) = [note for note in check(growing).notes if "its body calls" in note]
    assert "ask for it here: options(volumes={'/data': {'pvc': 'datasets'}})" in note


def test_a_component_and_a_node_can_be_checked() -> None:
    """Whatever can be run can be checked."""

    @Component
    def twice(a: int) -> int:
        return number(number(a))

    assert check(twice).tasks == 2
    assert check(number).tasks == 1


def test_each_nodes_own_packages_are_offered_as_pins(tmp_path: Path) -> None:
    """By what a node's code reaches, not by what its file imports."""
    project = Project(tmp_path)
    project.flow(
        """
        import yaml
        @Node
        def reads(x: str) -> object:
            return yaml.safe_load(x)
        @Node
        def plain(x: object) -> int:
            return 1
        @Workflow
        def flow() -> int:
            return plain(reads("a"))
        """
    )
    said = project.grandpa("check", "flow.py")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    assert any(line[0] == "reads" and line[1].lower().startswith("pyyaml==") for line in lines)
    assert ["plain", "none"] in lines
    assert "pins: packages=['" in said.out


def test_the_verb_ends_with_one_when_there_are_faults(tmp_path: Path) -> None:
    """Every fault is a line of its own on standard error."""
    project = Project(tmp_path)
    project.flow(
        """
        @Node
        def f(a: int) -> int:
            return a
        @Workflow
        def flow() -> int:
            f()  # <-
            f(1, 2)  # <2
            return f(3)
        """
    )
    said = project.grandpa("check", "flow.py")
    assert said.code == 1
    assert [project.line() in error for error in said.errors] == [True, False]
    assert [project.line(mark="# <2") in error for error in said.errors] == [False, True]
