"""`grandpa config`, and that run and compile take what the configuration says."""

from __future__ import annotations

import json

import pytest
import yaml
from command_line import Project, says

FLOW = """
    @Node
    def double(a: int) -> int:
        return 2 * a

    @Workflow
    def flow(a: int = 1, times: Static[int] = 1, api_token: str = "t0ps3cret"):
        for _ in range(times):
            a = double(a)
        return a
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name in ("GRANDPA_PROFILE", "GRANDPA_IMAGE", "GRANDPA_THREADS", "GRANDPA_STORE"):
        monkeypatch.delenv(name, raising=False)
    made = Project(tmp_path / "project")
    made.flow(FLOW)
    return made


def configure(project, text):
    project.write("grandpa.toml", text)


def compiled(project, *args):
    ended = project.grandpa("compile", "flow.py", "-o", "-", *args)
    assert ended.code == 0, ended.err
    return next(yaml.safe_load_all(ended.out))


def container(project, *args):
    executors = compiled(project, *args)["deploymentSpec"]["executors"]
    return next(iter(executors.values()))["container"]


def test_a_run_takes_its_parameters_from_the_configuration(project):
    """Below --params, and -p comes first."""
    configure(project, "[workflows.flow.parameters]\na = 5\ntimes = 2\n")
    project.write("params.json", '{"a": 6}')
    assert project.grandpa("run", "flow.py").value == 20
    assert project.grandpa("run", "flow.py", "--params", "params.json").value == 24
    assert project.grandpa("run", "flow.py", "--params", "params.json", "-p", "a=7", "-p", "times=1").value == 14


def test_a_parameter_that_the_workflow_does_not_take(project):
    """A fault at its line, with the nearest."""
    configure(project, "[workflows.flow.parameters]\n\ntimse = 2\n")
    says(project.grandpa("run", "flow.py"), 1, "no parameter 'timse'", "grandpa.toml:3", "did you mean times?")


def test_a_parameter_of_another_type(project):
    """Both places are named: where it is defined, and where it is set."""
    configure(project, '[workflows.flow.parameters]\na = "x"\n')
    says(project.grandpa("run", "flow.py"), 1, "parameter a (flow.py:", "must be int", "grandpa.toml:2")


def test_threads_record_and_store_of_a_run(project):
    """A run that keeps no record leaves nothing behind; the cluster's store is not touched here."""
    configure(project, 'store = "s3://cluster/x?endpoint=http://127.0.0.1:9"\nrecord = false\nthreads = 1\n')
    assert project.grandpa("run", "flow.py").value == 2
    assert not (project.folder / ".grandpa").exists()
    assert project.grandpa("run", "flow.py", "--record").value == 2
    assert (project.folder / ".grandpa" / "runs").is_dir()
    configure(project, 'local_store = "values"\n')
    project.flow("""
        @Node
        def long(a: int) -> str:
            return "x" * a

        @Workflow
        def flow(a: int = 100_000):
            return long(a)
    """, "deep/flow.py")  # fmt: skip
    assert len(project.grandpa("run", "deep/flow.py").value) == 100_000
    assert (project.folder / "values").is_dir()


def test_compile_takes_image_store_and_code(project):
    """From the profile that is named."""
    configure(project, 'image = "a:1"\n[profile.p]\nimage = "b:1"\nstore = "s3://bucket/p"\n')
    assert container(project)["image"] == "a:1"
    made = container(project, "--profile", "p")
    assert made["image"] == "b:1"
    assert "s3://bucket/p" in made["args"]
    assert container(project, "--profile", "p", "--image", "c:1")["image"] == "c:1"


def test_the_environment_comes_before_the_file(project, monkeypatch):
    """And the command line before it."""
    configure(project, 'image = "a:1"\n')
    monkeypatch.setenv("GRANDPA_IMAGE", "b:1")
    assert container(project)["image"] == "b:1"
    assert container(project, "--image", "c:1")["image"] == "c:1"


def test_a_switch_is_undone_on_the_command_line(project):
    """--no-bootstrap, where the file says bootstrap = true."""
    configure(project, 'image = "python:3.12-slim"\nbootstrap = true\n')
    assert container(project)["command"] != container(project, "--no-bootstrap")["command"]


def test_parameters_become_defaults_of_the_pipeline(project):
    """What was Static is fixed, and a run of the YAML is not told of it again."""
    configure(project, "[workflows.flow.parameters]\na = 5\ntimes = 2\n")
    spec = compiled(project)
    assert spec["root"]["inputDefinitions"]["parameters"]["a"]["defaultValue"] == 5
    assert len(spec["root"]["dag"]["tasks"]) == 2
    project.write("flow.json", project.graph_file().read_text(encoding="utf-8"))
    ended = project.grandpa("run", "flow.json")
    assert (ended.code, ended.value) == (0, 10), ended.err


def test_a_fault_in_the_file_stops_every_verb(project):
    """Before anything runs."""
    configure(project, 'imgae = "a:1"\n')
    for verb in ("run", "compile", "config"):
        says(project.grandpa(verb, "flow.py"), 1, "grandpa.toml:1", "did you mean 'image'?")


def test_config_shows_each_value_and_its_source(project, monkeypatch):
    """One line a key; the workflow's parameters below, a default that may be a secret hidden."""
    monkeypatch.setenv("GRANDPA_THREADS", "3")
    configure(project, 'store = "s3://b/x"\n[profile.p]\nimage = "b:1"\n[workflows.flow.parameters]\na = 5\n')
    ended = project.grandpa("config", "flow.py", "--profile", "p")
    assert ended.code == 0, ended.err
    rows = {
        line.split()[0]: line.split(maxsplit=1)[1]
        for line in ended.out.splitlines()
        if line.strip()[:1] and " " in line.strip()
    }
    assert rows["profile:"] == "p"
    assert rows["store"].split("  ")[0] == "s3://b/x"
    assert rows["store"].endswith("project, grandpa.toml:1")
    assert rows["image"].endswith("profile p, grandpa.toml:3")
    assert rows["threads"].endswith("GRANDPA_THREADS")
    assert rows["code"].endswith("default")
    assert rows["a"].endswith("workflow flow, grandpa.toml:5")
    assert "t0ps3cret" not in ended.out + ended.err


def test_config_as_json(project):
    """By key, value and source."""
    configure(project, 'image = "a:1"\n')
    found = json.loads(project.grandpa("config", "--json").out)
    assert found["settings"]["image"] == {"value": "a:1", "source": "project, grandpa.toml:1"}
    assert found["settings"]["epoch"] == {"value": 0, "source": "default"}
    assert (found["profile"], found["parameters"]) == (None, {})
    assert found["file"].endswith("grandpa.toml")


def test_config_notes_a_misspelt_variable(project, monkeypatch):
    """But not those that others read."""
    monkeypatch.setenv("GRANDPA_IMGE", "a:1")
    monkeypatch.setenv("GRANDPA_STORE_SECRET_KEY", "hunter2-hunter2")
    ended = project.grandpa("config")
    assert "note: GRANDPA_IMGE is no setting; did you mean GRANDPA_IMAGE?" in ended.err
    assert ended.err.count("note:") == 1
    assert "hunter2-hunter2" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("flows", "[workflows.flows] is used by nothing: flow.py has no workflow flows; did you mean flow?"),
        ('"flow.py:folw"', "is used by nothing: flow.py has no workflow folw; did you mean flow?"),
        ('"flw.py:flow"', "is used by nothing: there is no file"),
        ("train", ""),
        ("flows_of_another_file", ""),
        ("flow", ""),
    ],
)
def test_a_part_of_the_configuration_for_no_workflow_is_told(project, table, told):
    """Where it looks like a mistake; a workflow of that name may stand in a file that is not loaded."""
    project.write("other.py", "# flows_of_another_file\n")
    configure(project, f"\n[workflows.{table}]\nthreads = 2\n")
    ended = project.grandpa("run", "flow.py")
    assert ended.code == 0, ended.err
    assert ("note: grandpa.toml:2: " in ended.err) == bool(told), ended.err
    assert told in ended.err
