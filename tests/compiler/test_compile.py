"""From source to file: the same bytes everywhere, nothing private in them, no half-written file."""

from __future__ import annotations

import getpass
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from base64 import b64decode
from pathlib import Path

import pytest
import yaml
from kfp_graphs import chain

import grandpa_kfp
from grandpa_kfp.api import compile
from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_compiler.kfp import Compiled
from grandpa_kfp_runtime import __version__
from grandpa_kfp_runtime.errors import CompileError, GraphError
from grandpa_kfp_runtime.stores import open_store

SOURCE = '''\
"""Adds up."""
from dataclasses import dataclass
from grandpa_kfp import Component, Node, Workflow
from helpers import twice


@dataclass(frozen=True)
class Setting:
    names: frozenset = frozenset({"a", "b", "c", "d"})


@Node(retries=1, timeout_s=60, env={"MODE": "fast"})
def add(a: int, b: int = 1) -> int:
    # a comment
    return a + twice(b)


@Node(outputs=("low", "high"))
def ends(values: list, setting: Setting = Setting()):
    return min(values), max(values)


@Node
class Scale:
    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, x: float) -> float:
        return x * self.factor


later = Node(lambda value: {"value": value, "set": {"p", "q", "r"}}, name="later")


@Component
def both(x, y):
    low, high = ends([add(x, y), add(y, x)], Setting())
    return low, high


@Workflow
def pipeline(a: int = 1, b: int = 2):
    """A small workflow."""
    low, high = both(a, b)
    return {"low": Scale(2.0)(low), "high": later(high)}
'''
HELPERS = """\
def twice(value):
    return 2 * value


def unused(value):
    return value
"""
COMPILE = """\
import sys
import tempfile
from pathlib import Path
from grandpa_kfp.api import compile
from grandpa_kfp.loading import load_target
compile(load_target(sys.argv[1]), Path(sys.argv[2]))
"""


def project(folder: Path, source: str = SOURCE, helpers: str = HELPERS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "helpers.py").write_text(helpers)
    (folder / "flow.py").write_text(source)
    return folder / "flow.py"


def compiled_in_process(file: Path, *, seed: str = "0") -> str:
    """Compiled by an interpreter of its own, as a command line would."""
    out = file.parent / "out.yaml"
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", COMPILE, str(file), str(out)], check=True, env=env, cwd=file.parent)
    return out.read_text(encoding="utf-8")


def args_by_component(text: str) -> dict[str, list[str]]:
    spec = next(yaml.safe_load_all(text))
    return {name: item["container"]["args"] for name, item in spec["deploymentSpec"]["executors"].items()}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled_in_process(project(tmp_path_factory.mktemp("once")))


def test_two_hash_seeds_and_two_folders_give_the_same_bytes(once: str, tmp_path: Path) -> None:
    assert compiled_in_process(project(tmp_path / "some" / "where" / "else"), seed="12345") == once


def test_no_path_user_or_host_is_in_the_file(once: str, tmp_path: Path) -> None:
    """Nor in the code that travels in it."""
    from grandpa_kfp_runtime.code.payload import decode_code_env

    code = re.search(r"name: GRANDPA_CODE\n\s+value: (\S+)", once) or re.search(r"GRANDPA_CODE, value: (\S+)\}", once)
    assert code is not None
    zip_bytes = decode_code_env(code[1].strip('"'))
    readable = once.replace(code[1], "") + bytes(zip_bytes).decode("latin-1")
    for private in (str(tmp_path.parent), str(Path.home()), tempfile.gettempdir()):
        assert private not in readable
    for name in (getpass.getuser(), socket.gethostname()):
        assert not re.search(rf"[/@ ]{re.escape(name)}[/@ :]", readable)


def test_editing_one_nodes_body_changes_its_args_alone(once: str, tmp_path: Path) -> None:
    before = args_by_component(once)
    after = args_by_component(
        compiled_in_process(project(tmp_path, SOURCE.replace("min(values)", "sorted(values)[0]")))
    )
    assert {name for name in before if before[name] != after[name]} == {"exec-ends"}


def test_editing_a_comment_or_what_nobody_uses_changes_no_args(once: str, tmp_path: Path) -> None:
    edited = project(
        tmp_path,
        SOURCE.replace("# a comment", "# another comment"),
        HELPERS.replace("return value\n", "return -value\n"),
    )
    assert args_by_component(compiled_in_process(edited)) == args_by_component(once)


def test_editing_a_helper_changes_the_nodes_that_use_it(once: str, tmp_path: Path) -> None:
    before = args_by_component(once)
    after = args_by_component(compiled_in_process(project(tmp_path, helpers=HELPERS.replace("2 * value", "3 * value"))))
    assert {name for name in before if before[name] != after[name]} == {"exec-add"}


def test_the_file_loads_in_kfp(once: str) -> None:
    from kfp import components

    loaded = components.load_component_from_text(once)
    assert loaded.name == "pipeline"
    assert loaded.description == "A small workflow."
    assert {name: item.default for name, item in loaded.component_spec.inputs.items()} == {"a": 1, "b": 2}


# --- in this process -----------------------------------------------------------------------------


@grandpa_kfp.Node
def square(x: int) -> int:
    return x * x


@grandpa_kfp.Workflow
def squares(x: int = 3) -> int:
    return square(square(x))


def test_compile_returns_what_it_wrote(tmp_path: Path) -> None:
    file = tmp_path / "new" / "pipeline.yaml"
    found = compile(squares, file)
    assert isinstance(found, Compiled)
    assert file.read_text(encoding="utf-8") == found.text
    assert (found.tasks, found.code, found.notes) == (2, "inline", ())


def test_a_graph_with_its_code_compiles_as_it_is(tmp_path: Path) -> None:
    graph = chain(3)
    assert isinstance(graph, Graph)
    assert compile(graph).text == compile(graph, tmp_path / "x.yaml").text


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text("old")
    with pytest.raises(CompileError):
        compile(squares, file, secret="No Secret")
    wrong = Graph("wrong", operations=chain(3).operations[2:], code=chain(3).code)
    with pytest.raises(GraphError):
        compile(wrong, file)
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["pipeline.yaml"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompileError, match=r"file/pipeline\.yaml cannot be written"):
        compile(chain(2), tmp_path / "file" / "pipeline.yaml")


def test_a_new_file_is_as_readable_as_the_users_other_files(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    compile(chain(2), tmp_path / "pipeline.yaml")
    assert stat.S_IMODE((tmp_path / "pipeline.yaml").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_code_goes_into_a_store_that_is_reachable(tmp_path: Path) -> None:
    found = compile(squares, code="store", store=str(tmp_path / "store"))
    (item,) = found.upload
    assert open_store(str(tmp_path / "store")).exists(item.key)
    assert any(note.startswith("code: stored as") for note in found.notes)


def test_a_store_out_of_reach_is_a_note_that_says_what_is_missing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = compile(squares, code="store", store=f"s3://bucket?endpoint=http://127.0.0.1:{port}")
    (item,) = found.upload
    assert any(item.key in note and "not reachable from here" in note and "deploy" in note for note in found.notes)


def test_compiling_twice_gives_the_same_text() -> None:
    assert compile(squares).text == compile(squares).text


def test_the_version_is_the_distributions() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{__version__}"' in pyproject.read_text(encoding="utf-8")


def test_the_code_in_the_file_is_the_code_of_the_graph(tmp_path: Path) -> None:
    """What is inline is the zip itself, compressed."""
    from grandpa_kfp.compiling import packed
    from grandpa_kfp_runtime.code.payload import decode_code_env

    graph = packed(squares)
    assert graph.code is not None
    spec = next(yaml.safe_load_all(compile(graph).text))
    container = spec["deploymentSpec"]["executors"]["exec-square"]["container"]
    env = {item["name"]: item["value"] for item in container["env"]}
    assert decode_code_env(env["GRANDPA_CODE"]) == graph.code.zip
    assert env["GRANDPA_CODE_SHA256"] == graph.code.sha256
    assert b64decode(env["GRANDPA_CODE"])[:4] == b"\x28\xb5\x2f\xfd"  # zstd's magic


# --- compiled and run ----------------------------------------------------------------------------


@grandpa_kfp.Node
def tell(values: object) -> str:
    return repr(values)


@grandpa_kfp.Node
def power(x: int, exponent: int) -> int:
    return x**exponent


@grandpa_kfp.Workflow
def wide(start: int = 1) -> object:
    """A list, a dict and parts of outputs, wide enough for gather tasks where the limit is low."""
    done = [power(start, index) for index in range(9)]
    pairs = pair(start)
    return {
        "list": tell(done),
        "dict": tell({"a": 1, "refs": dict(enumerate(done))}),
        "parts": tell([pairs[index % 2] for index in range(9)]),
    }


@grandpa_kfp.Node
def pair(x: int) -> list[int]:
    return [x, -x]


@pytest.mark.parametrize("mode", ["inline", "task", "store"])
def test_the_file_runs_however_the_code_travels(mode: str, tmp_path: Path) -> None:
    from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml

    store = tmp_path / "store"
    found = compile(squares, code=mode, store=str(store))
    run = run_pipeline_yaml(found.text, {"x": 2}, store=store, root=tmp_path)
    assert run.value == 16


@pytest.mark.parametrize("nested", [False, True])
def test_gathered_inputs_and_groups_give_the_same_value(
    nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits low enough that a small workflow meets them."""
    from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml

    modules = {name: sys.modules[f"grandpa_kfp_compiler.passes.{name}"] for name in ("gather_inputs", "nest_groups")}
    monkeypatch.setattr(modules["gather_inputs"], "INPUTS_LIMIT_BYTES", 1000)
    monkeypatch.setattr(modules["gather_inputs"], "GATHER_WIDTH", 4)
    if nested:
        monkeypatch.setattr(modules["nest_groups"], "ROOT_TASKS", 3)
        monkeypatch.setattr(modules["nest_groups"], "DAG_TASKS", 5)
    found = compile(wide)
    names = {leaf.key.removeprefix("comp-") for leaf in found.pipeline.leaves()}
    assert {"gather", "join", "fill", "identity"} <= names
    assert (len(found.pipeline.dags()) > 1) == nested
    run = run_pipeline_yaml(found.text, {"start": 2}, root=tmp_path)
    powers = [2**index for index in range(9)]
    assert run.value == {
        "list": repr(powers),
        "dict": repr({"a": 1, "refs": dict(enumerate(powers))}),
        "parts": repr([(2, -2)[index % 2] for index in range(9)]),
    }
