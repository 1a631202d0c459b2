"""`grandpa ide`: the files have the editors' published forms, and the commands in them do what their names say."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from xml.etree import ElementTree

import jsonschema
import pytest
from command_line import Project, says
from deploy.kfp_server import KfpServer

from grandpa_kfp.ide.jsonc import parse

FLOW = """
    @Node
    def double(a: int) -> int:
        return 2 * a

    @Workflow
    def train(a: int = 1):
        return double(a)

    @Workflow
    def predict(a: int = 3):
        return double(a)
"""
TEXTS = {"type": "array", "items": {"type": "string"}}
LAUNCH = {
    "type": "object",
    "required": ["version", "configurations"],
    "properties": {
        "version": {"const": "0.2.0"},
        "configurations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type", "request"],
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "type": {"const": "debugpy"},
                    "request": {"enum": ["launch", "attach"]},
                    "module": {"type": "string"},
                    "program": {"type": "string"},
                    "args": TEXTS,
                    "cwd": {"type": "string"},
                    "console": {"enum": ["internalConsole", "integratedTerminal", "externalTerminal"]},
                    "justMyCode": {"type": "boolean"},
                    "presentation": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "hidden": {"type": "boolean"}, "group": {"type": "string"}, "order": {"type": "number"}
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip
"""What VS Code and its Python debugger allow, of what is used here."""
TASKS = {
    "type": "object",
    "required": ["version", "tasks"],
    "properties": {
        "version": {"const": "2.0.0"},
        "tasks": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["label", "type", "command"],
                "additionalProperties": False,
                "properties": {
                    "label": {"type": "string", "minLength": 1},
                    "type": {"enum": ["shell", "process"]},
                    "command": {"type": "string"},
                    "args": TEXTS,
                    "options": {"type": "object", "properties": {"cwd": {"type": "string"}}},
                    "group": {"enum": ["build", "test", "none"]},
                    "problemMatcher": {"type": "array"},
                },
            },
        },
    },
}


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project")
    made.flow(FLOW, "flows/my train.py")
    return made


def commands(project, editor):
    """Each command by its name, as the editor would start it: arguments and folder."""
    folder = str(project.folder)

    def filled(text):
        return text.replace("${workspaceFolder}", folder).replace("${command:python.interpreterPath}", sys.executable)

    if editor == "launch":
        data = parse((project.folder / ".vscode" / "launch.json").read_text(encoding="utf-8")).data
        jsonschema.validate(data, LAUNCH)
        return {
            item["name"]: ([sys.executable, "-m", item["module"], *map(filled, item["args"])], filled(item["cwd"]))
            for item in data["configurations"]
        }
    if editor == "tasks":
        data = parse((project.folder / ".vscode" / "tasks.json").read_text(encoding="utf-8")).data
        jsonschema.validate(data, TASKS)
        return {
            item["label"]: ([filled(item["command"]), *map(filled, item["args"])], filled(item["options"]["cwd"]))
            for item in data["tasks"]
        }
    found = {}
    for path in (project.folder / ".run").glob("*.run.xml"):
        (configuration,) = ElementTree.parse(path).getroot()
        options = {item.get("name"): item.get("value") or "" for item in configuration.iter("option")}
        command = [sys.executable, "-m", options["SCRIPT_NAME"], *shlex.split(options["PARAMETERS"])]
        found[configuration.get("name")] = command, options["WORKING_DIRECTORY"].replace("$PROJECT_DIR$", folder)
    return found


def started(command, folder, *more, **env):
    return subprocess.run(
        [*command, *more], cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )


@pytest.mark.parametrize("editor", ["launch", "tasks", "pycharm"])
def test_the_commands_do_what_their_names_say(project, editor, tmp_path):
    """Run and debug print the value, Compile writes the YAML, Deploy shows what it would send."""
    ended = project.grandpa("ide", "pycharm" if editor == "pycharm" else "vscode", "flows/my train.py")
    assert ended.code == 0, ended.err
    found = commands(project, editor)
    assert len(found) == (6 if editor == "tasks" else 8)
    file = "(flows/my train.py)"
    run = started(*found[f"predict: Run locally {file}"])
    assert (run.returncode, run.stdout) == (0, "6\n"), run.stderr
    if editor != "tasks":
        debugged = started(*found[f"train: Debug locally {file}"])
        assert (debugged.returncode, debugged.stdout) == (0, "2\n"), debugged.stderr
    compiled = started(*found[f"train: Compile {file}"])
    assert compiled.returncode == 0, compiled.stderr
    assert "# Name: train" in (project.folder / "train.yaml").read_text(encoding="utf-8")
    server = KfpServer()
    try:
        environ = {
            "KF_PIPELINES_ENDPOINT": server.url,
            "HOME": str(tmp_path),
            "GRANDPA_STORE": str(tmp_path / "store"),
            "GRANDPA_IMAGE": f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim",
        }
        deployed = started(*found[f"train: Deploy {file}"], "--dry-run", **environ)
        assert deployed.returncode == 0, deployed.stderr
        assert server.writes == []
        assert "train" in deployed.stdout
    finally:
        server.close()


def test_running_it_twice_changes_nothing(project):
    """And says so."""
    project.grandpa("ide", "vscode", "flows/my train.py")
    before = project.files()
    ended = project.grandpa("ide", "vscode", "flows/my train.py")
    assert (ended.code, ended.out) == (0, "")
    assert "8 there already, left as they are" in ended.err
    assert project.files() == before


def test_one_workflow_and_a_profile(project):
    """Compile and Deploy name the profile, which must be there."""
    project.write("grandpa.toml", '[profile.staging]\nimage = "a:1"\n')
    spec = "flows/my train.py:train"
    says(project.grandpa("ide", "vscode", spec, "--profile", "stagin"), 1, "did you mean 'staging'?")
    assert project.grandpa("ide", "vscode", spec, "--profile", "staging").code == 0
    found = commands(project, "launch")
    assert len(found) == 4
    command, _ = found["train: Deploy to staging (flows/my train.py)"]
    assert command[3:] == ["deploy", spec, "--profile", "staging"]


def test_wrong_usage(project, monkeypatch):
    """An editor that is unknown, none where none is in use, a file without workflows."""
    monkeypatch.setenv("TERM_PROGRAM", "")
    monkeypatch.setenv("TERMINAL_EMULATOR", "")
    assert "'emacs' is neither vscode nor pycharm" in project.grandpa("ide", "emacs", "flows/my train.py").err
    assert "say which editor" in project.grandpa("ide", "flows/my train.py").err
    assert project.grandpa("ide", "vscode").code == 2
    project.flow("x = 1\n", "empty.py")
    says(project.grandpa("ide", "vscode", "empty.py"), 1, "has no workflow")
