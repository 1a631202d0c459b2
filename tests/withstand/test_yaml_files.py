"""YAML files that are not ours, or not whole: refused before anything runs. Graph files likewise."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from command_line import Project, says

FLOW = """
@Node(env={"A": "1"}, timeout_s=60)
def big(n: int) -> bytes:
    return b"x" * n

@Node
def size(data: bytes) -> int:
    return len(data)

@Workflow
def flow(n: int = 200_000):
    return size(big(n))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("files"))
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py", "-o", "good.yaml").code == 0
    project.graph_file(name="good.json")
    (project.folder / "flow.py").unlink()
    return project


def refused(made: Project, name: str, text: str | bytes, *parts: str, verbs: tuple[str, ...] = ("run",)) -> None:
    file = made.folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = made.files()
    for verb in verbs:
        says(made.grandpa(verb, name), 1, name, *parts)
        assert made.files() == before
    file.unlink()


def good_yaml(made: Project) -> str:
    return (made.folder / "good.yaml").read_text(encoding="utf-8")


def test_a_yaml_that_is_not_ours(made: Project) -> None:
    """Nothing in it is ever run on this machine."""
    kfp_own = "sdkVersion: kfp-2.17.0"
    good = good_yaml(made)
    assert "sdkVersion: grandpa-kfp" in good
    for text, *parts in (
        ("", "0 YAML documents"),
        ("# only a comment\n", "document"),
        ("- 1\n- 2\n", "not a pipeline"),
        ("just text\n", "not a pipeline"),
        ("apiVersion: v1\nkind: Pod\nspec: {}\n", "not a pipeline"),
        ("a: [1,\n", "line 2", "not YAML"),
        ("a: !!python/object/apply:os.system [touch here]\n", "not YAML"),
        (b"\xff\xfe\x00a", "UTF-8"),
        (good.replace("sdkVersion: grandpa-kfp", kfp_own + " # "), "kfp-2.17.0", "not by grandpa-kfp"),
        (good.replace("grandpa_kfp_runtime", "os", 1), "os", "only `python -m grandpa_kfp_runtime"),
        (good.replace("python", "rm", 1) if "command: [python" in good else "x", "rm"),
        (good.replace("parameterIterator", "x") + "---\na: 1\n---\nb: 2\n", "documents"),
    ):
        refused(made, "other.yaml", text, *parts)


def test_a_yaml_that_was_cut_off(made: Project) -> None:
    """Wherever the cut is: refused, and no run begun. Only what ends it, the line break, may be missing."""
    text = good_yaml(made)
    end_of_first = text.index("\n---\n") + 1
    for cut in [
        *range(1, len(text) - 2, len(text) // 60),
        *range(end_of_first - 2, end_of_first + 4),
        text.rindex(":"),
    ]:
        refused(made, "cut.yaml", text[:cut])
    assert not (made.folder / ".grandpa").exists()


def test_a_yaml_with_a_changed_part(made: Project) -> None:
    """A task, an executor or a component that is not there; tasks that wait for each other."""
    import yaml

    def changed(change: Callable[[Any], object]) -> str:
        documents = list(yaml.safe_load_all(good_yaml(made)))
        change(documents[0])
        return yaml.safe_dump_all(documents)

    for change, *parts in (
        (lambda data: data["components"].popitem(), "component"),
        (lambda data: data["deploymentSpec"]["executors"].popitem(), "executor"),
        (lambda data: data["root"]["dag"]["tasks"].pop("big"), "big"),
        (
            lambda data: data["root"]["dag"]["tasks"]["big"].update(dependentTasks=["size"]),
            "wait for each other",
            "size",
        ),
        (lambda data: data.pop("root"), "root"),
    ):
        refused(made, "changed.yaml", changed(change), *parts)


def good_graph(made: Project) -> Any:
    return json.loads((made.folder / "good.json").read_text(encoding="utf-8"))


def other_zip(data: Any, name: str) -> None:
    """A zip with a member that leaves its folder, rightly hashed."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "x")
    data["code"].update(
        zip=base64.b64encode(buffer.getvalue()).decode(), sha256=hashlib.sha256(buffer.getvalue()).hexdigest()
    )


def first(data: Any) -> Any:
    return data["graph"]["operations"][0]


GRAPHS: dict[str, tuple[Callable[[Any], object], str]] = {
    "another format": (lambda data: data.update(format="x"), "no graph file"),
    "a newer version": (lambda data: data.update(version=99), "upgrade grandpa-kfp"),
    "a wrong hash": (lambda data: data["code"].update(sha256="0" * 64), "SHA-256"),
    "a changed zip": (lambda data: data["code"].update(zip=data["code"]["zip"][:-8]), "SHA-256"),
    "a zip that is no base64": (lambda data: data["code"].update(zip="&&"), "code"),
    "a wrong type": (lambda data: first(data).update(id=7), "must be a text"),
    "no nodes": (lambda data: data.pop("nodes"), "nodes"),
    "a list": (lambda data: data.update(graph=[]), "graph"),
}


@pytest.mark.parametrize(("change", "part"), GRAPHS.values(), ids=GRAPHS)
def test_a_graph_file_that_is_not_right(made: Project, change: Callable[[Any], object], part: str) -> None:
    """The file, the place in it, what to do."""
    data = good_graph(made)
    change(data)
    refused(made, "other.json", json.dumps(data), part, verbs=("run", "compile"))


def test_a_graph_file_that_was_cut_off(made: Project) -> None:
    text = (made.folder / "good.json").read_text(encoding="utf-8")
    for cut in (0, 1, 100, len(text) // 2, len(text) - 3):
        refused(made, "cut.json", text[:cut], verbs=("run", "compile"))


def test_a_cycle_in_a_graph_file(made: Project) -> None:
    """It is told as a path, through data and through `after`, with a line of the user's."""
    data = good_graph(made)
    first(data)["after"] = ["size"]
    made.write("cycle.json", json.dumps(data))
    for verb in ("run", "compile"):
        says(made.grandpa(verb, "cycle.json"), 1, "big → size → big", "flow.py:")
    first(data)["after"] = ["big"]
    made.write("cycle.json", json.dumps(data))
    says(made.grandpa("run", "cycle.json"), 1, "big → big")
    (made.folder / "cycle.json").unlink()


def test_duplicate_names_in_a_graph_file(made: Project) -> None:
    data = good_graph(made)
    data["graph"]["operations"].append(first(data))
    made.write("twice.json", json.dumps(data))
    says(made.grandpa("run", "twice.json"), 1, "big (flow.py:", "name")
    (made.folder / "twice.json").unlink()


def test_a_graph_file_whose_code_would_leave_its_folder(made: Project) -> None:
    """Refused before a byte of it is written."""
    for name in ("../evil.py", "/tmp/grandpa-evil.py", "a/../../evil.py"):
        data = good_graph(made)
        other_zip(data, name)
        made.write("evil.json", json.dumps(data))
        message = says(made.grandpa("run", "evil.json"), 1)
        assert "evil.py" in message
        assert not (made.folder.parent / "evil.py").exists()
    (made.folder / "evil.json").unlink()


def test_a_graph_file_of_another_python(made: Project) -> None:
    """Its modules are source, which runs here as well; its containers have that Python."""
    data = good_graph(made)
    data["code"]["python"] = "3.9"
    made.write("old.json", json.dumps(data))
    assert made.process("run", "old.json").code == 0
    assert made.grandpa("compile", "old.json", "-o", "old.yaml").code == 0
    assert "-py3.9" in (made.folder / "old.yaml").read_text()
    assert made.process("run", "old.yaml").code == 0
    for name in ("old.json", "old.yaml"):
        (made.folder / name).unlink()
