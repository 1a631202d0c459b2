"""Golden cases: a workflow's source, and below it what the compiler makes of it, in one `.case` file.

    [case nested-refs]              a case, its Python source follows; the workflow is called `pipeline`
    [graph]                         the printed graph, as recorded
    [after result_task]             the printed graph after that pass
    [faults]                        what verify finds, one fault a line

`pytest --update` writes the expected parts anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from grandpa_kfp import trace
from grandpa_kfp_compiler.graph import Code, Graph
from grandpa_kfp_compiler.json_format import dumps, loads, to_json
from grandpa_kfp_compiler.kfp import CompileOptions, compile_graph
from grandpa_kfp_compiler.passes import run_passes
from grandpa_kfp_compiler.printer import format_graph
from grandpa_kfp_compiler.verify import verify

CODE = Code(hashlib.sha256(b"PK").hexdigest(), b"PK", "3.12")
FOLDER = Path(__file__).parent / "cases"
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "graph.schema.json").read_text("utf-8"))
)
_HEAD = re.compile(r"^\[(case|graph|after|faults)(?: ([\w-]+))?\]$")


@dataclass
class Case:
    name: str
    source: list[str] = field(default_factory=list)
    expected: dict[str, list[str]] = field(default_factory=dict)


def read(path: Path) -> list[Case]:
    cases: list[Case] = []
    lines: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        head = _HEAD.match(line)
        if head is None:
            lines.append(line)
        elif head[1] == "case":
            cases.append(Case(head[2]))
            lines = cases[-1].source
        else:
            lines = cases[-1].expected.setdefault(line[1:-1], [])
    return cases


def write(path: Path, cases: list[Case]) -> None:
    parts = []
    for case in cases:
        parts.append(f"[case {case.name}]\n{_text(case.source)}")
        parts.extend(f"[{head}]\n{_text(lines)}" for head, lines in case.expected.items())
    path.write_text("\n\n".join(parts) + "\n", "utf-8")


def _text(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


ALL = [(path, case.name) for path in sorted(FOLDER.glob("*.case")) for case in read(path)]


@pytest.mark.parametrize(("path", "name"), ALL, ids=[f"{path.stem}:{name}" for path, name in ALL])
def test_case(
    path: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The compiler makes of the source what the case file says; of the graph file the same, to the pipeline's bytes."""
    cases = read(path)
    case = next(case for case in cases if case.name == name)
    graph = trace(load(case, tmp_path, monkeypatch).pipeline)
    actual = {head: made(head, graph) for head in case.expected}
    if request.config.getoption("--update"):
        case.expected = {head: text.splitlines() for head, text in actual.items()}
        write(path, cases)
    assert {head: _text(lines) for head, lines in case.expected.items()} == actual
    packed = replace(graph, code=CODE)
    assert list(SCHEMA.iter_errors(to_json(packed))) == []
    from_file = loads(dumps(packed))
    assert actual == {head: made(head, from_file) for head in case.expected}
    if not verify(graph):
        assert compile_graph(packed, CompileOptions()).text == compile_graph(from_file, CompileOptions()).text


def load(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / "calc.py"
    path.write_text(_text(case.source) + "\n", "utf-8")
    spec = importlib.util.spec_from_file_location("calc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "calc", module)
    spec.loader.exec_module(module)
    return module


def made(head: str, graph: Graph) -> str:
    kind, _, name = head.partition(" ")
    if kind == "graph":
        return format_graph(graph)
    if kind == "faults":
        return "\n".join(map(str, verify(graph)))
    printed: list[str] = []
    run_passes(graph, print_after=name, write=printed.append)
    (text,) = printed
    return text.partition("\n")[2].strip("\n")


def test_every_case_expects_something() -> None:
    """No case passes because it says nothing."""
    assert ALL
    assert [case.name for path in FOLDER.glob("*.case") for case in read(path) if not case.expected] == []
