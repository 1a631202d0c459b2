"""The command of a task of a compiled YAML as a process of this machine: `Runner` for `yaml_tasks.py`.

Each process leads a group and is killed with all its children when nobody wants it any more. Should this
process be killed itself, they end too: each holds one end of a pipe whose other end dies with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from grandpa_kfp_runtime.contract import ENV_ATTEMPT, ENV_PARENT, ENV_STORE, ENV_TASK_NAME, ENV_TELL
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores import Store

from . import machine, numeric
from .yaml_tasks import Attempt, Copied, Echo, Ended

_GRACE_S = 0.4


class Processes:
    """The processes of one run. store: where the tasks' values go."""

    def __init__(self, store: Store, echo: Echo) -> None:
        self._store = store
        self._echo = echo
        self._lock = threading.Lock()
        self._processes: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._closed = True
        self._alive = self._ours = -1  # the ends of a pipe, to which nothing is ever written

    def open(self) -> None:
        with self._lock:
            if self._closed:
                self._closed = False
                self._alive, self._ours = os.pipe()

    def sees(self, path: Path) -> str:
        return str(path)

    def run(self, attempt: Attempt) -> Ended:
        """Whatever the container's command: it is our runtime's, and this interpreter has that."""
        with self._lock:
            if self._closed:
                raise TaskError("the run was stopped")
            process = subprocess.Popen(
                [sys.executable, "-m", "grandpa_kfp_runtime", *attempt.start.args],
                cwd=attempt.work,
                env=self._environment(attempt),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(self._alive,),
            )
            self._processes[attempt.key] = process
        assert process.stdout is not None
        copied = Copied(attempt, process.stdout, self._echo)
        try:
            _wait(process)
            _signal(process, signal.SIGKILL)  # children that it left behind hold the pipe
            status = process.wait()
        finally:
            with self._lock:
                del self._processes[attempt.key]
            copied.wait()
        if status < 0:
            return Ended(f"was killed by signal {-status}")
        return Ended(f"ended with exit code {status}") if status else Ended()

    def give_up(self, key: tuple[int, int]) -> None:
        with self._lock:
            process = self._processes.get(key)
        if process is not None:
            end([process])

    def close(self) -> None:
        with self._lock:
            first, self._closed = not self._closed, True
            left = list(self._processes.values())
        end(left)
        if first:
            os.close(self._alive)
            os.close(self._ours)

    def _environment(self, attempt: Attempt) -> dict[str, str]:
        """This process's own, the container's, and what a pod would bring: store, scratch space, the task's name, its
        GPUs and its share of the cores."""
        devices = {machine.VISIBLE_DEVICES: ",".join(attempt.devices)} if attempt.devices else {}
        return {
            **os.environ,
            **dict(numeric.setting(attempt.threads, os.environ)),
            **devices,
            **dict(attempt.container.env),
            ENV_STORE: self._store.location,
            ENV_TASK_NAME: attempt.task,
            ENV_ATTEMPT: str(attempt.key[1]),
            ENV_PARENT: str(self._alive),
            ENV_TELL: "record",
            "TMPDIR": str(attempt.work / "tmp"),
            "PYTHONUNBUFFERED": "1",
        }


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes and all their children: asks them, and kills those that are still there a moment later."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    until = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    for process in processes:
        _signal(process, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Returns when the process has ended, and leaves it unreaped, so that its group's number stays its own."""
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return  # another thread has ended it


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the process's whole group, of which it is the leader."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it
