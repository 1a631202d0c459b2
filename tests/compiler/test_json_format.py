"""The graph file: lossless, deterministic, held to its schema; what is wrong with one is told with its place."""

from __future__ import annotations

import base64
import copy
import enum
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from grandpa_kfp_compiler.graph import (
    Arm,
    Branch,
    Call,
    Code,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    NodeParameter,
    Options,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
)
from grandpa_kfp_compiler.json_format import dumps, from_json, is_graph_file, loads, to_json
from grandpa_kfp_compiler.options.placement import Toleration
from grandpa_kfp_compiler.options.volumes import ConfigMapVolume, EmptyDir, EphemeralVolume, Pvc, SecretVolume
from grandpa_kfp_compiler.printer import format_graph
from grandpa_kfp_runtime.errors import CodecError, GraphError, LoadError, PayloadError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.typespec import describe
from grandpa_kfp_runtime.values.handles import from_handle

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = jsonschema.Draft202012Validator(json.loads((DOCS / "graph.schema.json").read_text("utf-8")))


class Color(enum.Enum):
    RED = 1


SIGNATURE = Signature(
    (
        NodeParameter("a", "positional_only", describe(int | None)),
        NodeParameter("b", type=describe(list[float]), has_default=True),
        NodeParameter("args", "var_positional"),
        NodeParameter("c", "keyword_only", describe(Color)),
        NodeParameter("more", "var_keyword"),
    ),
    describe(tuple[int, ...]),
)
STATS = PythonNode("calc:stats", "stats", False, (("", SIGNATURE),), ("mean", "std"), "f" * 64, "calc.py:3", "Does.")
SCALE = PythonNode("calc:Scale", "Scale", True, (("__init__", Signature()), ("__call__", SIGNATURE)))
OPTIONS = Options(
    retries=2, timeout_s=1.5, cpu="500m", memory="2Gi", gpu=1, env=(("A", "2"), ("Z", "1")), image="i",
    packages=("p==1",), secrets=(("/etc/s", "s"), ("K", "s/k")), cache="1d", version="3", verbose=True, keep=False,
    index_url="https://index/simple", backoff_s=0.5, backoff_factor=2.0, backoff_max_s=60.0, uses=(("licence", 1),),
    always=False, artifact="model", gpu_type="amd.com/gpu", shm="1Gi", disk="20Gi",
    volumes=(
        ("/big", EphemeralVolume("1Ti", "fast", ("ReadWriteMany",))), ("/config", ConfigMapVolume("settings", True)),
        ("/data", Pvc("datasets", "2024")), ("/ram", EmptyDir("1Gi", True)), ("/vault", SecretVolume("vault")),
    ),
    config_maps=(("LEVEL", "settings/level"),), node_selector=(("zone", "a"),),
    tolerations=(Toleration("spot", "Exists", "", "NoExecute", 60), Toleration("gpu", "Equal", "yes")),
    affinity=(("nodeAffinity", "{}"),), labels=(("team", "vision"),), annotations=(("why", "to show"),),
    image_pull_secrets=("registry",), kubernetes=(("imagePullPolicy", '"Always"'), ("securityContext", "{}")),
)  # fmt: skip
CONSTANTS = [
    None, True, 0, 2**53 + 1, -0.0, 1e300, "", "Grüße 🎉\n'\"", "{{x}} $$(y)", "\ud800", [1, [2, {"a": None}]], {"": 1},
    (1, 2), {3}, b"\x00", float("inf"), {1: 2}, "x" * 40_000, b"y" * 200_000,
]  # fmt: skip


TESTS = Predicate(
    "&",
    (
        Predicate(">=", (TaskOutput("stats"), Constant(0.5))),
        Predicate(
            "|",
            (
                Predicate("~", (Predicate("in", (ParameterValue("a"), Constant(["x", None]))),)),
                Predicate("true", (ParameterValue("e"),)),
            ),
        ),
    ),
)


def everything() -> Graph:
    """A graph that uses every part of the format."""
    inner = Graph(
        "inner",
        (Parameter("p", TypeSpec("handle")),),
        (Instance("i", SCALE),),
        (Call("t", SCALE, instance="i", method="__call__"), Call("u", STATS, (ParameterValue("p"),))),
        (("out", TaskOutput("u", "std")),),
    )
    live = Filled(Constant([None]), (((0,), InstanceValue("s")),))
    part = TaskOutput("stats", "mean", ("k", 0, None, (1, 2)))
    structure = Filled(Constant((None, [1, None])), (((0,), part), ((1, 1), live)))
    return Graph(
        "flow",
        (
            Parameter("a", TypeSpec("int"), Constant(10), "How many."),
            Parameter("c", describe(Color), Constant(Color.RED)),
            Parameter("e"),
            Parameter("f", default=Constant((1,))),
        ),
        (Instance("s", SCALE, (Constant(1), ParameterValue("a", ("x",))), (("base", Constant([2])),), "calc.py:7"),),
        (
            Call(
                "stats",
                STATS,
                tuple(map(Constant, CONSTANTS)),
                (("c", ParameterValue("c")), ("ü", Constant(1))),
                OPTIONS,
            ),
            Call("part/b", SCALE, (structure,), (), Options(), ("stats",), ("part",), "calc.py:9", "s", "__call__"),
            Group("g", inner, (("p", TaskOutput("stats", "std")),), ("part/b",), "calc.py:11"),
            Group("step", inner, (("p", TaskOutput("stats", "std")),), (), "calc.py:11", True, Options(cpu="2")),
            Branch(
                "when",
                (Arm(TESTS, inner), Arm(None, Graph("", outputs=(("out", Constant(None)),)))),
                (("p", TaskOutput("stats")),),
                ("g",),
                "calc.py:12",
            ),
            Loop("each", TaskOutput("stats", "mean"), "p", inner, (), 3, ("when",), "calc.py:13"),
            Loop("each-2", Constant([1, 2]), "p", inner),
        ),
        (("result", Filled(Constant({"a": None}), (((0,), TaskOutput("g", "out")),))),),
        "A flow.",
        "calc.py:20",
        describe(dict[str, int]),
        Code(hashlib.sha256(b"PK zip").hexdigest(), b"PK zip", "3.12"),
    )


def test_a_graph_comes_back_whole() -> None:
    """Everything but the live functions: the text again, the printed graph, every field of every node."""
    graph = everything()
    back = loads(dumps(graph))
    assert dumps(back) == dumps(graph)
    assert format_graph(back) == format_graph(graph)
    assert back.nodes() == graph.nodes()
    assert back.code == graph.code
    call = back.operations[0]
    assert isinstance(call, Call)
    assert (call.options, call.node.signature()) == (OPTIONS, SIGNATURE)
    assert (back.returns, back.description, back.where) == (graph.returns, graph.description, graph.where)
    assert isinstance(back.operations[2], Group)


def test_constants_of_every_kind_and_size_come_back() -> None:
    """Exactly the value and its type; a file, unlike a pipeline, holds constants of any size."""
    call = loads(dumps(everything())).operations[0]
    values = [from_handle(arg.handle, MemoryStore()) for arg in call.args]  # type: ignore[union-attr, arg-type]
    assert [(type(value), value) for value in values] == [(type(value), value) for value in CONSTANTS]
    assert math.copysign(1, values[CONSTANTS.index(-0.0, 3)]) == -1


def test_what_json_holds_exactly_stands_there_readable() -> None:
    """Without a detour through text in text; everything else as its handle."""
    args = to_json(everything())["graph"]["operations"][0]["args"]
    assert args[10] == {"json": [1, [2, {"a": None}]]}
    assert args[7] == {"json": "Grüße 🎉\n'\""}
    assert [next(iter(arg)) for arg in args[12:15]] == ["handle"] * 3


def test_the_file_is_utf8_and_readable() -> None:
    """Short parts on a line each; half a surrogate pair, which UTF-8 lacks, as JSON's escape."""
    text = dumps(everything())
    text.encode("utf-8")
    assert text.endswith("}\n")
    assert '  {"name": "a", "type": "int", "default": {"json": 10}, "description": "How many."},\n' in text.replace(
        "   ", "  "
    )
    assert '"description": "\\ud800"' in dumps(Graph("x", description="\ud800"))
    assert loads(dumps(Graph("x", description="\ud800"))).description == "\ud800"
    assert max(len(line) for line in text.splitlines() if "@inline" not in line and "xxx" not in line) <= 120


def test_the_same_graph_gives_the_same_bytes_in_every_hash_seed() -> None:
    source = "import sys; sys.path.insert(0, sys.argv[1]); import test_json_format as t; print(t.dumps(t.everything()))"
    command = [sys.executable, "-c", source, str(Path(__file__).parent)]
    texts = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_two_nodes_of_one_key_cannot_stand_in_one_file() -> None:
    """They would become one; it is an error instead."""
    graph = Graph(
        "flow", operations=(Call("a", PythonNode("k:f", "f")), Call("b", PythonNode("k:f", "g", where="x.py:1")))
    )
    with pytest.raises(GraphError, match=r"x.py:1: two different nodes are both known as k:f"):
        dumps(graph)


def test_a_constant_that_cannot_be_stored_is_told() -> None:
    with pytest.raises(CodecError, match="generator"):
        dumps(Graph("flow", operations=(Call("a", STATS, (Constant(x for x in ()),)),)))


def test_whatever_is_written_obeys_the_schema() -> None:
    """docs/graph.schema.json, and the example in docs/graph-format.md obeys it too."""
    SCHEMA.check_schema(SCHEMA.schema)
    assert list(SCHEMA.iter_errors(to_json(everything()))) == []
    assert list(SCHEMA.iter_errors(to_json(Graph("least")))) == []
    example = re.findall(r"```json\n(.*?)```", (DOCS / "graph-format.md").read_text("utf-8"), re.DOTALL)[0]
    assert list(SCHEMA.iter_errors(json.loads(example))) == []


def test_the_schema_names_every_option() -> None:
    from grandpa_kfp_compiler.graph import OPTION_NAMES

    assert set(SCHEMA.schema["$defs"]["options"]["properties"]) == set(OPTION_NAMES)


READER = re.findall(r"```python\n(.*?)```", (DOCS / "graph-format.md").read_text("utf-8"), re.DOTALL)[-1]
SOURCE = """
from dataclasses import dataclass
from typing import NamedTuple
from grandpa_kfp import Component, Node, Workflow
import numbers_used

class Stats(NamedTuple):
    mean: float
    count: int

@Node
def load(n: int) -> list:
    return list(range(n + numbers_used.OFFSET))

@Node(outputs=("small", "large"))
def split(data, at):
    return [x for x in data if x < at], [x for x in data if x >= at]

@Node
def stats(data) -> Stats:
    return Stats(sum(data) / len(data), len(data))

@Node
class Scale:
    def __init__(self, factor, base=0):
        self.factor, self.base = factor, base
    def __call__(self, x):
        return x * self.factor + self.base

@Node
def collect(scale, parts, /, *more, **named):
    return [scale(1), parts, more, sorted(named.items())]

@Component
def both(data, at):
    small, large = split(data, at)
    return {"small": stats(small), "large": stats(large), "sizes": (1, b"raw")}

@Workflow
def pipeline(n: int = 8, at: int = 3):
    data = load(n)
    parts = both(data, at)
    scale = Scale(parts["small"].mean, base=10)
    last = collect(Scale(data[2]), parts, scale(data[-1]), *[data], n=n, whole=split(data, 1))
    return {"last": last, "count": parts["large"].count, "t": (1, parts["small"])}
"""


def test_the_reader_in_the_docs_runs_a_graph_file(tmp_path: Path) -> None:
    """With the standard library and the file alone: the source is gone, the value is the same as here."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "pyproject.toml").write_text("", "utf-8")
    (project / "numbers_used.py").write_text("OFFSET = 2\n", "utf-8")
    (project / "flow_for_docs.py").write_text(SOURCE, "utf-8")
    make = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path; import flow_for_docs, grandpa_kfp\n"
        "from grandpa_kfp.packing import pack; from grandpa_kfp_compiler.json_format import dumps\n"
        "graph = pack(grandpa_kfp.trace(flow_for_docs.pipeline))\n"
        "Path(sys.argv[1]).write_text(dumps(graph), 'utf-8')\n"
        "print(repr([flow_for_docs.pipeline().resolve(), flow_for_docs.pipeline(n=5).resolve()]))"
    )
    file = elsewhere / "pipeline.json"
    expected = run_python(project, "-c", make, str(file))
    shutil.rmtree(project)
    assert list(SCHEMA.iter_errors(json.loads(file.read_text("utf-8")))) == []
    (elsewhere / "reader.py").write_text(READER, "utf-8")
    assert "import grandpa" not in READER
    assert expected.startswith("[{'last': [")
    use = (
        "import sys; sys.path.insert(0, '.'); import reader\n"
        "print(repr([reader.run('pipeline.json'), reader.run('pipeline.json', n=5)]))"
    )
    assert run_python(elsewhere, "-c", use) == expected


def run_python(folder: Path, *args: str) -> str:
    done = subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- files that are wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is no valid JSON in line 1"),
        ("def pipeline(): ...", "it is no valid JSON in line 1"),
        (b"\xff\xfe\x00", "it is no graph file: not UTF-8 text|it is no valid JSON"),
        ("[1, 2]", 'it is no graph file .its "format" is not "grandpa-graph".'),
        ('{"format": "other"}', "it is no graph file"),
        ('{"format": "grandpa-graph", "version": 2, "new": 1}', r"written by a newer version.*version 2"),
        ('{"format": "grandpa-graph", "graph": {"name": "x"}}', 'the whole: the field "version" is missing'),
        ('{"format": "grandpa-graph", "version": 1}', 'the whole: the field "graph" is missing'),
        ('{"format": "grandpa-graph", "version": 1, "graph": {"name": NaN}}', "NaN is no JSON"),
        ('{"a": ' * 100_000, "nested too deeply|no valid JSON"),
    ],
    ids=["empty", "python", "binary", "list", "other", "newer", "no-version", "no-graph", "nan", "deep"],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_refused_in_one_line(text: str | bytes, message: str) -> None:
    with pytest.raises(LoadError, match=rf"^flow\.json: .*({message})") as caught:
        loads(text, source="flow.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off_anywhere_is_refused() -> None:
    """Never half a graph."""
    text = dumps(everything())
    for end in range(0, len(text) - 2, len(text) // 60):
        with pytest.raises(LoadError, match=r"no valid JSON.*cut off"):
            loads(text[:end])


BREAKS: list[tuple[str, Callable[[Any], object], str]] = [
    ("text", lambda data: data["graph"].update(name=5), "graph.name: must be a text, but is a number"),
    ("unknown", lambda data: data["graph"].update(nmae="x"), 'graph: the field "nmae" is not known'),
    ("top", lambda data: data.update(extra=1), 'the whole: the field "extra" is not known'),
    ("list", lambda data: data["graph"].update(operations={}), "graph.operations: must be a list, but is an object"),
    ("node", lambda data: data["nodes"].pop("calc:stats"),
     'graph.operations[0].node: "calc:stats" is not in the table of nodes'),
    ("node-field", lambda data: data["nodes"]["calc:Scale"].pop("name"),
     'nodes["calc:Scale"]: the field "name" is missing'),
    ("flag", lambda data: data["nodes"]["calc:Scale"].update({"class": "yes"}),
     'nodes["calc:Scale"].class: must be true or false, but is a text'),
    ("kind", lambda data: data["nodes"]["calc:stats"]["signatures"][""]["parameters"][1].update(kind="odd"),
     'nodes["calc:stats"].signatures[""].parameters[1].kind: must be one of positional_only, positional_or_keyword, '
     "var_positional, keyword_only, var_keyword"),
    ("value", lambda data: data["graph"]["operations"][0]["args"].__setitem__(2, {"jsn": 1}),
     'graph.operations[0].args[2]: must have one of the fields "json", "handle", "task", "parameter", "instance", '
     '"outcome", "skeleton"'),
    ("two", lambda data: data["graph"]["operations"][0]["args"].__setitem__(2, {"task": "x", "json": 1}),
     'graph.operations[0].args[2]: the field "json" is not known'),
    ("handle", lambda data: data["graph"]["operations"][0]["args"].__setitem__(2, {"handle": "@abc"}),
     'graph.operations[0].args[2].handle: must be a constant\'s handle, "@inline:codec:base64"'),
    ("kwargs", lambda data: data["graph"]["operations"][0].update(kwargs={"a": 1}),
     "graph.operations[0].kwargs: must be a list, but is an object"),
    ("pair", lambda data: data["graph"]["operations"][0].update(kwargs=[["a"]]),
     "graph.operations[0].kwargs[0]: must be a list of a name and a value"),
    ("option", lambda data: data["graph"]["operations"][0]["options"].update(retries="2"),
     "graph.operations[0].options.retries: must be a whole number, 0 or more, but is '2'"),
    ("options", lambda data: data["graph"]["operations"][0]["options"].update(retrys=2),
     'graph.operations[0].options: the field "retrys" is not known'),
    ("hole", lambda data: data["graph"]["operations"][1]["args"][0]["holes"][0].__setitem__(0, "0"),
     "graph.operations[1].args[0].holes[0][0]: must be a list, but is a text"),
    ("path", lambda data: data["graph"]["operations"][1]["args"][0]["holes"][0][1].update(path=[1.5]),
     "graph.operations[1].args[0].holes[0][1].path[0]: must be an object, but is a number"),
    ("inside", lambda data: data["graph"]["operations"][2]["body"]["operations"][1].pop("id"),
     'graph.operations[2].body.operations[1]: the field "id" is missing'),
    ("type", lambda data: data["graph"].update(returns=["int"]), "graph.returns: must be an object, but is a list"),
    ("null", lambda data: data["graph"].update(description=None), "graph.description: must be a text, but is null"),
    ("zip", lambda data: data["code"].update(zip="no base64!"), "code.zip: must be base64"),
    ("version", lambda data: data.update(version="1"), "version: must be a whole number from 1 on"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [item[1:] for item in BREAKS], ids=[item[0] for item in BREAKS])
def test_what_breaks_the_format_is_told_with_its_place(change: Callable[[Any], object], message: str) -> None:
    """And the schema refuses it too, save what only a reader can look up."""
    data = json.loads(dumps(everything()))
    before = copy.deepcopy(data)
    change(data)
    assert data != before
    with pytest.raises(LoadError) as caught:
        from_json(data, source="flow.json")
    assert str(caught.value) == f"flow.json: {message}"
    if "not in the table" not in message and "base64" not in message:
        assert list(SCHEMA.iter_errors(data))


def test_a_code_zip_that_was_changed_is_refused() -> None:
    """Before anything in it can be unpacked."""
    data = to_json(everything())
    data["code"]["zip"] = base64.b64encode(b"PK other").decode()
    with pytest.raises(PayloadError, match=r"^flow.json: its code zip was changed or damaged: its SHA-256 is"):
        from_json(data, source="flow.json")


def test_reading_runs_nobodys_code() -> None:
    """A pickle in a file stays a text until a task needs it."""

    class Bomb:
        def __reduce__(self) -> Any:
            return exec, ("raise SystemExit('run')",)

    import pickle

    handle = f"@inline:pickle:{base64.b64encode(pickle.dumps(Bomb())).decode()}"
    data = {
        "format": "grandpa-graph",
        "version": 1,
        "graph": {
            "name": "flow",
            "parameters": [{"name": "a", "type": "int", "default": {"handle": handle}}],
            "operations": [
                {"id": "a", "node": "k:f", "args": [{"handle": handle}, {"task": "a", "path": [{"@": handle}]}]}
            ],
        },
        "nodes": {"k:f": {"name": "f"}},
    }
    from grandpa_kfp_compiler.verify import verify

    graph = from_json(data)
    assert "<pickle, " in format_graph(graph)
    assert verify(graph)
    assert json.loads(dumps(graph)) == data


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        (dumps(Graph("x")), True),
        (dumps(Graph("x")).encode()[:100], True),
        ('{"format":"grandpa-graph","version":9}', True),
        ("from grandpa_kfp import Node", False),
        ('{"components": {}}', False),
        (b"\xff\xfe", False),
        ("", False),
    ],
)
def test_a_graph_file_is_known_by_its_beginning(head: str | bytes, ours: bool) -> None:
    assert is_graph_file(head) is ours
