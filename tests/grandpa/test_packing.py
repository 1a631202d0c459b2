"""A packed graph: fingerprints and code, and what the code holds."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import grandpa_kfp
from grandpa_kfp import loading
from grandpa_kfp.loading import load_target
from grandpa_kfp.packing import pack, root_of
from grandpa_kfp_compiler.graph import Call, Graph, PythonNode
from grandpa_kfp_runtime.code.payload import Loader, unpack
from grandpa_kfp_runtime.errors import PayloadError

FLOW = """
from dataclasses import dataclass
from grandpa_kfp import Node, Workflow
from zz_shared import shared, Config

SCALE = 2

@Node
def first(x: int) -> int:
    return shared(x) * SCALE

@Node(retries=2)
def second(x: int) -> int:
    '''Adds.'''
    return x + 1  # one

@Node
class Third:
    def __init__(self, by): self.by = by
    def __call__(self, x: int) -> int:
        return shared(x) - self.by

triple = Node(lambda x: 3 * x)

def make(offset):
    @Node("shifted")
    def inner(x): return x + offset
    return inner

@Workflow
def main(x: int = 1) -> int:
    return make(5)(triple(Third(2)(second(first(x)))))
"""
SHARED = "class Config:\n    pass\n\ndef shared(x):\n    return x\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    project = tmp_path / "project"
    write(project, zz_flow=FLOW, zz_shared=SHARED)
    (project / "pyproject.toml").touch()
    yield project
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    loading._loaded.clear()


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


def packed(folder: Path, **options: Any) -> Graph:
    return pack(grandpa_kfp.trace(load_target(str(folder / "zz_flow.py"))), **options)


def names(graph: Graph) -> list[str]:
    assert graph.code is not None
    return zipfile.ZipFile(io.BytesIO(graph.code.zip)).namelist()


def prints(graph: Graph) -> dict[str, str]:
    return {node.name: node.fingerprint for node in graph.nodes().values()}


def changed(folder: Path, **files: str) -> set[str]:
    before = prints(packed(folder))
    write(folder, **files)
    after = prints(packed(folder))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_nodes_get_keys_fingerprints_and_code(folder: Path) -> None:
    """By reference where they can be imported, a closure by value; the code is the closure of their modules."""
    graph = packed(folder)
    assert list(graph.nodes()) == [
        "zz_flow:Third",
        "zz_flow:first",
        "zz_flow:second",
        "zz_flow:triple",
        "value:shifted",
    ]
    assert {len(node.fingerprint) for node in graph.nodes().values()} == {64}
    assert names(graph) == [
        "__grandpa__/manifest.json", "__grandpa__/values/shifted.pickle", "zz_flow.py", "zz_shared.py",
    ]  # fmt: skip
    assert root_of(graph) == folder


def test_every_key_of_a_packed_graph_loads(folder: Path, tmp_path: Path) -> None:
    """As plain functions and classes, from the zip alone."""
    graph = packed(folder)
    assert graph.code is not None
    unpack(graph.code.zip, graph.code.sha256, tmp_path / "code")
    with Loader(tmp_path / "code") as loader:
        assert loader.load("zz_flow:first")(4) == 8
        assert loader.load("zz_flow:triple")(4) == 12
        assert loader.load("value:shifted")(4) == 9
        third = loader.load("zz_flow:Third")
        assert third.__grandpa_construct__(2)(5) == 3


def test_a_graph_that_has_code_is_left_as_it_is(folder: Path) -> None:
    """It may be from a file, its functions no longer there."""
    graph = packed(folder)
    assert pack(graph) is graph


def test_editing_changes_the_nodes_that_use_what_was_edited(folder: Path) -> None:
    """One body one node, a helper of two those two, a constant its user, a comment none."""
    assert changed(folder, zz_flow=FLOW.replace("return x + 1", "return x + 2")) == {"second"}
    assert changed(folder, zz_flow=FLOW.replace("return x + 1  # one", "return x + 2  # two\n\n")) == set()
    assert changed(folder, zz_flow=FLOW) == {"second"}
    assert changed(folder, zz_shared=SHARED.replace("return x", "return -x")) == {"first", "Third"}
    assert changed(folder, zz_flow=FLOW.replace("SCALE = 2", "SCALE = 3")) == {"first"}
    assert changed(folder, zz_flow=FLOW.replace("SCALE = 2", "SCALE = 3").replace("retries=2", "retries=5")) == set()
    assert changed(folder, zz_flow=FLOW.replace("SCALE = 2", "SCALE = 3").replace("make(5)", "make(6)")) == {"shifted"}


def test_included_files_go_along_and_count_for_all(folder: Path) -> None:
    """Which node reads them, nobody knows."""
    plain = packed(folder)
    (folder / "table.csv").write_text("1")
    one = packed(folder, include=["table.csv"])
    (folder / "table.csv").write_text("2")
    two = packed(folder, include=["table.csv"])
    assert "table.csv" in names(one)
    for name in prints(plain):
        assert len({prints(graph)[name] for graph in (plain, one, two)}) == 3


def test_modules_of_values_and_types_go_along(folder: Path) -> None:
    """A workflow's constant and its parameter's class, though the node's module imports neither."""
    write(
        folder,
        zz_nodes="from grandpa_kfp import Node\n@Node\ndef show(x, y): return str(x)\n",
        zz_kinds="class Kind: pass\n",
    )
    write(folder, zz_types="from dataclasses import dataclass\n@dataclass\nclass Size:\n    n: int = 1\n")
    write(
        folder,
        zz_flow="from grandpa_kfp import Workflow\nfrom zz_nodes import show\nfrom zz_kinds import Kind\n"
        "from zz_types import Size\n"
        "@Workflow\ndef main(size: Size = Size()): return show([Kind()], size)\n",
    )
    assert names(packed(folder)) == ["__grandpa__/manifest.json", "zz_kinds.py", "zz_nodes.py", "zz_types.py"]


def test_a_graph_without_code_and_functions_cannot_be_packed() -> None:
    """It says which node, and what to do."""
    graph = Graph("flow", operations=(Call("a", PythonNode("flow:a", "a")),))
    with pytest.raises(PayloadError, match="flow: the graph carries no code, and a is known by its name alone"):
        pack(graph)


def test_the_tasks_that_passes_add_need_no_code() -> None:
    """Every worker has the runtime's own."""
    graph = Graph(
        "flow", operations=(Call("a", PythonNode("grandpa_kfp_runtime.builtins:identity", "a", fingerprint="f")),)
    )
    assert names(pack(graph)) == ["__grandpa__/manifest.json"]


def test_packing_is_the_same_in_two_seeds_and_two_folders(tmp_path: Path) -> None:
    """Fingerprints, keys and every byte of the zip."""
    script = (
        "import sys, grandpa_kfp\nfrom grandpa_kfp.loading import load_target\nfrom grandpa_kfp.packing import pack\n"
        "g = pack(grandpa_kfp.trace(load_target(sys.argv[1])))\n"
        "print(g.code.sha256, [(k, n.fingerprint) for k, n in g.nodes().items()])"
    )
    printed = set()
    for seed, place in (("1", "a"), ("2", "b/c")):
        write(tmp_path / place, zz_flow=FLOW, zz_shared=SHARED)
        (tmp_path / place / "grandpa.toml").touch()
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / place / "zz_flow.py")],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        printed.add(done.stdout)
    assert len(printed) == 1


def args_of(folder: Path) -> dict[str, set[str]]:
    """Node -> fingerprints, from the args of the compiled YAML."""
    text = grandpa_kfp.compile(load_target(str(folder / "zz_flow.py"))).text
    found: dict[str, set[str]] = {}
    for executor in next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values():
        args = executor["container"]["args"]
        found.setdefault(args[args.index("--node") + 1], set()).add(args[args.index("--fingerprint") + 1])
    return found


def test_a_calls_options_are_in_its_args(folder: Path) -> None:
    """`version` of one call makes its results new, and leaves the node's other call alone; retries change nothing."""
    plain = args_of(folder)
    flow = FLOW.replace("second(first(x))", "second(second.options(version='2', retries=4)(first(x)))")
    write(folder, zz_flow=flow)
    both = args_of(folder)
    assert both["zz_flow:second"] > plain["zz_flow:second"]
    assert len(both["zz_flow:second"]) == 2
    assert {key: value for key, value in both.items() if key != "zz_flow:second"} == {
        key: value for key, value in plain.items() if key != "zz_flow:second"
    }
    write(folder, zz_flow=FLOW.replace("retries=2", "retries=5"))
    assert args_of(folder) == plain


def test_the_class_of_an_instance_that_is_an_argument_is_in_the_args(folder: Path) -> None:
    """No handle carries it: the task constructs the instance itself."""
    flow = FLOW.replace("@Workflow", "@Node\ndef use(model, x): return model(x)\n\n@Workflow").replace(
        "second(first(x))", "use(Third(3), first(x))"
    )
    write(folder, zz_flow=flow)
    before = args_of(folder)
    write(folder, zz_flow=flow.replace("shared(x) - self.by", "shared(x) + self.by"))
    after = args_of(folder)
    assert {key for key in before if before[key] != after[key]} == {"zz_flow:Third", "zz_flow:use"}
