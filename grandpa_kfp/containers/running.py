"""Runs one container node on this machine by Docker: files in, the command to its end, files out.

Called as the body of a task, by every local engine. Files are copied in and out by Docker, not mounted: that works for
every user, whoever the image runs as, and with a Docker that is not on this machine.
"""

from __future__ import annotations

import contextvars
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from grandpa_kfp_compiler.containers import ContainerNode, Port
from grandpa_kfp_runtime.context import current, in_task
from grandpa_kfp_runtime.errors import ContainerError, ParameterError, TaskError
from grandpa_kfp_runtime.exports import write_artifact
from grandpa_kfp_runtime.typespec import Json

from ..engine.kfp_values import arrives, check, from_output_file
from .placeholders import filled

FOLDER = "/grandpa"
"""Where a container finds what goes in and out."""

_LAST_LINES = 20
_STARTS_WITHIN_S = 60.0
_STEP_S = 0.1


def run_container(container: str, /, **inputs: Any) -> Any:
    """Runs the container to its end; its result, or the tuple of its results: parameters as values, files as paths.

    container: a `ContainerNode` as JSON text; its `variables` are passed on from this process's environment. inputs: by
    name; a file's input takes a path, or a value that is then written to a file as `options(artifact=...)` writes it.
    Raises TaskError for a command that fails or leaves an output out, ParameterError for an input that a parameter of
    its type cannot hold, ContainerError where Docker cannot run it.
    """
    told = json.loads(container)
    node = ContainerNode.from_json(told)
    env = dict(node.env) | {name: os.environ[name] for name in told.get("variables", ()) if name in os.environ}
    folder = _folder()
    try:
        given = _executor_input(node, inputs, folder)
        _in_docker(node, given, env, folder)
        found = tuple(_output(port, folder) for port in node.gives)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder / "inputs", ignore_errors=True)
    return found[0] if len(found) == 1 else found or None


def _folder() -> Path:
    if in_task():
        return Path(tempfile.mkdtemp(prefix="container-", dir=current().scratch_dir()))
    return Path(tempfile.mkdtemp(prefix="grandpa-container-"))


# --- what goes in --------------------------------------------------------------------------------


def _executor_input(node: ContainerNode, inputs: Mapping[str, Any], folder: Path) -> Json:
    """What Kubeflow would tell the container, and the files of it below the folder."""
    values: dict[str, Json] = {}
    files: dict[str, Json] = {}
    for port in node.inputs:
        value = inputs.get(port.name, json.loads(port.default) if port.default else None)
        if value is None and port.optional:
            continue
        if port.is_file:
            place = folder / "inputs" / port.name
            write_artifact(value, place)
            files[port.name] = _artifact(port, f"{FOLDER}/inputs/{port.name}")
        else:
            values[port.name] = _parameter(port, value)
    folder.chmod(0o755)  # the image may run as anybody
    (folder / "outputs").mkdir()
    (folder / "outputs").chmod(0o777)
    places = {port: f"{FOLDER}/outputs/{port.name}" for port in node.gives}
    return {
        "inputs": {"parameterValues": values, **({"artifacts": files} if files else {})},
        "outputs": {
            "parameters": {port.name: {"outputFile": place} for port, place in places.items() if not port.is_file},
            "artifacts": {port.name: _artifact(port, place) for port, place in places.items() if port.is_file},
            "outputFile": f"{FOLDER}/outputs/executor_output.json",
        },
    }


def _artifact(port: Port, place: str) -> Json:
    kind = {"schemaTitle": port.type, "schemaVersion": "0.0.1"}
    return {"artifacts": [{"name": port.name, "type": kind, "uri": place, "metadata": {}}]}


def _parameter(port: Port, value: Any) -> Json:
    if wrong := check(value, port.type):
        raise ParameterError(f"input {port.name}: {wrong}")
    return arrives(value, port.type)


# --- the container -------------------------------------------------------------------------------


def _in_docker(node: ContainerNode, given: Json, env: Mapping[str, str], folder: Path) -> None:
    from ..images import docker

    try:
        command = filled(node.command, given, str)
        args = filled(node.args, given, str)
    except (KeyError, IndexError) as error:
        raise TaskError(f"its command asks for {error}, which was not given and has no default") from None
    try:
        name = f"grandpa-container-{uuid.uuid4().hex[:12]}"
        if docker.image(node.image) is None:
            docker.pull(node.image)
        try:
            _create(name, node.image, command, args, env, folder)
            printed = _attend(name)
            state = docker.inspect_container(name)["State"]
            if state["ExitCode"]:
                raise TaskError(_failed(int(state["ExitCode"]), bool(state.get("OOMKilled")), printed))
            if node.gives:
                docker.docker("cp", f"{name}:{FOLDER}/outputs", str(folder), within_s=None)
        finally:
            docker.remove_containers([name])
    except ContainerError as error:
        told = str(error).replace(", or use --engine subprocess", "")
        raise ContainerError(
            f"it runs in a container of {node.image}, which takes Docker here: {told}; on Kubeflow it needs none"
        ) from error


def _create(name: str, image: str, command: list[str], args: list[str], env: Mapping[str, str], folder: Path) -> None:
    from ..engine.container_host import OWNER_LABEL, owner, remove_left_behind
    from ..images import docker

    remove_left_behind()
    entry = ["--entrypoint", command[0]] if command else []
    docker.docker(
        "create",
        *("--name", name, "--pull", "never", "--label", f"{OWNER_LABEL}={owner()}"),
        *(part for key in env for part in ("--env", key)),  # values stand in docker's environment, not in its arguments
        *entry,
        image,
        *command[1:],
        *args,
        env=env,
        within_s=_STARTS_WITHIN_S,
    )
    docker.docker("cp", f"{folder}/.", f"{name}:{FOLDER}", within_s=None)


def _attend(name: str) -> bytes:
    """Starts the container and passes on what it prints, until it has ended; the end of what it printed.

    It waits in short steps: a task whose time is up is interrupted between them.
    """
    from ..images import docker

    argv = [docker.command(), "start", "--attach", name]
    printed: list[bytes] = []
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        context = contextvars.copy_context()  # whose print it is
        reader = threading.Thread(target=context.run, args=(_pass_on, process.stdout, printed), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(_STEP_S)
        except BaseException:
            process.kill()
            raise
    return b"".join(printed)


def _pass_on(stream: IO[bytes], printed: list[bytes]) -> None:
    for line in stream:
        sys.stderr.write(line.decode("utf-8", "replace"))
        printed.append(line)
        del printed[:-_LAST_LINES]


def _failed(code: int, out_of_memory: bool, printed: bytes) -> str:
    how = "was killed because it used more memory than there is" if out_of_memory else f"ended with exit code {code}"
    lines = "\n".join(f"  {line}" for line in printed.decode("utf-8", "replace").splitlines())
    return f"its container {how}" + (f"; it printed last:\n{lines}" if lines else "")


# --- what comes out ------------------------------------------------------------------------------


def _output(port: Port, folder: Path) -> Any:
    place = folder / "outputs" / port.name
    if place.is_symlink() or not place.exists():
        raise TaskError(f"its container left no output {port.name}: its command writes it to the path that it is given")
    if port.is_file:
        return place
    try:
        text = place.read_text(encoding="utf-8")
        found = from_output_file(text, port.type)
        wrong = check(found, port.type)
    except (UnicodeDecodeError, ParameterError, OSError) as error:
        raise TaskError(f"its container's output {port.name}: {error}") from error
    if wrong:
        raise TaskError(f"its container's output {port.name}: {wrong}")
    return int(found) if port.type == "NUMBER_INTEGER" else found
