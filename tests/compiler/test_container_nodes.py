"""Containers of other images in compiled pipelines: what goes into them and comes out of them, Kubeflow's own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.components import load_component_from_text
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from kfp_by_hand import cluster
from kfp_rules import broken_rules

from grandpa_kfp import (
    ContainerNode,
    File,
    GraphError,
    Node,
    Workflow,
    collect,
    compile,
    each,
    either,
    otherwise,
    trace,
    when,
)
from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_compiler.passes import run_passes
from grandpa_kfp_compiler.printer import format_graph

SHELL = ["sh", "-ec"]


@ContainerNode(image="alpine:3", command=[*SHELL, 'wc -l < "$0" > "$1"'], args=["{text}", "{result}"])
def lines(text: Annotated[Path, "Dataset"]) -> int: ...


@ContainerNode(
    image="alpine:3",
    command=[*SHELL, 'for i in $(seq "$1"); do echo "$0" >> "$2"; done; printf \'["%s"]\' "$0" > "$3"'],
    args=["{word}", "{times}", "{text}", "{words}"],
    outputs=("text", "words"),
)
def repeat(word: str, times: int = 2) -> tuple[Annotated[Path, "Dataset"], list[str]]: ...


@ContainerNode(
    image="alpine:3",
    command=[*SHELL, 'printf "%s %s %s %s" "$0" "$1" "$2" "$4" > "$3"'],
    args=["{text}", "{rate}", "{flag}", "{result}", "{options}"],
)
def show(text: str, rate: float, flag: bool = False, options: dict[str, Any] | None = None) -> str: ...


@ContainerNode(image="alpine:3", command=[*SHELL, 'cat "$0" > "$1"'], args=["{model}", "{result}"])
def read(model: Annotated[Path, "Model"]) -> str: ...


@ContainerNode(image="alpine:3", command=["true"], retries=2, memory="1Gi", env={"MODE": "fast"})
def nothing() -> None: ...


@Node
def write(n: int) -> Path:
    place = Path("text.txt")
    place.write_text("line\n" * n)
    return place


@Node
def double(x: int) -> int:
    return 2 * x


@Node
def settings(n: int) -> dict[str, Any]:
    return {"times": n, "name": "{{x}}", "deep": {"flag": True}}


@Node
def size(text: Path, n: int, words: list[str]) -> Any:
    return len(text.read_text()), n, words


@Node
def weights() -> Any:
    return {"w": [1, 2.5]}


@Workflow
def there_and_back(n: int = 3, word: str = "ja") -> Any:
    """Values and files, from Python into containers, between containers, and back."""
    again = repeat(word, double(n))
    return size(again.text, lines(again.text), again.words), lines(write(n)), repeat("x").words


@Workflow
def parts(n: int = 2) -> Any:
    made = settings(n)
    return show(made["name"], 2, flag=made["deep"]["flag"], options=made["deep"]), show("{{y}}", 0.5)


@Workflow
def decided(n: int = 3) -> Any:
    """Branches by what a container left, loops over it, containers in both."""
    count = lines(write(n))
    with when(count > 2):
        many = repeat("many", count)
        found = lines(many.text)
    with otherwise():
        few = double(count)
    with each(repeat("a").words) as word:
        each_of = repeat(word, n).text
    with each([1, 2]) as times:
        counted = lines(repeat("b", times).text)
    return either(found, few), collect(each_of), collect(counted)


@Workflow
def published() -> Any:
    return read(weights.options(artifact="Model")())


@Workflow
def from_file() -> Any:
    return lines(File(__file__))


def compiled(workflow: Any, tmp_path: Path) -> str:
    return compile(workflow, tmp_path / "pipeline.yaml").text


def cluster_value(workflow: Any, folder: Path, **parameters: Any) -> Any:
    """What Kubeflow makes of the workflow's file; commands of containers run on this machine."""
    folder.mkdir(exist_ok=True)
    return cluster(compiled(workflow, folder), folder).run(parameters)


@pytest.mark.parametrize("workflow", [there_and_back, parts, decided, published, from_file], ids=lambda w: w.name)
def test_kubeflow_takes_the_file(workflow: Any, tmp_path: Path) -> None:
    """Its SDK loads it, its protobuf has every field, and each of its rules holds."""
    text = compiled(workflow, tmp_path)
    spec, platform = yaml.safe_load_all(text)
    load_component_from_text(text)
    ParseDict(spec, PipelineSpec())
    assert broken_rules(spec, platform) == []


def test_values_and_files_cross(tmp_path: Path) -> None:
    """The same numbers, texts, lists and files arrive, whoever made them."""
    assert cluster_value(there_and_back, tmp_path) == ((18, 6, ["ja"]), 3, ["x"])


def test_parts_of_results_are_values_of_their_types(tmp_path: Path) -> None:
    """Texts that the cluster would replace arrive as they are; a default and None need no value."""
    assert cluster_value(parts, tmp_path) == ('{{x}} 2 true {"flag":true}', "{{y}} 0.5 false ")


def test_branches_and_loops_with_containers(tmp_path: Path) -> None:
    """What a container left decides, is looped over, joined and collected."""
    found, files, counted = cluster_value(decided, tmp_path)
    assert (found, [item.read_text() for item in files], counted) == (3, ["a\na\na\n"], [1, 2])
    assert cluster_value(decided, tmp_path / "few", n=1)[0] == 2


def test_an_artifact_is_the_value_as_a_file(tmp_path: Path) -> None:
    """`options(artifact=...)` writes what JSON holds as JSON, at the place that Kubeflow gives."""
    assert json.loads(cluster_value(published, tmp_path)) == {"w": [1, 2.5]}


def test_a_file_of_the_users_is_an_input(tmp_path: Path) -> None:
    """A task of ours brings it."""
    assert cluster_value(from_file, tmp_path) == len(Path(__file__).read_text().splitlines())


def test_the_container_is_as_it_was_said(tmp_path: Path) -> None:
    """Image, command, resources, retries; none of our code, none of our secrets."""

    @Workflow
    def flow() -> None:
        nothing()

    spec, *platform = yaml.safe_load_all(compiled(flow, tmp_path))
    container = spec["deploymentSpec"]["executors"]["exec-nothing"]["container"]
    assert container.pop("resources")["resourceMemoryLimit"] == "1Gi"
    env = {item["name"]: item["value"] for item in container.pop("env")}
    assert (container, env["MODE"], "GRANDPA_CODE" in env) == (
        {"image": "alpine:3", "command": ["true"]},
        "fast",
        False,
    )
    assert spec["root"]["dag"]["tasks"]["nothing"]["retryPolicy"]["maxRetryCount"] == 2
    assert platform == []


def test_equal_containers_with_other_inputs_are_told_apart(tmp_path: Path) -> None:
    """The backend shares a component among equal containers, so theirs differ."""

    @ContainerNode(image="alpine:3", command=["true"])
    def one(a: int) -> None: ...

    @ContainerNode(image="alpine:3", command=["true"])
    def other(b: str) -> None: ...

    @Workflow
    def flow() -> None:
        one(1)
        other("x")
        one(2)

    spec = yaml.safe_load(compiled(flow, tmp_path))
    assert broken_rules(spec) == []
    assert sorted(spec["components"]) == ["comp-one", "comp-other"]


def test_a_graph_file_keeps_containers() -> None:
    """Written and read, it prints the same and is the same."""
    graph = trace(decided)
    again: Graph = loads(dumps(graph))
    assert format_graph(again) == format_graph(graph)
    assert again.containers() == graph.containers()
    assert list(graph.containers()) == [node.key for node in graph.containers().values()]


def test_a_changed_container_in_a_graph_file_is_noticed() -> None:
    """Its key tells what runs."""
    text = dumps(trace(from_file)).replace("alpine:3", "alpine:4")
    with pytest.raises(Exception, match=r"is not the key of what stands there"):
        loads(text)


def test_containers_of_one_graph_talk_without_tasks_between() -> None:
    """Tasks stand between only where a handle has to be read or written."""
    ids = [item.id for item in run_passes(trace(there_and_back)).operations]
    assert ids == ["double", "repeat", "lines", "size", "write", "lines-2", "repeat-2", "result"]


def test_many_containers_are_grouped(tmp_path: Path) -> None:
    """What crosses from one group to another does so as a handle; no DAG is too large for it."""

    @Workflow
    def flow(n: int = 1) -> Any:
        text = repeat("a", n).text
        for _ in range(70):
            text = repeat("b", lines(text)).text
        return lines(text)

    spec, platform = yaml.safe_load_all(compiled(flow, tmp_path))
    assert broken_rules(spec, platform) == []
    assert [key for key in spec["root"]["dag"]["tasks"] if not key.startswith("part-")] == []


@Node
def number() -> int:
    return 1


@Node
def frame() -> dict[str, int]:
    return {}


@Node(outputs=("a", "b"))
def both() -> tuple[int, int]:
    return 1, 2


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (lambda: lines(number()), r"text is a file \(system.Dataset\), but number \(.*\) gives int: return a Path"),
        (lambda: lines(frame()), r'options\(artifact="Dataset"\)'),
        (lambda: lines("x.csv"), r"is given 'x.csv'; pass a file of yours as File"),
        (lambda: read(repeat("a").text), r"model is a file \(system.Model\), but repeat\.text \(.*\) gives a file"),
        (lambda: lines(frame.options(artifact="Model")()), r"gives a file \(system.Model\), which its option artifact"),
        (lambda: repeat(number()), r"argument word is str, but number \(.*\) gives int"),
        (lambda: repeat("a", "b"), r"times is a whole number, but is given 'b'"),
        (lambda: repeat("a", 2**60), r"exact up to 2\*\*53"),
        (lambda: repeat(None), r"word is a text, but is given None"),
        (lambda: lines(repeat("a").words), r"text is a file \(system.Dataset\), but repeat\.words \(.*\) gives a list"),
        (lambda: show(repeat("a").text[0], 1.0), r"reads the part \[0\] of a file"),
        (lambda: both.options(artifact="Model")(), r"for a node of one result, but both has a, b"),
        (
            lambda: number.options(artifact="Modle")(),
            r"no artifact type of Kubeflow's: 'Modle'; did you mean \"Model\"",
        ),
        (lambda: double(nothing()), r"uses what nothing \(.*\) leaves, which is nothing"),
        (lambda: repeat(), r"argument word is missing; the node takes \(word, times=2\)"),
    ],
)
def test_what_cannot_go_in_is_told(calls: Any, message: str) -> None:
    """With the task and the line, before anything runs."""

    @Workflow
    def flow() -> Any:
        return calls()

    with pytest.raises(GraphError, match=message) as told:
        compile(flow, Path("/nonexistent/x.yaml"))
    assert "test_container_nodes.py:" in str(told.value)
