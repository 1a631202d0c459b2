"""One task in a container: real processes, a store in a folder, the forms that KFP hands over."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime import contract
from grandpa_kfp_runtime.code.payload import compress, encode_code_env, python_minor, write_zip
from grandpa_kfp_runtime.contract import Argument, Arguments, CodeCall, Input, InstanceCall, Interface, TaskCall
from grandpa_kfp_runtime.errors import PayloadError
from grandpa_kfp_runtime.failure import BEGIN_MARKER, reports_in
from grandpa_kfp_runtime.launch.executor_io import ExecutorInput, Place, local_path
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.typespec import TypeSpec
from grandpa_kfp_runtime.values.handles import from_handle, to_handle

RUNTIME = [sys.executable, "-m", "grandpa_kfp_runtime"]
LIMIT_S = 60

FLOW = """
import hashlib, os, signal, subprocess, sys, threading, time

def subtract(a, b):
    print("subtracting")
    return a - b

def kinds(**values):
    return {name: type(value).__name__ + " " + str(value) for name, value in values.items()}

def large():
    return ["x" * 50] * 100

def fails(x):
    helper(x)

def helper(x):
    raise ValueError("bad shape")  # the raising line

def leaves():
    sys.exit(0)

def leaks():
    raise PermissionError("login with " + os.environ["DB_PASSWORD"] + " refused")

def environment(word):
    inside = sorted(name for name, value in os.environ.items() if word in value)
    child = "import os; print(' '.join(sorted(n for n, v in os.environ.items() if %r in v)))" % word
    below = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    return [inside, below.split(), "GRANDPA_CODE" in os.environ]

def hangs():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha512", b"x", b"y", 2**31 - 1)  # the long call

def waits():
    print("ready", flush=True)
    threading.Event().wait()

def handles_signals():
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    print("ready", flush=True)
    while not asked.wait(0.05):
        pass
    return "ended by itself"

def forks():
    child = os.fork()
    if child == 0:
        threading.Event().wait()
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def locks():
    return {"model": [threading.Lock()]}

def shows():
    class Evil:
        def __repr__(self):
            raise RuntimeError("no text")
    return {"list": [Evil]}

def pair():
    return {"std": 2.5, "mean": 1}

def scratch():
    from grandpa_kfp_runtime.context import current
    (current().scratch_dir() / "file").write_text("x")
    current().logger.info("logged")
    return [current().run_id, current().task]

class Scale:
    def __init__(self, factor):
        self.factor = factor
    def process(self, x):
        return self.factor * x
"""


def packed(source: str = FLOW, python: str = "") -> bytes:
    manifest = {"python": python or python_minor(), "modules": ["flow"]}
    return write_zip({"flow.py": source.encode(), "__grandpa__/manifest.json": json.dumps(manifest).encode()})


def code_env(data: bytes | None = None) -> dict[str, str]:
    data = packed() if data is None else data
    return {
        contract.ENV_CODE: encode_code_env(data),
        contract.ENV_CODE_SHA256: hashlib.sha256(data).hexdigest(),
        contract.ENV_PYTHON: python_minor(),
    }


def taking(*names: str, outputs: tuple[str, ...] = ("result",)) -> Interface:
    return Interface(tuple(map(Input, names)), Arguments(tuple(map(Argument, names))), outputs=outputs)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Container:
    """What stands around one task: a store, places for its outputs, an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FileStore(folder / "store")
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.artifacts = folder / "artifacts" / "calc" / "run-1" / "train" / "uuid-1"

    def argv(self, node: str, interface: Interface, values: Mapping[str, Any], **changes: Any) -> list[str]:
        given = self.executor_input(interface, values)
        given.update(changes)
        args = TaskCall(f"flow:{node}" if ":" not in node else node, "f" * 64, interface, str(self.folder / "store"))
        return [json.dumps(given) if arg == contract.EXECUTOR_INPUT else arg for arg in args.argv()]

    def executor_input(self, interface: Interface, values: Mapping[str, Any]) -> dict[str, Any]:
        kind = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
        names = [*(f"{name}-preview" for name in interface.outputs), "executor-logs"]
        return {
            "inputs": {"parameterValues": values},
            "outputs": {
                "parameters": {name: {"outputFile": str(self.folder / "out" / name)} for name in interface.outputs},
                "artifacts": {
                    name: {"artifacts": [{"name": name, "type": kind, "uri": str(self.artifacts / name)}]}
                    for name in names
                },
                "outputFile": str(self.folder / "executor_output.json"),
            },
        }

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRANDPA_")}
        return {**kept, "TMPDIR": str(self.temporary), **code_env(), **env}

    def start(self, argv: list[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*RUNTIME, *argv],
            env=self.environment(env or {}),
            cwd=self.temporary,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Ended:
        try:
            out, err = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
        return Ended(process.returncode, out, err)

    def run(
        self,
        node: str,
        interface: Interface | None = None,
        values: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        return self.end(self.start(self.argv(node, interface or taking(), values or {}), env))

    def record(self, name: str) -> Any:
        """The one record of that name, None where there is none."""
        paths = [path for path in self.store.list_records("runs/run-1/train/uuid-1/") if path.endswith(f"/{name}.json")]
        assert len(paths) <= 1
        return self.store.get_record(paths[0]) if paths else None

    def handle(self, name: str = "result") -> str:
        return (self.folder / "out" / name).read_text()

    def value(self, name: str = "result") -> Any:
        return from_handle(self.handle(name), self.store)

    def nothing_left(self) -> bool:
        """No output file, no `done`, nothing in the folder for temporary files."""
        return not (self.folder / "out").exists() and self.record("done") is None and not any(self.temporary.iterdir())


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


# --- a task that succeeds --------------------------------------------------------------------------


def test_a_task_leaves_its_output_its_records_and_its_preview(container: Container) -> None:
    ended = container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"})
    assert (ended.code, ended.out, ended.err) == (0, "subtracting\n", "")
    assert container.handle() == "5"
    done = container.record("done")
    assert (done["task"], done["node"], done["inputs"], done["outputs"]) == (
        "train", "flow:subtract", {"a": "7", "b": "2"}, {"result": "5"},
    )  # fmt: skip
    assert container.record("started")["task"] == "train"
    assert container.record("failure") is None
    assert (container.artifacts / "result-preview").read_text() == "5"
    assert not (container.artifacts / "executor-logs").exists()
    assert not any(container.temporary.iterdir())


def test_the_executor_output_sets_metadata_and_no_uri(container: Container) -> None:
    """KFP fails a task that moves its artifact."""
    container.run("large", env={contract.ENV_INLINE_BYTES: "100"})
    output = json.loads((container.folder / "executor_output.json").read_text())
    (facts,) = output["artifacts"]["result-preview"]["artifacts"]
    assert set(facts) == {"metadata"}
    metadata = facts["metadata"]
    assert container.handle() == f"@{metadata['key']}"
    assert (metadata["type"], metadata["codec"], metadata["summary"]) == ("list", "json", "list of 100")
    assert metadata["size_bytes"] > 0
    assert set(output) == {"artifacts"}


def test_a_value_is_inline_up_to_the_limit_in_the_environment(container: Container) -> None:
    container.run("large", env={contract.ENV_INLINE_BYTES: "10000"})
    assert json.loads(container.handle()) == ["x" * 50] * 100


def test_inputs_arrive_by_their_kind_and_type(container: Container) -> None:
    """Raw values by their annotated type, since KFP's numbers are doubles; a raw text is never a handle."""
    names = ("n", "rate", "text", "items", "day", "model")
    inputs = (
        Input("n", "raw", TypeSpec("int")),
        Input("rate", "raw", TypeSpec("float")),
        Input("text", "raw", TypeSpec("str")),
        Input("items", "raw", TypeSpec("list", (TypeSpec("float"),))),
        Input("day", "json", TypeSpec("datetime:date")),
        Input("model"),
    )
    interface = Interface(inputs, Arguments((), tuple((name, Argument(name)) for name in names)))
    values = {
        "n": 5.0,
        "rate": 2,
        "text": "@inline:json:e30=",
        "items": [1, 2.5],
        "day": '"2024-02-29"',
        "model": to_handle((1, 2), container.store),
    }
    assert container.run("kinds", interface, values).code == 0
    assert container.value() == {
        "n": "int 5",
        "rate": "float 2.0",
        "text": "str @inline:json:e30=",
        "items": "list [1.0, 2.5]",
        "day": "date 2024-02-29",
        "model": "tuple (1, 2)",
    }


def test_an_instance_is_constructed_and_called(container: Container) -> None:
    interface = Interface(
        (Input("init-factor"), Input("x")),
        Arguments((Argument("x"),)),
        (InstanceCall("flow:Scale", Arguments((Argument("init-factor"),))),),
        "#0",
        "process",
    )
    assert container.run("Scale", interface, {"init-factor": "3", "x": "4"}).code == 0
    assert container.value() == 12


def test_declared_outputs_go_to_their_own_files(container: Container) -> None:
    assert container.run("pair", taking(outputs=("mean", "std"))).code == 0
    assert (container.handle("mean"), container.handle("std")) == ("1", "2.5")
    assert (container.artifacts / "std-preview").read_text() == "2.5"


def test_a_task_knows_itself_and_its_scratch_folder_goes_with_it(container: Container) -> None:
    ended = container.run("scratch")
    assert container.value() == ["run-1", "train"]
    assert ended.err == "INFO train: logged\n"
    assert not any(container.temporary.iterdir())


def test_gathering_reads_no_value(container: Container) -> None:
    """The handles of objects that are nowhere can be gathered: nothing is read."""
    handles = {"handles-0": "@" + "a" * 43, "handles-1": "5"}
    ended = container.run("grandpa_kfp_runtime.builtins:gather", taking(*handles), handles)
    assert ended.code == 0, ended.err
    to_handle(0, container.store)
    assert container.record("done")["inputs"] == handles


def test_verbose_says_what_was_read_and_written(container: Container) -> None:
    ended = container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"}, {contract.ENV_VERBOSE: "1"})
    assert "train: input a: 7, read in" in ended.err
    assert "train: output result: 1 bytes, 5" in ended.err


def test_starting_loads_nothing_that_a_task_may_not_need() -> None:
    """A container's start is part of every task."""
    heavy = ("grandpa_kfp", "grandpa_kfp_compiler", "minio", "numpy", "cloudpickle", "asyncio", "logging", "zstandard")
    program = f"import sys, grandpa_kfp_runtime.launch.launcher; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# --- the user's code fails ---------------------------------------------------------------------------


def test_a_failure_is_told_recorded_and_leaves_no_output(container: Container) -> None:
    ended = container.run("fails", taking("x"), {"x": "[1,2]"})
    line = 1 + FLOW.splitlines().index('    raise ValueError("bad shape")  # the raising line')
    assert ended.code == 3
    lines = ended.err.splitlines()
    assert lines[0] == f"train (flow.py:{line - 4}) failed: ValueError: bad shape"
    assert f'  File "flow.py", line {line}, in helper' in lines
    assert lines[-2:] == ["Inputs:", "  x = list of 2"]
    assert "grandpa_kfp" not in ended.err
    failure = container.record("failure")
    assert (failure["exception"], failure["message"], failure["raised_at"], failure["exit_code"]) == (
        "ValueError", "bad shape", f"flow.py:{line}", 3,
    )  # fmt: skip
    assert failure["inputs"] == {"x": {"summary": "list of 2", "handle": "[1,2]"}}
    assert failure["versions"]["python"]
    assert BEGIN_MARKER not in ended.err
    assert container.nothing_left()


def test_sys_exit_in_a_node_is_a_failure(container: Container) -> None:
    """Zero would make KFP think that the task had succeeded."""
    ended = container.run("leaves")
    assert ended.code == 3
    assert "failed: it called sys.exit(0), which is no way to end a task" in ended.err
    assert container.nothing_left()


def test_a_module_that_fails_to_import_is_the_users_failure(container: Container) -> None:
    ended = container.run("subtract", env=code_env(packed("import surely_not_there\n")))
    assert ended.code in (1, 3)
    assert "surely_not_there" in ended.err
    assert container.record("failure")["task"] == "train"


def test_a_result_that_cannot_be_stored_names_the_part(container: Container) -> None:
    ended = container.run("locks")
    assert ended.code == 3
    assert 'result["model"][0]' in ended.err.splitlines()[0]
    assert container.nothing_left()


def test_secrets_are_in_no_report(container: Container) -> None:
    ended = container.run("leaks", env={"DB_PASSWORD": "hunter22"})
    assert "login with [DB_PASSWORD] refused" in ended.err
    assert "hunter22" not in ended.err + json.dumps(container.record("failure"))


@pytest.mark.parametrize("node", ["hangs", "waits"])
def test_a_timeout_is_told_as_what_it_is_and_where_the_task_was(node: str, container: Container) -> None:
    """Also in a call that does not come back to the interpreter."""
    ended = container.run(node, env={contract.ENV_TIMEOUT_S: "1.5"})
    assert ended.code == 3
    assert "failed: it ran longer than its timeout_s of 1.5 s" in ended.err
    assert f"in {node}" in ended.err
    assert container.record("failure")["exception"] == "TaskTimeout"
    assert container.nothing_left()


@pytest.mark.parametrize("node", ["hangs", "waits"])
def test_sigterm_is_reported_before_the_process_ends_with_143(node: str, container: Container) -> None:
    process = container.start(container.argv(node, taking(), {}))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    ended = container.end(process)
    assert ended.code == 143
    assert "failed: it was stopped from outside (SIGTERM)" in ended.err
    failure = container.record("failure")
    assert (failure["exception"], failure["exit_code"]) == ("RunCancelled", 143)
    assert container.nothing_left()


def test_a_handler_of_the_users_own_has_the_say_over_sigterm(container: Container) -> None:
    process = container.start(container.argv("handles_signals", taking(), {}))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert container.end(process).code == 0
    assert container.value() == "ended by itself"


def test_a_signal_to_a_forked_child_is_none_to_the_task(container: Container) -> None:
    """Pools end their children by SIGTERM; these share the parent's pipes."""
    assert container.run("forks").code == 0
    assert container.value() == -signal.SIGTERM


# --- what user code may see --------------------------------------------------------------------------


def test_user_code_and_its_children_see_no_credentials_of_the_store(container: Container) -> None:
    env = dict.fromkeys((contract.ENV_ACCESS_KEY, contract.ENV_SECRET_KEY, contract.ENV_SESSION_TOKEN), "qwertz123")
    ended = container.run("environment", taking("word"), {"word": '"qwertz123"'}, env)
    assert ended.code == 0, ended.err
    assert container.value() == [[], [], False]


def test_the_users_own_secrets_stay(container: Container) -> None:
    env = {"MY_TOKEN": "qwertz123", "AWS_SECRET_ACCESS_KEY": "qwertz123", contract.ENV_REDACT: "MY_TOKEN"}
    container.run("environment", taking("word"), {"word": '"qwertz123"'}, env)
    assert container.value()[0] == ["AWS_SECRET_ACCESS_KEY", "MY_TOKEN"]


# --- previews are never worth a failure ----------------------------------------------------------------


def test_a_preview_that_cannot_be_written_is_a_warning(container: Container) -> None:
    container.artifacts.parent.mkdir(parents=True)
    container.artifacts.write_text("a file where a folder should be")
    ended = container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"})
    assert ended.code == 0
    assert ended.err.startswith("train: warning: no preview of result: ")
    assert container.handle() == "5"


# --- order of writing ----------------------------------------------------------------------------------


def test_the_record_stands_before_any_output_file(container: Container) -> None:
    """Who sees an output file may rely on the record; a task whose files fail is run again."""
    (container.folder / "out").write_text("a file where a folder should be")
    ended = container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"})
    assert ended.code == 1
    assert "cannot be written" in ended.err
    assert container.record("done")["outputs"] == {"result": "5"}


# --- code ------------------------------------------------------------------------------------------------


def test_code_in_parts_goes_through_the_store(container: Container) -> None:
    data = packed()
    sha256, compressed = hashlib.sha256(data).hexdigest(), compress(data)
    keys = []
    for part, piece in enumerate((compressed[:100], compressed[100:]), 1):
        call = CodeCall(sha256, part, 2, str(container.folder / "store"))
        argv = [arg if arg != contract.EXECUTOR_INPUT else "{}" for arg in call.argv()]
        ended = container.end(container.start(argv, {contract.ENV_CODE: base64.b64encode(piece).decode()}))
        assert ended.code == 0, ended.err
        assert ended.err.startswith(f"code: part {part} of 2 is in the store, @")
        keys.append(ended.err.split()[-1])
        assert from_handle(keys[-1], container.store) == piece
    env = {contract.ENV_CODE: ",".join(keys), contract.ENV_CODE_SHA256: sha256}
    assert container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"}, env).code == 0
    assert container.value() == 5


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({contract.ENV_CODE_SHA256: "0" * 64}, "its SHA-256 is"),
        ({contract.ENV_CODE: "not base64!"}, "GRANDPA_CODE is damaged"),
        ({contract.ENV_CODE: "@" + "a" * 43}, "part 1 of the workflow's code"),
        ({contract.ENV_CODE: ""}, "GRANDPA_CODE is empty"),
        ({contract.ENV_TIMEOUT_S: "soon"}, "is 'soon', which is no number of seconds"),
    ],
)
def test_an_environment_that_is_not_right_is_told(env: dict[str, str], told: str, container: Container) -> None:
    ended = container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"}, env)
    assert ended.code == 1
    assert told in ended.err.splitlines()[0]
    assert "Traceback" not in ended.err
    assert container.nothing_left()


def test_another_python_is_told_with_both_versions_before_anything_is_loaded(container: Container) -> None:
    """Where the node is a pickle of code."""
    env = {contract.ENV_PYTHON: "3.2", contract.ENV_CODE: "not read at all"}
    ended = container.end(container.start(container.argv("value:subtract", taking(), {}), env))
    first = ended.err.splitlines()[0]
    assert (ended.code, "the node subtract travels by value and was packed by Python 3.2" in first) == (1, True)
    assert f"this is Python {python_minor()}" in first


def test_code_that_travels_as_source_runs_on_any_python(container: Container) -> None:
    data = packed(FLOW, python="3.2")
    env = {**code_env(data), contract.ENV_PYTHON: "3.2"}
    assert container.run("subtract", taking("a", "b"), {"a": "7", "b": "2"}, env).code == 0
    assert container.value() == 5


def test_newer_grammar_is_told_with_the_python_that_packed_it(container: Container) -> None:
    ended = container.run("subtract", env=code_env(packed("def subtract(: pass", python="3.99")))
    assert ended.code == 1
    first = ended.err.splitlines()[0]
    assert "SyntaxError at flow.py:1" in first
    assert f"packed by Python 3.99, and this is {python_minor()}" in first


# --- inputs ----------------------------------------------------------------------------------------------


def test_an_object_that_is_gone_names_input_and_producer(container: Container) -> None:
    handle = to_handle(("a", "tuple"), container.store)
    container.store.put_record("runs/run-1/split/u/1/done.json", {"task": "split", "outputs": {"result": handle}})
    (path,) = [path for path in (container.folder / "store").rglob("*") if path.name == handle[3:]]
    path.unlink()
    ended = container.run("fails", taking("x"), {"x": handle})
    assert ended.code == 1
    first = ended.err.splitlines()[0]
    assert "input x: object" in first
    assert "is gone" in first
    assert "The task split made it in this run" in first


def test_an_object_that_no_task_of_the_run_made_points_to_the_epoch(container: Container) -> None:
    ended = container.run("fails", taking("x"), {"x": "@" + "a" * 43})
    assert "--epoch" in ended.err
    assert ended.code == 1


def test_a_damaged_object_names_the_input(container: Container) -> None:
    handle = to_handle(("a", "tuple"), container.store)
    (path,) = [path for path in (container.folder / "store").rglob("*") if path.name == handle[3:]]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    ended = container.run("fails", taking("x"), {"x": handle})
    assert ended.code == 1
    assert "input x: object" in ended.err
    assert "damaged" in ended.err


@pytest.mark.parametrize(
    ("inputs", "values", "told"),
    [
        ((Input("a"), Input("b")), {"a": "1"}, "the inputs b are missing"),
        ((Input("a"),), {"a": "not JSON"}, "input a: not a handle"),
        ((Input("a"),), {"a": 3}, "input a: a handle is a text"),
        ((Input("a", "raw", TypeSpec("int")),), {"a": 2.5}, "input a: must be int"),
        ((Input("a", "json", TypeSpec("int")),), {"a": "{"}, "input a: must be JSON text"),
    ],
)
def test_an_input_that_is_not_right_is_told(
    inputs: tuple[Input, ...], values: dict[str, Any], told: str, container: Container
) -> None:
    ended = container.run("subtract", Interface(inputs), values)
    assert ended.code == 1
    assert told in ended.err.splitlines()[0]
    assert container.nothing_left()


def test_an_input_that_was_not_made_and_has_no_default_is_told(container: Container) -> None:
    """Kubeflow hands over an empty text for what a failed task was to make."""
    ended = container.run("subtract", taking("a", "b"), {"a": "", "b": "2"})
    assert ended.code == 3
    assert "input a has no value, since what makes it has not succeeded, and no default" in ended.err


# --- the call itself ---------------------------------------------------------------------------------------


def test_another_contract_is_refused(container: Container) -> None:
    argv = container.argv("subtract", taking("a", "b"), {"a": "7", "b": "2"})
    argv[argv.index("--contract") + 1] = "99"
    ended = container.end(container.start(argv))
    assert ended.code == 1
    assert "compiled for contract 99" in ended.err
    assert reports_in(ended.err)[0]["exception"] == "PayloadError"


@pytest.mark.parametrize("changes", [{"outputs": {}}, {"outputs": {"parameters": {"result": {}}}}, {"inputs": []}])
def test_an_executor_input_that_is_not_kfps_is_told(changes: dict[str, Any], container: Container) -> None:
    ended = container.end(container.start(container.argv("subtract", taking("a", "b"), {}, **changes)))
    assert ended.code == 1
    assert "executor input" in ended.err.splitlines()[0]
    assert container.nothing_left()


@pytest.mark.parametrize("argv", [[], ["help"], ["run", "--x", "1"]])
def test_another_verb_is_wrong_usage(argv: list[str], container: Container) -> None:
    ended = container.end(container.start(argv))
    assert ended.code == 2
    assert ended.err.startswith("usage: python -m grandpa_kfp_runtime")


def test_with_the_store_down_the_report_stands_in_the_log(container: Container) -> None:
    (container.folder / "no-folder").write_text("a file")
    ended = container.run("fails", env={contract.ENV_STORE: str(container.folder / "no-folder" / "store")})
    assert ended.code == 1
    (report,) = reports_in(ended.err)
    assert (report["task"], report["exit_code"]) == ("train", 1)


def test_a_thread_that_is_left_running_does_not_keep_the_process() -> None:
    program = (
        "import threading\n"
        "from grandpa_kfp_runtime.launch import process\n"
        "process._EXIT_GRACE_S = 0.2\n"
        "threading.Thread(target=threading.Event().wait, name='upload').start()\n"
        "process.end_process(3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S)
    assert ended.returncode == 3
    assert "upload" in ended.stderr


# --- KFP's forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("s3://bucket/a/b", "/s3/bucket/a/b"),
        ("gs://bucket/a", "/gcs/bucket/a"),
        ("/abs/x", "/abs/x"),
        ("file:///abs/y%20z", "/abs/y z"),
        ("oci://elsewhere/x", ""),
    ],
)
def test_where_kfp_looks_for_an_artifacts_file(uri: str, path: str) -> None:
    assert local_path(uri) == path


def given(*uris: str) -> ExecutorInput:
    artifacts = {f"a{number}": {"artifacts": [{"uri": uri}]} for number, uri in enumerate(uris)}
    return ExecutorInput.from_text(json.dumps({"outputs": {"artifacts": artifacts}}))


def test_run_task_and_uuid_are_read_from_the_assigned_uri() -> None:
    """No run id may be a parameter: KFP's cache key would change with every run."""
    uri = "minio://mlpipeline/v2/artifacts/calc/0b1e-run/train-2/77-uuid/result-preview"
    assert Place.of(given(uri)) == Place("0b1e-run", "train-2", "77-uuid")


def test_a_local_engines_task_may_be_a_path() -> None:
    uri = "/tmp/artifacts/calc/run-1/part/train/uuid-1/result-preview"
    assert Place.of(given(uri), "part/train") == Place("run-1", "part/train", "uuid-1")


@pytest.mark.parametrize("uris", [(), ("",), ("/short/x",)])
def test_without_an_assigned_uri_the_place_is_not_known(uris: tuple[str, ...]) -> None:
    assert Place.of(given(*uris)) is None


def test_a_place_cannot_lead_out_of_the_records() -> None:
    place = Place.of(given("s3://b/calc/../tr ain/../x"))
    assert place is not None
    assert ".." not in (place.run_id, place.task, place.uuid)


def test_the_launchers_own_logs_are_no_artifact_of_the_task() -> None:
    text = json.dumps({"outputs": {"artifacts": {"executor-logs": {"artifacts": [{"uri": "s3://b/p/r/t/u/logs"}]}}}})
    parsed = ExecutorInput.from_text(text)
    assert parsed.artifacts == {}
    assert Place.of(parsed) == Place("r", "t", "u")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"outputs": {"artifacts": {"a": {"artifacts": [{}]}}}}'])
def test_text_that_is_no_executor_input_is_refused(text: str) -> None:
    with pytest.raises(PayloadError, match="executor input"):
        ExecutorInput.from_text(text)
