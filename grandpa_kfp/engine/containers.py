"""The command of a task of a compiled YAML in a container of its own image: `Runner` for `yaml_tasks.py`.

A container may do here what it may do in a cluster: no root, no capabilities, its limits, a root file system
that it cannot write to, scratch space at `$TMPDIR`. `container_host.py` has looked before whether all of this
can be had. How a container ended is what Docker's record of it says, never the exit code of a docker command.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.contract import ENV_ATTEMPT, ENV_STORE, ENV_TASK_NAME, ENV_TELL
from grandpa_kfp_runtime.errors import ContainerError, TaskError

from ..images.docker import command, docker, inspect_container, labels, remove_containers
from .container_host import OWNER_LABEL, Host, owner
from .kfp_containers import Limits, Platform
from .yaml_tasks import Attempt, Copied, Echo, Ended

FOLDER = "/grandpa"
"""Where a container finds the folders of its run."""

_GRACE_S = 2
"""A task that is told to end has so long for its failure report."""
_STARTS_WITHIN_S = 60.0
_KILLED = 128 + 9


class Containers:
    """The containers of one run. folder: the run's; run_id: in the containers' names."""

    def __init__(self, run_id: str, folder: Path, host: Host, echo: Echo) -> None:
        self._run_id = run_id
        self._folder = folder
        self._host = host
        self._echo = echo
        self._changed = threading.Condition()
        self._names: dict[tuple[int, int], str] = {}
        self._creating = 0
        self._closed = False

    def open(self) -> None:
        with self._changed:
            self._closed = False

    def sees(self, path: Path) -> str:
        return f"{FOLDER}/{path.relative_to(self._folder).as_posix()}"

    def run(self, attempt: Attempt) -> Ended:
        name = f"grandpa-{self._run_id}-{attempt.key[0] + 1}-{attempt.key[1]}"
        try:
            self._create(name, attempt)
            self._attend(name, attempt)
            return _ended(inspect_container(name), attempt.container.limits)
        except ContainerError as error:
            raise TaskError(f"{attempt.task} failed: its container could not be run: {error}") from error
        finally:
            self._remove([name])
            with self._changed:
                self._names.pop(attempt.key, None)

    def give_up(self, key: tuple[int, int]) -> None:
        with self._changed:
            name = self._names.get(key)
        if name is not None:  # its lane removes it; this thread has other timers to watch
            threading.Thread(target=_stop, args=([name],), daemon=True).start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._creating, _STARTS_WITHIN_S)
            names = list(self._names.values())
        try:
            _stop(names)
        finally:  # even if Ctrl-C comes again meanwhile
            self._remove(names)

    # --- one container -------------------------------------------------------------------------------

    def _create(self, name: str, attempt: Attempt) -> None:
        """Makes the container. `close` waits for this, so that none comes to be behind its back."""
        with self._changed:
            if self._closed:
                raise TaskError("the run was stopped")
            self._names[attempt.key] = name
            self._creating += 1
        try:
            anyone = not attempt.container.is_ours
            self._host.hand_over(attempt.outputs, attempt.artifacts, *self._scratch(attempt).values(), anyone=anyone)
            argv, env = self._argv(name, attempt)
            docker("create", *argv, env=env, within_s=_STARTS_WITHIN_S)
        finally:
            with self._changed:
                self._creating -= 1
                self._changed.notify_all()

    def _attend(self, name: str, attempt: Attempt) -> None:
        """Starts the container and copies what it prints, until it has ended."""
        process = subprocess.Popen(
            [command(), "start", "--attach", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        copied = Copied(attempt, process.stdout, self._echo)
        process.wait()
        copied.wait()
        if inspect_container(name)["State"]["Running"]:  # the connection to Docker was lost, not the container
            docker("wait", name, within_s=None)

    def _remove(self, names: Sequence[str]) -> None:
        try:
            remove_containers(names)
        except ContainerError as error:
            self._echo("docker", f"warning: containers {', '.join(names)} are left behind: {error}")

    def _argv(self, name: str, attempt: Attempt) -> tuple[list[str], dict[str, str]]:
        """Arguments of `docker create`, and the environment that fills what must not stand in arguments."""
        host, container, start = self._host, attempt.container, attempt.start
        own = {OWNER_LABEL: owner(), "grandpa-kfp.run": self._run_id, "grandpa-kfp.task": attempt.task}
        told = labels(list({**dict(container.platform.labels), **own}.items()))
        mounts = {self.sees(attempt.outputs): attempt.outputs, self.sees(attempt.artifacts): attempt.artifacts}
        mounts |= {**self._scratch(attempt), **(host.mounts if container.is_ours else {})}
        secrets = host.secrets(container)
        first, *rest = start.command or ("",)
        argv = [
            *("--name", name, "--pull", "never", *told, "--log-driver", "none"),
            *(("--user", host.user, "--read-only") if container.is_ours else ()),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *(("--security-opt", "label=disable") if host.server.selinux else ()),
            *(("--network", host.network) if host.network else ()),
            *_limit_options(container.limits, host.server.cpus, attempt.devices),
            *_memory_options(container.platform),
            *(part for place, source in mounts.items() for part in ("--mount", mount_option(source, place))),
            *(part for file in start.files for part in ("--mount", mount_option(file, self.sees(file), "readonly"))),
            *(part for item in self._environment(attempt).items() for part in ("--env", "=".join(item))),
            *(part for variable in secrets for part in ("--env", variable)),
            *(("--entrypoint", first) if first else ()),
            *(container.image, *rest, *start.args),
        ]
        return argv, secrets

    def _environment(self, attempt: Attempt) -> dict[str, str]:
        """The container's own, and what a local run adds for our runtime: the store, the task's name, the attempt."""
        if not attempt.container.is_ours:
            return dict(attempt.container.env)
        return {
            **dict(attempt.container.env),
            ENV_STORE: self._host.location,
            ENV_TASK_NAME: attempt.task,
            ENV_ATTEMPT: str(attempt.key[1]),
            ENV_TELL: "record",
            "PYTHONUNBUFFERED": "1",
        }

    def _scratch(self, attempt: Attempt) -> dict[str, Path]:
        """Folders on disk, not in memory: what a task writes there must not count as its memory."""
        places = dict.fromkeys(("/tmp", *attempt.container.platform.scratch))
        return {place: attempt.work / "tmp" / str(number) for number, place in enumerate(places)}


def mount_option(source: Path, place: str, *more: str) -> str:
    """A value of `docker create --mount`, which is a line of CSV.

    >>> mount_option(Path("/home/a, b"), "/grandpa/store")
    'type=bind,"source=/home/a, b",target=/grandpa/store'
    """
    return _csv("type=bind", f"source={source}", f"target={place}", *more)


def _csv(*parts: str) -> str:
    return ",".join('"' + part.replace('"', '""') + '"' if {",", '"'} & set(part) else part for part in parts)


def _limit_options(limits: Limits, cpus: int, devices: Sequence[str] = ()) -> list[str]:
    """More CPUs than there are limit nothing, and Docker refuses them. Without swap, as in Kubernetes."""
    options: list[str] = []
    if limits.cpus:
        options += ["--cpus", f"{min(limits.cpus, cpus):g}"]
    if limits.memory_bytes:
        options += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    if limits.gpus:
        options += ["--gpus", f'"device={",".join(devices)}"' if devices else str(limits.gpus)]
    return options


def _memory_options(platform: Platform) -> list[str]:
    """Folders in memory, shared memory among them; what lies there counts as the container's memory, as in a pod."""
    options = ["--shm-size", str(platform.shm_bytes)] if platform.shm_bytes else []
    for place, size in platform.in_memory:
        bound = (f"tmpfs-size={size}",) if size else ()
        options += ["--mount", _csv("type=tmpfs", f"target={place}", *bound)]
    return options


def _ended(found: Mapping[str, Any], limits: Limits) -> Ended:
    """From Docker's record of a container that runs no more."""
    state = found["State"]
    code = int(state["ExitCode"])
    if state.get("Error"):
        raise ContainerError(str(state["Error"]))
    if not code:
        return Ended()
    if state.get("OOMKilled"):
        limit = f"its limit of {limits.memory}" if limits.memory_bytes else "all that the machine has"
        return Ended(f"was killed because it used more memory than {limit}; give it more with memory=", certain=True)
    if code == _KILLED:
        return Ended("was killed from outside (signal 9)", certain=True)
    return Ended(f"ended with exit code {code}")


def _stop(names: Sequence[str]) -> None:
    """Asks containers to end, and kills those that are still there a moment later."""
    if names:
        with contextlib.suppress(ContainerError):  # some have ended by themselves
            docker("stop", "--time", str(_GRACE_S), *names)
