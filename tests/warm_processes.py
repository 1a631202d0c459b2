"""Containers' commands as processes forked from a warm one: some 10 ms each, where a new interpreter takes 150.

For tests that run many tasks of compiled pipelines. What runs is the runtime's own `main`, in a process of its own,
in its own folder and environment; what is shared is what a fresh interpreter would have imported as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 240

_SERVER = """
import gc, json, os, signal, sys
import numpy
from grandpa_kfp import Component, Node, Workflow, collect, each, either, elsewhen, is_in, otherwise, when
import grandpa_kfp_runtime.launch.inputs, grandpa_kfp_runtime.stores.file, grandpa_kfp_runtime.values.pickling
import grandpa_kfp_runtime.failure, grandpa_kfp_runtime.logged.outputs, grandpa_kfp_runtime.launch.told_events
from grandpa_kfp_runtime.launch.launcher import main
from grandpa_kfp_runtime.launch.process import end_process

gc.freeze()
for line in sys.stdin:
    given = json.loads(line)
    child = os.fork()
    if not child:
        log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in ((0, nothing), (1, log), (2, log)):
            os.dup2(file, number)
        sys.stdin = open(0)
        os.environ.clear()
        os.environ.update(given["env"])
        os.chdir(given["folder"])
        signal.alarm(given["patience_s"])
        end_process(main(given["argv"]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended; negative codes are signals. text: what it wrote to both streams."""

    code: int
    text: str


class WarmProcesses:
    """One process to fork from, started when it is first needed; one command at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def run(self, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> Ended:
        """`python -m grandpa_kfp_runtime argv` in a folder, with these variables beside this process's own."""
        log = folder / "log.txt"
        given = {
            "argv": list(argv),
            "env": {**os.environ, **env},
            "folder": str(folder),
            "log": str(log),
            "patience_s": _PATIENCE_S,
        }
        with self._lock:
            server = self._server = self._server or _start()
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps(given) + "\n")
            server.stdin.flush()
            code = int(server.stdout.readline())
        return Ended(code, log.read_text("utf-8"))

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate(timeout=_PATIENCE_S)
            self._server = None


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
