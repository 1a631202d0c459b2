"""`grandpa compile`: where the YAML goes, what the options change in it, what is told beside it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from command_line import Project, says

FLOW = """
print("loading")
@Node
def double(x: int) -> int:
    return 2 * x
@Node(image="registry/own:1")
def own(x: int) -> int:
    return x
@Component
def twice(x: int):
    return double(double(x))
@Workflow
def flow(x: int = 3, rounds: Static[int] = 1):
    '''Doubles.'''
    for _ in range(rounds):
        x = double(x)
    return own(x)
@Workflow
def other():
    return double(1)
"""


@pytest.fixture
def flow(project: Project) -> Project:
    project.flow(FLOW)
    return project


def spec(project: Project, file: str) -> dict[str, Any]:
    """The pipeline's own document."""
    found: dict[str, Any] = next(yaml.safe_load_all((project.folder / file).read_text(encoding="utf-8")))
    return found


def containers(project: Project, file: str) -> list[dict[str, Any]]:
    return [item["container"] for item in spec(project, file)["deploymentSpec"]["executors"].values()]


def test_the_file_is_named_after_what_is_compiled(flow: Project) -> None:
    """NAME where it is given, else FILE; in the current folder. What it became is told on standard error."""
    ended = flow.grandpa("compile", "flow.py:other")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("loading\n")
    told = ended.err.splitlines()[-1]
    assert told.startswith("other.yaml: 1 task, ")
    assert told.endswith("code: inline")
    assert spec(flow, "other.yaml")["pipelineInfo"]["name"] == "other"
    flow.flow("@Node\ndef one(): return 1\n@Workflow\ndef inner(): return one()\n", "deep/single.py")
    assert flow.grandpa("compile", "deep/single.py").code == 0
    assert spec(flow, "single.yaml")["pipelineInfo"]["name"] == "inner"


def test_the_yaml_on_standard_output_is_the_file(flow: Project) -> None:
    """`-o -` prints nothing else there, whatever the user's file prints."""
    assert flow.grandpa("compile", "flow.py:flow", "-o", "built/flow.yaml").code == 0
    ended = flow.process("compile", "flow.py:flow", "-o", "-")
    assert ended.code == 0, ended.err
    assert ended.out.encode() == (flow.folder / "built" / "flow.yaml").read_bytes()
    assert ended.err.splitlines()[-1].startswith("standard output: 2 tasks, ")
    assert not (flow.folder / "-").exists()


def test_a_graph_file_compiles_to_the_same_bytes(flow: Project) -> None:
    """Without the source being there."""
    assert flow.grandpa("compile", "flow.py:flow", "-o", "one.yaml").code == 0
    assert flow.grandpa("graph", "flow.py:flow", "-o", "flow.json").code == 0
    (flow.folder / "flow.py").unlink()
    assert flow.grandpa("compile", "flow.json", "-o", "two.yaml").code == 0
    assert (flow.folder / "one.yaml").read_bytes() == (flow.folder / "two.yaml").read_bytes()


def test_parameters_fix_statics_and_change_defaults(flow: Project) -> None:
    """Other parameters stay parameters of the pipeline."""
    assert flow.grandpa("compile", "flow.py:flow", "-p", "rounds=3", "-p", "x=7").code == 0
    found = spec(flow, "flow.yaml")
    assert len(found["root"]["dag"]["tasks"]) == 4
    assert found["root"]["inputDefinitions"]["parameters"]["x"]["defaultValue"] == 7
    assert "rounds" not in found["root"]["inputDefinitions"]["parameters"]
    assert flow.grandpa("run", "flow.yaml", "-p", "x=1").value == 8


def test_options_arrive_in_the_file(flow: Project) -> None:
    """Name, image (a node's own wins), epoch, store, secret, pull policy, code."""
    ended = flow.grandpa(
        "compile", "flow.py:flow", "--name", "renamed", "--image", "registry/all:2", "--epoch", "5", "--store",
        "s3://bucket/deep?endpoint=http://s3:9000", "--secret", "keys", "--pull-policy", "Always", "--code", "task",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.err.splitlines()[-1].endswith("code: task")
    assert spec(flow, "flow.yaml")["pipelineInfo"]["name"] == "renamed"
    found = containers(flow, "flow.yaml")
    assert {item["image"] for item in found} == {"registry/all:2", "registry/own:1"}
    tasks = [item["args"] for item in found if "--epoch" in item["args"]]
    assert {args[args.index("--epoch") + 1] for args in tasks} == {"5"}
    assert {args[args.index("--store") + 1] for args in tasks} == {"s3://bucket/deep?endpoint=http://s3:9000"}
    text = (flow.folder / "flow.yaml").read_text()
    assert "secretName: keys" in text
    assert "imagePullPolicy: Always" in text
    assert flow.grandpa("compile", "flow.py:flow", "--secret", "").code == 0
    assert "secretName" not in (flow.folder / "flow.yaml").read_text()


def test_bootstrap_installs_in_any_python_image(flow: Project) -> None:
    """The command first installs the runtime of this version, then becomes it."""
    ended = flow.grandpa("compile", "flow.py:other", "--image", "python:3.12-slim", "--bootstrap")
    assert ended.code == 0, ended.err
    (found,) = containers(flow, "other.yaml")
    assert found["image"] == "python:3.12-slim"
    program = " ".join(found["command"])
    assert '"pip", "install"' in program
    assert "grandpa_kfp_runtime" in program


def test_more_files_are_carried_along(flow: Project) -> None:
    """A task reads a data file beside its module, in another folder than the project's."""
    flow.write("data/words.txt", "hello")
    flow.flow(
        """
        from pathlib import Path
        @Node
        def read():
            return (Path(__file__).parent / "data" / "words.txt").read_text()
        @Workflow
        def reads(): return read()
        """,
        "reads.py",
    )
    assert flow.grandpa("compile", "reads.py", "--include", "data/*.txt").code == 0
    (flow.folder / "data" / "words.txt").unlink()
    ended = flow.grandpa("run", "reads.yaml")
    assert (ended.code, ended.value) == (0, "hello"), ended.err


def test_the_graph_between_passes(flow: Project) -> None:
    """Of one pass or of all, beside the file and never in it."""
    plain = flow.grandpa("compile", "flow.py:flow", "-o", "-").out
    one = flow.grandpa("compile", "flow.py:flow", "-o", "-", "--print-after", "nest_groups")
    every = flow.grandpa("compile", "flow.py:flow", "-o", "-", "--print-after", "all")
    for ended in (one, every):
        assert (ended.code, ended.out) == (0, plain)
        assert "double" in ended.err
    assert "nest_groups" in one.err
    assert "gather_inputs" not in one.err
    assert "gather_inputs" in every.err
    message = says(flow.grandpa("compile", "flow.py:flow", "--print-after", "nest_group"), 1, "nest_group")
    assert "nest_groups" in message


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (["--code", "none"], 2, "'auto', 'inline', 'task', 'store'"),
        (["--epoch", "-1"], 2, "--epoch"),
        (["--store", "memory:"], 1, "store"),
        (["--pull-policy", "sometimes"], 1, "IfNotPresent"),
        (["--python", "three"], 1, "python"),
        (["-p", "roundz=3"], 1, "did you mean rounds?"),
    ],
)
def test_a_wrong_option_writes_nothing(flow: Project, options: list[str], code: int, part: str) -> None:
    """Wrong usage is 2, a value that makes no sense 1."""
    before = flow.files()
    ended = flow.grandpa("compile", "flow.py:flow", *options)
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert part in ended.errors[0]
    assert flow.files() == before


def test_a_yaml_cannot_be_compiled(flow: Project) -> None:
    """It is what compile writes."""
    assert flow.grandpa("compile", "flow.py:other").code == 0
    says(flow.grandpa("compile", "other.yaml"), 1, "a compiled YAML can only be run")


def test_a_component_and_a_node_compile(flow: Project) -> None:
    """Their arguments become the pipeline's parameters, required where they have no default."""
    for name, tasks in (("twice", 2), ("double", 1)):
        assert flow.grandpa("compile", f"flow.py:{name}").code == 0
        found = spec(flow, f"{name}.yaml")
        assert len(found["root"]["dag"]["tasks"]) == tasks
        assert found["root"]["inputDefinitions"]["parameters"]["x"] == {"parameterType": "NUMBER_INTEGER"}
