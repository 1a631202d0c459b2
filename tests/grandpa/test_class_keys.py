"""Objects are other objects once the code of a class in them has changed: their consumers run again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import grandpa_kfp
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.loading import load_target
from grandpa_kfp_compiler.kfp import Compiled
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.objects import read_header

SOURCE = """
from dataclasses import dataclass

import numpy as np
import pandas as pd

from grandpa_kfp import Node, Workflow


def shifted(x):
    return x + 1


@dataclass
class Point:
    x: int

    def norm(self):
        return shifted(self.x)


@Node
def make(x: int):
    return [Point(x), np.zeros(2)]


@Node
def array(x: int):
    return np.full(3, x)


@Node
def frame(x: int):
    return pd.DataFrame({"x": [x], "name": ["one"]})


@Node
def use(values, given, apply):
    return values[0].norm(), given.norm(), apply(2), tuple(values[1])


@Node
def sums(a, b):
    return float(a.sum()) + float(b["x"].sum())


def double(x):
    return 2 * x


@Node
def twice(x):
    return double(x)


@Workflow
def flow(x: int = 1):
    return use(make(x), Point(5), twice.fn), sums(array(x), frame(x))
"""

CHANGES = {
    "method": ("return shifted(self.x)", "return shifted(self.x) + 10"),
    "helper": ("return x + 1", "return x + 11"),
}


class Version:
    """One version of the file: its runs on threads and from YAML, and what was compiled."""

    def __init__(self, folder: Path, source: str) -> None:
        folder.mkdir()
        (folder / "grandpa.toml").write_text("")
        (folder / "keyed_flow.py").write_text(source)
        sys.modules.pop("keyed_flow", None)
        try:
            workflow = load_target(str(folder / "keyed_flow.py"))
            self.local = grandpa_kfp.run(workflow)
            self.compiled: Compiled = grandpa_kfp.compile(workflow, folder / "flow.yaml")
        finally:
            sys.modules.pop("keyed_flow", None)
        self.yaml = run_pipeline_yaml(folder / "flow.yaml", root=folder)
        self.store = FileStore(folder / ".grandpa" / "store")

    def document(self) -> dict[str, Any]:
        return next(iter(yaml.safe_load_all(self.compiled.text)))

    def constant(self) -> str:
        """The handle of `Point(5)`, as the YAML has it."""
        inputs = self.document()["root"]["dag"]["tasks"]["use"]["inputs"]["parameters"]
        return str(inputs["given"]["runtimeValue"]["constant"])

    def executor(self, task: str) -> Any:
        """The container of a task without its environment: what KFP's cache looks at, but for inputs."""
        container = self.document()["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
        return {name: value for name, value in container.items() if name != "env"}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(tmp_path_factory.mktemp("first") / "project", SOURCE)


@pytest.fixture(scope="module", params=sorted(CHANGES))
def second(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Version:
    old, new = CHANGES[request.param]
    assert old in SOURCE
    return Version(tmp_path_factory.mktemp("second") / "project", SOURCE.replace(old, new))


def key(run: Any, task: str) -> str:
    handle = run.tasks[task].outputs["result"]
    assert handle.startswith("@")
    return str(handle)


def test_the_values_are_those_of_the_new_code(first: Version, second: Version) -> None:
    for version, point, given in ((first, 2, 6), (second, 12, 16)):
        value = ((point, given, 4, (0.0, 0.0)), 4.0)
        assert (version.local.value, version.yaml.value) == (value, value)


@pytest.mark.parametrize("engine", ["local", "yaml"])
def test_an_object_of_a_changed_class_has_another_key(first: Version, second: Version, engine: str) -> None:
    one, two = getattr(first, engine), getattr(second, engine)
    assert key(one, "make") != key(two, "make")
    header = read_header(first.store.read(key(one, "make")[1:]))
    assert list(header["classes"]) == ["keyed_flow:Point"]


@pytest.mark.parametrize("engine", ["local", "yaml"])
@pytest.mark.parametrize("task", ["array", "frame"])
def test_an_object_without_project_classes_keeps_its_key(
    first: Version, second: Version, engine: str, task: str
) -> None:
    one = getattr(first, engine)
    assert key(one, task) == key(getattr(second, engine), task)
    assert "classes" not in read_header(first.store.read(key(one, task)[1:]))


def test_both_engines_give_the_same_keys(first: Version) -> None:
    """The container's project is the unpacked zip, the local one's the folder."""
    for task in ("make", "array", "frame"):
        assert key(first.local, task) == key(first.yaml, task)


def test_what_a_consumer_is_given_changes_though_its_own_code_does_not(first: Version, second: Version) -> None:
    """So that KFP's cache key changes by the inputs alone."""
    assert first.executor("use") == second.executor("use")
    assert first.constant() != second.constant()


def test_a_function_as_an_argument_carries_its_code(tmp_path: Path, first: Version) -> None:
    """`twice.fn` is named by the pickle, and `double` is what it calls."""

    def function(version: Version) -> str:
        inputs = version.document()["root"]["dag"]["tasks"]["use"]["inputs"]["parameters"]
        return str(inputs["apply"]["runtimeValue"]["constant"])

    changed = Version(tmp_path / "project", SOURCE.replace("return 2 * x", "return 3 * x"))
    assert changed.yaml.value[0][2] == 6
    assert function(changed) != function(first)
    assert changed.constant() == first.constant()
