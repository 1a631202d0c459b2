"""From a file of the user's to its value: on threads, from a graph file, from compiled YAML."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Project

import grandpa_kfp
from grandpa_kfp.compiling import packed
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.loading import load_target
from grandpa_kfp_compiler.json_format import dumps, loads
from grandpa_kfp_runtime.errors import TaskError

SOURCE = """
import datetime
import enum
from pathlib import Path
from typing import Any, NamedTuple, Optional

from grandpa_kfp import Component, Node, Workflow, current


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Score(NamedTuple):
    name: str
    points: list[int]


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@Node
def score(name: str, *points: int, colour: Colour = Colour.RED) -> Score:
    return Score(f"{name} {colour.name}", list(points))


@Node
def describe(best: Score, day: datetime.date, limit: Optional[int], words: dict[str, Any]) -> list[Any]:
    return [best, day.year, limit, words]


@Node
def write(text: str) -> Path:
    path = current().scratch_dir() / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


@Node
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@Component
def scaled(x: int) -> int:
    return Scale(Scale(2)(x))(10)


@Workflow
def flow(
    n: int = 3,
    text: str = "{{a}} $$(b) \\"quotes\\" ä 😀\\n",
    day: datetime.date = datetime.date(2024, 2, 29),
    colour: Colour = Colour.BLUE,
    limit: Optional[int] = None,
):
    best = score("best", scaled(n), Scale(3)(n), 7, colour=colour)
    return {"found": describe(best, day, limit, {"n": [n, None], "y": (1,)}), "text": read(write(text))}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "grandpa.toml").write_text("")
    (folder / "engine_flow.py").write_text(SOURCE, encoding="utf-8")
    yield folder
    sys.modules.pop("engine_flow", None)


@pytest.fixture(scope="module")
def workflow(project: Path) -> Any:
    return load_target(str(project / "engine_flow.py"))


def expected(n: int = 3, limit: int | None = None) -> dict[str, Any]:
    points = [2 * n * 10, 3 * n, 7]
    found = [("best BLUE", points), 2024, limit, {"n": [n, None], "y": (1,)}]
    return {"found": found, "text": '{{a}} $$(b) "quotes" ä 😀\n'}


def test_on_threads(workflow: Any, project: Path) -> None:
    """Values, types and files as the body says; the record lies in the project."""
    run = grandpa_kfp.run(workflow)
    assert run.value == expected()
    assert type(run.value["found"][0]).__name__ == "Score"
    assert run.folder is not None
    assert run.folder.parent.parent.parent == project
    assert run.notes == []


def test_from_a_graph_file(workflow: Any, project: Path, tmp_path: Path) -> None:
    """The packed graph, written and read again, runs from its own code."""
    graph = loads(dumps(packed(workflow)))
    assert all(node.target is None for node in graph.nodes().values())
    run = grandpa_kfp.run(graph, {"n": 4, "limit": 5}, root=tmp_path)
    assert run.value == expected(4, 5)


@pytest.mark.parametrize("code", ["inline", "task"])
def test_from_compiled_yaml(workflow: Any, tmp_path: Path, code: str) -> None:
    """Each task its own process; parameters of KFP's types and of those that travel as JSON text."""
    compiled = tmp_path / "flow.yaml"
    grandpa_kfp.compile(workflow, compiled, code=code)
    run = run_pipeline_yaml(compiled, {"n": 4, "limit": 5, "day": datetime.date(2024, 1, 1)}, root=tmp_path)
    assert run.value == expected(4, 5)
    assert ("code" in run.tasks) == (code == "task")


def test_a_failure_in_compiled_yaml_names_the_users_line(project: Path, tmp_path: Path) -> None:
    """As it does on threads."""
    (project / "engine_broken.py").write_text(
        "from grandpa_kfp import Node, Workflow\n\n\n@Node\ndef divide(a: int, b: int) -> float:\n    return a / b\n\n"
        "@Workflow\ndef broken(a: int = 1, b: int = 0):\n    return divide(a, b)\n"
    )
    compiled = tmp_path / "broken.yaml"
    target = load_target(str(project / "engine_broken.py"))
    grandpa_kfp.compile(target, compiled)
    for run in (lambda: run_pipeline_yaml(compiled, root=tmp_path), lambda: grandpa_kfp.run(target, record=False)):
        with pytest.raises(TaskError) as caught:
            run()
        assert "divide" in str(caught.value).splitlines()[0]
        assert "ZeroDivisionError: division by zero" in str(caught.value)
        assert "engine_broken.py" in str(caught.value)
        assert "line 6" in str(caught.value)
        assert "b = 0" in str(caught.value)


def test_template_parser_returns_the_value(workflow: Any, tmp_path: Path) -> None:
    """Parameters by keyword; on threads or worker processes."""
    parser = grandpa_kfp.TemplateParser(process_count=0, threads_per_process=4, root=tmp_path)
    assert parser(workflow, n=5) == expected(5)
    with grandpa_kfp.TemplateParser(process_count=1, root=tmp_path) as parser:
        assert parser(workflow, n=5) == expected(5)
    with pytest.raises(grandpa_kfp.ParameterError, match="threads must be"):
        grandpa_kfp.TemplateParser(threads_per_process=0)


def test_a_wrong_parameter_is_refused_before_anything_runs(workflow: Any) -> None:
    """Name and type, with what would be right."""
    with pytest.raises(grandpa_kfp.ParameterError, match="did you mean"):
        grandpa_kfp.run(workflow, {"limitt": 1}, record=False)
    with pytest.raises(grandpa_kfp.ParameterError, match="parameter n"):
        grandpa_kfp.run(workflow, {"n": "many"}, record=False)


IN_KFPS_FORM = """
import tempfile
from pathlib import Path

@Node
def text(n: int) -> str:
    return "7" * n

@Node
def half(n: int) -> float:
    return n / 2

@Node
def listed(n: int) -> list[int]:
    return [n] * n

@Node
def file(n: int) -> Path:
    place = Path(tempfile.mkdtemp()) / "a.txt"
    place.write_text("x" * n)
    return place

@Workflow
def text_flow(n: int = 2) -> str:
    return text(n)

@Workflow
def half_flow(n: int = 2) -> float:
    return half(n)

@Workflow
def listed_flow(n: int = 2) -> list[int]:
    return listed(n)

@Workflow
def file_flow(n: int = 2) -> Path:
    return file(n)
"""


def test_a_result_in_kubeflows_own_form_is_the_workflows_value(tmp_path: Path) -> None:
    """Compiled for other pipelines, by `--outputs value`: a parameter of its type, or a file."""
    project = Project(tmp_path)
    project.flow(IN_KFPS_FORM)
    values = {}
    for kind in ("text", "half", "listed", "file"):
        ended = project.grandpa("compile", f"flow.py:{kind}_flow", "-o", "flow.yaml", "--outputs", "value")
        assert ended.code == 0, ended.err
        values[kind] = run_pipeline_yaml(tmp_path / "flow.yaml", root=tmp_path).value
    assert values.pop("file").read_text() == "xx"
    assert values == {"text": "77", "half": 1.0, "listed": [2, 2]}
    assert type(values["half"]) is float
