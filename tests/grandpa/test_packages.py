"""`packages=` from a node to its task: real pip, wheels of the tests' own, no network."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import importlib.util
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended, Project, says
from servers import S3Endpoint
from wheels import write_wheel

FLOW = """
@Node(packages=["tinypkg==1.0"])
def shouted(text: str) -> str:
    import tinypkg
    return tinypkg.shout(text)

@Workflow
def flow(text: str = "hello"):
    return shouted(text)
"""
PASSWORD = "hunter22-hunter22"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    write_wheel(folder)
    return folder


@pytest.fixture
def environment(wheels: Path, tmp_path: Path) -> dict[str, str]:
    """pip finds the test's wheels and nothing else; what it would write to a home is seen."""
    home = tmp_path / "home"
    home.mkdir()
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "HOME": str(home)}


def ran(project: Project, environment: dict[str, str], *options: str, source: str = FLOW) -> Ended:
    project.flow(source)
    compiled = project.grandpa("compile", "flow.py")
    assert compiled.code == 0, compiled.err
    return project.process("run", "flow.yaml", *options, env=environment)


def records(project: Project) -> list[Path]:
    return sorted((project.folder / ".grandpa" / "store" / "packages").glob("*.json"))


def test_a_task_gets_its_packages_and_the_next_takes_them_out_of_the_store(
    project: Project, environment: dict[str, str], wheels: Path, tmp_path: Path
) -> None:
    first = ran(project, environment)
    assert (first.code, first.value) == (0, "HELLO!"), first.err
    assert "installing tinypkg==1.0" in first.err
    (record,) = records(project)
    assert json.loads(record.read_text())["installed"] == ["tinypkg==1.0"]
    shutil.rmtree(wheels)  # pip would find nothing any more
    second = ran(project, environment)
    assert (second.code, second.value) == (0, "HELLO!"), second.err
    assert "out of the store" in second.err
    assert "installing" not in second.err
    assert not {".cache", ".local", ".config"} & {path.name for path in (tmp_path / "home").iterdir()}
    assert importlib.util.find_spec("tinypkg") is None, "the user's own environment was changed"


def test_the_store_may_be_a_bucket(
    project: Project, environment: dict[str, str], wheels: Path, minio_server: S3Endpoint
) -> None:
    uri = minio_server.uri(minio_server.new_bucket())
    given = {**environment, **minio_server.env}
    first = ran(project, given, "--store", uri)
    assert (first.code, first.value) == (0, "HELLO!"), first.err
    shutil.rmtree(wheels)
    second = ran(project, given, "--store", uri)
    assert (second.code, second.value) == (0, "HELLO!"), second.err
    assert "out of the store" in second.err


def test_children_and_scripts_of_the_packages_work(project: Project, environment: dict[str, str], wheels: Path) -> None:
    """Also where they came out of the store, into another folder than they were installed into."""
    source = """
import subprocess, sys

@Node(packages=["tinypkg"])
def children() -> list:
    def printed(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return [printed("tiny-shout"), printed(sys.executable, "-c", "import tinypkg; print(tinypkg.VERSION)")]

@Workflow
def flow():
    return children()
"""
    for _ in range(2):
        ended = ran(project, environment, source=source)
        assert (ended.code, ended.value) == (0, ["TINY!", "1.0"]), ended.err
    assert "out of the store" in ended.err


def test_what_is_here_already_is_not_installed(project: Project, environment: dict[str, str]) -> None:
    source = FLOW.replace('"tinypkg==1.0"', '"NumPy>=1", "click; python_version < \'3\'", "click[nothing]"')
    ended = ran(
        project, environment, source=source.replace("import tinypkg", "").replace("tinypkg.shout(text)", "text")
    )
    assert (ended.code, ended.value) == (0, "hello"), ended.err
    assert "install" not in ended.err
    assert not records(project)


def test_only_what_is_missing_is_installed(project: Project, environment: dict[str, str], wheels: Path) -> None:
    """pip sees what is here: the dependency of a package is not brought a second time."""
    write_wheel(
        wheels, "wide", "2.0", {"wide.py": "import click, tinypkg\n"}, scripts="", requires=("click", "tinypkg")
    )
    source = FLOW.replace('"tinypkg==1.0"', '"wide"').replace("import tinypkg", "import wide, tinypkg")
    ended = ran(project, environment, source=source)
    assert (ended.code, ended.value) == (0, "HELLO!"), ended.err
    (record,) = records(project)
    assert json.loads(record.read_text())["installed"] == ["tinypkg==1.0", "wide==2.0"]


def test_tasks_that_race_for_the_same_packages_all_get_them(project: Project, environment: dict[str, str]) -> None:
    source = FLOW.replace("return shouted(text)", "return [shouted(text), shouted('two'), shouted('three')]")
    ended = ran(project, environment, "--threads", "3", source=source)
    assert (ended.code, ended.value) == (0, ["HELLO!", "TWO!", "THREE!"]), ended.err
    assert len(records(project)) == 1


def test_packages_that_are_gone_from_the_store_are_installed_again(
    project: Project, environment: dict[str, str]
) -> None:
    assert ran(project, environment).code == 0
    (record,) = records(project)
    key = json.loads(record.read_text())["archive"].removeprefix("@")
    (project.folder / ".grandpa" / "store" / "objects" / key[:2] / key[2:]).unlink()
    again = ran(project, environment)
    assert (again.code, again.value) == (0, "HELLO!"), again.err
    assert "warning: the packages in the store cannot be used" in again.err
    assert "out of the store" in ran(project, environment).err


@pytest.mark.parametrize("archive", ['"no handle"', "7", None, '"[1,2]"'])
def test_a_record_that_is_not_ours_is_not_followed(
    archive: str | None, project: Project, environment: dict[str, str]
) -> None:
    assert ran(project, environment).code == 0
    (record,) = records(project)
    record.write_text(f'{{"archive": {archive}}}' if archive else "[]")
    ended = ran(project, environment)
    assert (ended.code, ended.value) == (0, "HELLO!"), ended.err
    assert "installing" in ended.err


# --- failures --------------------------------------------------------------------------------------------


def test_what_pip_says_is_in_the_report(project: Project, environment: dict[str, str]) -> None:
    ended = ran(project, environment, source=FLOW.replace("tinypkg==1.0", "tinypkg==9"))
    message = says(
        ended, 3, "tinypkg==9 cannot be installed: pip ended with exit code 1", "No matching distribution found",
        "change packages=",
    )  # fmt: skip
    assert "Traceback" not in message
    assert not records(project)


def test_an_index_that_cannot_be_reached_is_worth_another_try_and_its_password_is_nowhere(project: Project) -> None:
    given = {"PIP_INDEX_URL": f"http://ann:{PASSWORD}@127.0.0.1:1/simple", "PIP_RETRIES": "1", "PIP_FIND_LINKS": ""}
    ended = ran(project, given)
    says(ended, 3, "tinypkg==1.0 cannot be installed", "retries= tries again", "index_url=")
    assert PASSWORD not in ended.err
    assert not [name for name, content in project.files().items() if PASSWORD.encode() in content]


def test_a_wheel_with_another_hash_is_refused(project: Project, environment: dict[str, str], wheels: Path) -> None:
    right = hashlib.sha256(next(wheels.iterdir()).read_bytes()).hexdigest()
    source = FLOW.replace('packages=["tinypkg==1.0"]', 'requirements="needs.txt"')
    project.write("needs.txt", f"tinypkg==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    says(ran(project, environment, source=source), 3, "THESE PACKAGES DO NOT MATCH THE HASHES")
    project.write("needs.txt", f"tinypkg==1.0 \\\n    --hash=sha256:{right}\n")
    assert ran(project, environment, source=source).value == "HELLO!"


# --- an index --------------------------------------------------------------------------------------------


class _Index(http.server.SimpleHTTPRequestHandler):
    """A package index that wants a password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode():
            super().do_GET()
        else:
            self.send_error(401, "who are you?")

    def log_message(self, *args: Any) -> None:
        """Nothing: the test's output is its own."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Its host and port."""
    write_wheel(tmp_path / "index" / "simple" / "tinypkg")
    handler = functools.partial(_Index, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_index_with_a_password_out_of_a_secret(project: Project, index: str) -> None:
    """The password is in the task's environment alone: not in the YAML, the log, the records."""
    source = FLOW.replace(
        '"tinypkg==1.0"]',
        f'"tinypkg==1.0"], index_url="http://ann:${{INDEX_PASSWORD}}@{index}/simple", '
        'secrets={"INDEX_PASSWORD": "team/password"}',
    )
    given = {"PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
    ended = ran(project, {**given, "INDEX_PASSWORD": PASSWORD}, source=source)
    assert (ended.code, ended.value) == (0, "HELLO!"), ended.err
    wrong = ran(project, {**given, "INDEX_PASSWORD": "wrong-wrong"}, "--store", "other", source=source)
    says(wrong, 3, "tinypkg==1.0 cannot be installed")
    for secret in (PASSWORD, "wrong-wrong"):
        assert secret not in ended.err + wrong.err
        assert not [name for name, content in project.files().items() if secret.encode() in content]
    assert f"{index}/simple" in (project.folder / "flow.yaml").read_text()


def test_a_variable_that_is_not_set_is_told(project: Project) -> None:
    source = FLOW.replace('"tinypkg==1.0"]', '"tinypkg==1.0"], index_url="http://${NO_SUCH_NAME}@host/simple"')
    says(ran(project, {}, source=source), 3, "${NO_SUCH_NAME}", "secrets={'NO_SUCH_NAME': 'secret/key'}")


# --- where they are written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ('packages=["numpy=1"]', "'numpy=1' is no requirement that pip takes"),
        ('packages="numpy"', "packages of a node must be a list of requirements"),
        ('packages=["a @ https://ann:hunter22@host/a.whl"]', "a comes from an address with a password"),
        ('packages=["a @ file:///home/ann/a.whl"]', "a comes from a file of this machine"),
        ('index_url="https://ann:hunter22@host/simple"', "index_url of a node holds a password"),
        ('index_url="https://ghp_hunter22@host/simple"', "index_url of a node holds credentials"),
        ('index_url="host/simple"', "index_url of a node must be an address"),
        ('requirements="none.txt"', "none.txt cannot be read: No such file or directory"),
        ("requirements=7", "requirements of a node must be the path of a file"),
    ],
)
def test_what_is_wrong_is_told_where_it_is_written(option: str, told: str, project: Project) -> None:
    project.flow(
        f"@Node({option})  # <-\ndef one() -> int:\n    return 1\n\n@Workflow\ndef flow():\n    return one()\n"
    )
    message = says(project.grandpa("check", "flow.py"), 1, f"{project.line()}: the option", told)
    assert "hunter22" not in message.replace(option, "")


def test_nodes_calls_and_workflows_may_name_packages(project: Project) -> None:
    """The nearest wins; a file is looked for beside the Python file that names it."""
    project.write("flows/needs.txt", "-r more.txt\nscipy >= 1.0  # a comment\n")
    project.write("flows/more.txt", "polars\n")
    project.flow(
        """
@Node
def plain() -> int:
    return 1

@Node(packages=["scipy"], requirements="needs.txt")
def own() -> int:
    return 2

@Workflow(defaults={"packages": ["pandas"], "index_url": "https://index/simple"})
def flow():
    return [plain(), own(), plain.options(packages=["attrs"], index_url="https://other/simple")()]
""",
        "flows/flow.py",
    )
    assert project.grandpa("compile", "flows/flow.py", "-o", "flow.yaml").code == 0
    text = (project.folder / "flow.yaml").read_text()
    for packages in ('["pandas"]', '["polars","scipy","scipy>=1.0"]', '["attrs"]'):
        assert packages in text
    assert "https://index/simple" in text
    assert text.count("https://other/simple") == 1


# --- runs without a compiled YAML ------------------------------------------------------------------------


def test_a_local_run_says_at_once_what_is_missing(project: Project) -> None:
    """All of it, before anything runs; nothing is installed into the user's environment."""
    source = """
@Node
def first() -> int:
    print("it ran")
    return 1

@Node(packages=["tinypkg==1.0", "numpy"])
def second(x: int) -> int:  # <-
    return x

@Workflow
def flow():
    return second.options(packages=["other-pkg>=2", "tinypkg==1.0"])(second(first()))
"""
    project.flow(source)
    ended = project.process("run", "flow.py")
    message = says(
        ended, 1, "it asks for tinypkg==1.0, which is not installed here", "it asks for other-pkg>=2",
        "pip install tinypkg==1.0 'other-pkg>=2'", "flow.py:",
    )  # fmt: skip
    assert "numpy" not in message
    assert "it ran" not in ended.err


def test_a_local_run_notes_another_version(project: Project) -> None:
    project.flow(FLOW.replace("tinypkg==1.0", "numpy<0.1").replace("tinypkg.shout(text)", "text").replace(
        "import tinypkg", "pass"
    ))  # fmt: skip
    ended = project.process("run", "flow.py")
    assert (ended.code, ended.value) == (0, "hello"), ended.err
    assert "it asks for numpy<0.1, and runs here with numpy" in ended.err


# --- what the code was packed with -----------------------------------------------------------------------

USING = """
import sys
try:
    import tinypkg
except ImportError:
    tinypkg = None

@Node
def used(text: str) -> str:
    import widepkg
    return widepkg.VERSION

@Node
def optional(text: str) -> str:
    return text if tinypkg is None else tinypkg.shout(text)

@Node
def neither(text: str) -> str:
    return text

@Workflow
def flow(text: str = "hello"):
    return used(text)

@Workflow
def without(text: str = "hello"):
    return [optional(text), neither(text)]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages that compile sees and tasks may lack."""
    folder = tmp_path / "site-packages"
    for name, version in (("tinypkg", "1.0"), ("widepkg", "3.4")):
        wheel = write_wheel(tmp_path / "made", name, version, {f"{name}.py": f"VERSION = {version!r}\n"})
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    return folder


def compiled_with(project: Project, site: Path, workflow: str) -> None:
    project.flow(USING)
    made = project.process("compile", f"flow.py:{workflow}", "-o", "flow.yaml", env={"PYTHONPATH": str(site)})
    assert made.code == 0, made.err


def test_a_distribution_that_is_missing_is_told_before_the_code_is_loaded(project: Project, site: Path) -> None:
    compiled_with(project, site, "flow")
    says(
        project.process("run", "flow.yaml"), 3, "the node's code uses widepkg==3.4", "not installed here",
        'packages=["widepkg==3.4"]', "image=",
    )  # fmt: skip


def test_other_nodes_and_imports_that_may_fail_do_without(project: Project, site: Path) -> None:
    """Each node is asked for what its own code uses, though all live in one file."""
    compiled_with(project, site, "without")
    ended = project.process("run", "flow.yaml")
    assert (ended.code, ended.value) == (0, ["hello", "hello"]), ended.err


@pytest.mark.parametrize(("version", "noted"), [("4.0", True), ("3.9", False)])
def test_another_major_version_is_noted_with_both(version: str, noted: bool, project: Project, site: Path) -> None:
    compiled_with(project, site, "flow")
    other = project.folder.parent / "other" / "site-packages"
    wheel = write_wheel(other, "widepkg", version, {"widepkg.py": f"VERSION = {version!r}\n"})
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(other)
    ended = project.process("run", "flow.yaml", env={"PYTHONPATH": str(other)})
    assert (ended.code, ended.value) == (0, version), ended.err
    assert (f"warning: widepkg is {version} here, and the code was packed with 3.4" in ended.err) is noted


def test_another_python_for_the_image_is_right_where_all_code_is_source(project: Project) -> None:
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py", "--python", "3.10").code == 0
    assert "-py3.10" in (project.folder / "flow.yaml").read_text()
    project.flow(FLOW.replace("return shouted(text)", "return Node(lambda x: x)(text)"))
    says(project.grandpa("compile", "flow.py", "--python", "3.2"), 1, "lambda (flow.py:", "by value", "Python 3.2")
