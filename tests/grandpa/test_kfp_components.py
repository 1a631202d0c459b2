"""Components of the kfp SDK as nodes, and our pipelines as components of the kfp SDK.

Annotations are evaluated here, as the SDK wants them.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import here
from google.protobuf.json_format import ParseDict
from kfp import compiler, components, dsl
from kfp.components import load_component_from_text
from kfp.dsl import ConcatPlaceholder, Dataset, IfPresentPlaceholder, Input, Model, Output, OutputPath
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from kfp_by_hand import Cluster, cluster
from kfp_rules import broken_rules

from grandpa_kfp import (
    ContainerError,
    ContainerNode,
    File,
    GraphError,
    LoadError,
    Node,
    TraceError,
    Workflow,
    compile,
    kfp_component,
    run,
    trace,
)
from grandpa_kfp.containers.placeholders import filled
from grandpa_kfp.loading import load_target
from grandpa_kfp_compiler.graph import ContainerNode as GraphContainer
from grandpa_kfp_compiler.graph import Port

OLD = """
name: Train
description: From before.
inputs:
- {name: Data file, type: Model}
- {name: rate, type: Float, default: '0.1'}
- {name: rounds, type: Integer, optional: true}
outputs:
- {name: Best model, type: Model}
- {name: score, type: Float}
implementation:
  container:
    image: alpine:3
    command: [sh, -ec, 'cat "$0" > "$1"; echo 0.5 > "$2"; echo "$3" > /dev/null']
    args:
    - {inputPath: Data file}
    - {outputPath: Best model}
    - {outputPath: score}
    - {inputValue: rate}
    - {if: {cond: {isPresent: rounds}, then: [--rounds, {inputValue: rounds}]}}
"""


def of_sdk(component: Any, folder: Path) -> Path:
    """A component as the kfp SDK writes it."""
    file = folder / f"{component.name}.yaml"
    compiler.Compiler().compile(component, str(file))
    return file


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    @dsl.container_component
    def count(text: Input[Dataset], name: str, lines: OutputPath(int), copy: Output[Dataset], times: int = 2,
              note: str = None):  # type: ignore[assignment, valid-type]  # noqa: RUF013  # fmt: skip
        return dsl.ContainerSpec(
            image="alpine:3",
            command=["sh", "-ec", 'wc -l < "$0" > "$1"; cp "$0" "$2"; echo "$3 $4 $5" >> "$2"'],
            args=[text.path, lines, copy.path, ConcatPlaceholder([name, "-", times]),
                  IfPresentPlaceholder("note", then=["--note", note])],
        )  # fmt: skip

    return of_sdk(count, tmp_path)


@Node
def write(n: int) -> Path:
    place = Path("text.txt")
    place.write_text("line\n" * n)
    return place


@Node
def text_of(file: Path, number: float) -> Any:
    return file.read_text(), number


@Node
def number() -> int:
    return 1


@Node
def settings() -> Any:
    return {"a": 1}


def test_a_container_component_is_a_node(counting: Path, tmp_path: Path) -> None:
    """Inputs by name, defaults bound, an optional one left out; outputs by name, as values and files."""
    count = kfp_component(counting)

    @Workflow
    def flow(n: int = 2) -> Any:
        counted = count(text=write(n), name="x")
        again = count(text=counted.copy, name="y", times=counted.lines, note="!")
        return text_of(again.copy, again.lines)

    text = compile(flow).text
    spec = next(yaml.safe_load_all(text))
    load_component_from_text(text)
    ParseDict(spec, PipelineSpec())
    assert broken_rules(spec) == []
    theirs = yaml.safe_load(counting.read_text())["deploymentSpec"]["executors"]["exec-count"]["container"]
    assert spec["deploymentSpec"]["executors"]["exec-count"]["container"] == theirs
    expected = "line\nline\nx-2  \ny-2 --note !\n"
    assert cluster(text, tmp_path).run({}) == (expected, 3)


def test_tasks_need_neither_the_file_nor_the_sdk(counting: Path, tmp_path: Path) -> None:
    """The workflow's module is imported in every container of ours, where only the code is."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "with_component.py").write_text(
        "from grandpa_kfp import Node, Workflow, File, kfp_component\n"
        "count = kfp_component('count.yaml')\n"
        "@Node\ndef double(x):\n    return 2 * x\n"
        "@Workflow\ndef flow():\n    return double(count(text=File(__file__), name='x').lines)\n"
    )
    with here(tmp_path):
        text = compile(load_target("with_component.py")).text
    (tmp_path / "run").mkdir()
    assert cluster(text, tmp_path / "run").run({}) == 16


def test_a_python_component_is_a_node(tmp_path: Path) -> None:
    """Its text travels as the SDK has written it; a single result is the result."""

    @dsl.component(base_image="python:3.12")
    def train(data: Input[Dataset], model: Output[Model], rate: float = 0.5, tags: list = [1, "a"]) -> float:  # noqa: B006
        return rate

    train = kfp_component(of_sdk(train, tmp_path))

    @Workflow
    def flow() -> Any:
        trained = train(data=File(__file__), tags=settings()["a"])
        return text_of(trained.model, trained.Output)

    spec = next(yaml.safe_load_all(compile(flow).text))
    assert broken_rules(spec) == []
    inputs = spec["root"]["dag"]["tasks"]["train"]["inputs"]
    assert inputs["parameters"]["rate"] == {"runtimeValue": {"constant": 0.5}}
    assert sorted(spec["components"]["comp-train"]["outputDefinitions"]["artifacts"]) == ["model"]


def test_an_old_component_is_a_node(tmp_path: Path) -> None:
    """The form of before KFP 2, as the SDK reads it: names become Python's, an absent input leaves its words out."""
    train = kfp_component(OLD)

    @Workflow
    def flow() -> Any:
        trained = train(data_file=write(1))
        more = train(data_file=trained.best_model, rounds=3, rate=1)
        return text_of(more.best_model, more.score)

    text = compile(flow).text
    assert broken_rules(next(yaml.safe_load_all(text))) == []
    assert cluster(text, tmp_path).run({}) == ("line\n", 0.5)


def test_what_a_component_cannot_be_given_is_told(counting: Path) -> None:
    """Names, types and files are looked at while tracing, each with the user's line."""
    count = kfp_component(counting)

    def faults(**inputs: Any) -> str:
        @Workflow
        def flow() -> None:
            count(**{name: value() if callable(value) else value for name, value in inputs.items()})

        with pytest.raises(GraphError) as told:
            compile(flow)
        assert "test_kfp_components.py:" in str(told.value)
        return str(told.value)

    assert "argument text is missing" in faults(name="x")
    assert "argument nmae is not known; did you mean 'name'?" in faults(text=lambda: write(1), nmae="x")
    assert "name is a text, but is given 3" in faults(text=lambda: write(1), name=3)
    assert "text is a file (system.Dataset), but is given 3" in faults(text=3, name="x")
    assert "name is str, but number" in faults(text=lambda: write(1), name=lambda: number())
    with pytest.raises(GraphError, match="1 argument is given by position"):
        compile(Workflow(lambda: count(1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\n", r"none that the kfp SDK loads"),
        ("nothing: [\n", r"none that the kfp SDK loads"),
        ("missing.yaml", r"the component missing.yaml is not there, neither in .* nor in "),
    ],
)
def test_a_file_that_is_no_component(text: str, message: str) -> None:
    """Told with the line that asked for it."""
    with pytest.raises(LoadError, match=rf"test_kfp_components.py:\d+: .*{message}"):
        kfp_component(text)


def test_a_whole_pipeline_is_no_component(counting: Path, tmp_path: Path) -> None:
    """It is many containers."""
    count = components.load_component_from_file(str(counting))

    @dsl.pipeline
    def twice(text: Input[Dataset]):  # type: ignore[no-untyped-def]
        count(text=text, name="a")
        count(text=text, name="b")

    with pytest.raises(LoadError, match=r"is a pipeline of 2 tasks: kfp_component takes one component"):
        kfp_component(of_sdk(twice, tmp_path))
    with pytest.raises(TraceError, match=r"takes a file or the text of one"):
        kfp_component(3)  # type: ignore[arg-type]


def test_an_option_of_python_tasks_means_nothing_to_a_container(counting: Path) -> None:
    """And is refused where it is written."""
    with pytest.raises(TraceError, match=r"the option packages of the node count means nothing"):
        kfp_component(counting).options(packages=["numpy"])


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: ContainerNode(image="a b"), r"must be an image's name"),
        (lambda: ContainerNode(image="a", args=[1]), r"args of a container node must be a list of texts"),
        (lambda: ContainerNode(image="a", args=["{nmae}"])(_named), r"{nmae} in its command names no .*mean \"name\""),
        (lambda: ContainerNode(image="a", args=["{{$}}"])(_named), r"which Kubeflow would replace"),
        (lambda: ContainerNode(image="a", args=["awk '{{ print }}'"])(_named), r"Argo and Kubernetes would replace"),
        (lambda: ContainerNode(image="a")(_busy), r"the body of a container node never runs"),
        (lambda: ContainerNode(image="a")(_odd), r"input x is annotated .*date"),
        (lambda: ContainerNode(image="a")(_pair), r"it returns 2 values, and its outputs are result"),
        (lambda: ContainerNode(image="a", outputs=("name",))(_named), r"the name of an input and of an output"),
        (lambda: ContainerNode(image="a", packages=["x"]), r"the option packages of a container node means nothing"),
    ],
)
def test_what_cannot_be_a_container_node_is_told(declare: Any, message: str) -> None:
    """At the decorator, with the place."""
    with pytest.raises(TraceError, match=rf"test_kfp_components.py:\d+.*{message}"):
        declare()


def _named(name: str) -> str: ...  # type: ignore[empty-body]


def _busy(name: str) -> str:
    return name


def _pair(x: int) -> tuple[int, int]: ...  # type: ignore[empty-body]


def _odd(x: date) -> int: ...  # type: ignore[empty-body]


def test_without_docker_a_container_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It runs nothing in its place."""
    monkeypatch.setenv("PATH", str(tmp_path))
    node = ContainerNode(image="alpine:3", command=["true"])(_named)
    with pytest.raises(Exception, match=r"there is no docker command on this machine: install Docker"):
        run(Workflow(lambda: node("x")), record=False)
    with pytest.raises(ContainerError, match=r"alpine:3, which takes Docker here.*; on Kubeflow it needs none"):
        node.fn("x")


def test_placeholders_are_filled_as_kubeflow_fills_them() -> None:
    """Numbers without a needless fraction, JSON for lists; artifacts by path, URI, metadata."""
    given = {
        "inputs": {
            "parameterValues": {"n": 2.0, "xs": [1, "a"], "s": "x y"},
            "artifacts": {"d": {"artifacts": [{"uri": "s3://b/k", "metadata": {"rows": 3}}]}},
        },
        "outputs": {"parameters": {"o": {"outputFile": "/o"}}, "outputFile": "/all"},
    }
    words = [
        "{{$.inputs.parameters['n']}}/{{$.inputs.parameters[\"xs\"]}}/{{$.inputs.parameters['s']}}",
        "{{$.inputs.artifacts['d'].path}} {{$.inputs.artifacts['d'].uri}} {{$.inputs.artifacts['d'].metadata['rows']}}",
        "{{$.outputs.parameters['o'].output_file}} {{$.outputs.output_file}}",
        '{"Concat": ["a", {"IfPresent": {"InputName": "n", "Then": "b", "Else": "c"}}]}',
        '{"IfPresent": {"InputName": "m", "Then": ["-m"], "Else": ["-1", "-2"]}}',
        '{"IfPresent": {"InputName": "m", "Then": ["-m"]}}',
    ]
    made = filled(words, given, lambda uri: uri.replace("s3://", "/s3/"))
    assert made == ['2/[1,"a"]/x y', "/s3/b/k s3://b/k 3", "/o /all", "ab", "-1", "-2"]
    assert json.loads(filled(["{{$}}"], given, str)[0]) == given


def test_equal_components_are_one(counting: Path) -> None:
    """Loaded twice, in two places, they share a key, which tells what runs."""
    one, other = kfp_component(counting), kfp_component(counting.read_text())
    graph = trace(Workflow(lambda: (one(text=write(1), name="a"), other(text=write(2), name="b"))))
    assert len(graph.containers()) == 1
    changed = GraphContainer("count", "alpine:4", gives=(Port("lines", "NUMBER_INTEGER"),))
    assert changed.key not in graph.containers()


# --- ours inside theirs --------------------------------------------------------------------------


@Node
def half(x: float) -> float:
    return x / 2


@Workflow
def quarter(x: int = 4) -> float:
    return half(half(x))


@Workflow
def halves(x: int = 4) -> dict[str, Any]:
    return {"half": half(x)}


@Workflow
def saved(x: int = 4) -> Path:
    return write.options(artifact="Model")(x)


@Workflow
def unknown(x: int = 4) -> Any:
    return [half(x)][0]["x"]


def test_our_pipelines_are_components_of_an_sdk_pipeline(tmp_path: Path) -> None:
    """Its type checker takes their results as numbers, dicts and models; executors and platform spec are kept."""
    for name, workflow in (("quarter", quarter), ("halves", halves), ("saved", saved)):
        compile(workflow, tmp_path / f"{name}.yaml", outputs="value")
    ours, dicts, models = (
        components.load_component_from_file(str(tmp_path / f"{name}.yaml")) for name in ("quarter", "halves", "saved")
    )

    @dsl.container_component
    def show(number: float, both: dict, model: Input[Model], out: OutputPath(str)):  # type: ignore[no-untyped-def, valid-type, type-arg]
        return dsl.ContainerSpec(
            image="alpine:3",
            command=["sh", "-ec", 'printf "%s %s " "$0" "$1" > "$3"; wc -l < "$2" >> "$3"'],
            args=[number, both, model.path, out],
        )

    @dsl.pipeline
    def outer(n: int = 9) -> str:
        made = show(number=ours(x=n).output, both=dicts(x=n).output, model=models(x=n).outputs["result"])
        return made.output  # type: ignore[no-any-return]

    spec, platform = yaml.safe_load_all(of_sdk(outer, tmp_path).read_text())
    executors = spec["deploymentSpec"]["executors"]
    kept = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert kept.keys() == executors.keys() - {"exec-show"}
    assert {item["executorLabel"] for item in spec["components"].values() if "dag" not in item} == executors.keys()
    found = _OfSdk(spec, tmp_path, tmp_path / "store").result({})
    assert found == '2.25 {"half":4.5} 9\n'


class _OfSdk(Cluster):
    """A file of the SDK's, whose result is no handle of ours."""

    def result(self, parameters: dict[str, Any]) -> Any:
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        given = {name: int(item["defaultValue"]) for name, item in declared.items()}
        return self._dag("", self.spec["root"], {**given, **parameters})["Output"]


def test_a_result_that_kubeflow_has_no_type_for(tmp_path: Path) -> None:
    """Is told, with what there is."""
    with pytest.raises(Exception, match=r"outputs='value' is for a workflow that returns str, .* this one returns any"):
        compile(unknown, outputs="value")
    with pytest.raises(Exception, match=r"outputs is handle or value, not 'x'"):
        compile(quarter, outputs="x")
