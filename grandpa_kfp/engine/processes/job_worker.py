"""A process of an `Executor`: calls one function after the other for one parent, and ends when that does.

python -c "..." SOCKET LIFE   # two descriptors: what is said, and a pipe that closes with the parent
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import io
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from grandpa_kfp_runtime.code.marks import unmarked
from grandpa_kfp_runtime.context import TaskContext, activate
from grandpa_kfp_runtime.task import finish

from ...loading import marked_as_loading
from .job_messages import DONE, FAILED, PRINTED, Heard, dumps, hear, pack, say

_MOST_FUNCTIONS = 256


def main() -> None:
    """The process's whole life."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    life = int(sys.argv[2])
    sys.argv = [""]
    for descriptor in (sock.fileno(), life):
        os.set_inheritable(descriptor, False)
    os.register_at_fork(after_in_child=sock.close)  # a call's own child keeps nobody waiting for our end
    threading.Thread(target=_end_with, args=(life,), name="grandpa-parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C, and decides
    speaking = threading.Lock()
    sys.stdout = _Told("stdout", sock, speaking)
    sys.stderr = _Told("stderr", sock, speaking)
    _serve(sock, speaking)


def _end_with(life: int) -> None:
    """Nothing of this process, nor of what its calls started, outlives the parent."""
    os.read(life, 1)
    os.killpg(0, signal.SIGKILL)


def _serve(sock: socket.socket, speaking: threading.Lock) -> None:
    process, functions = os.getpid(), dict[bytes, Any]()
    with sock.makefile("rb") as reader:
        while True:
            try:
                heard = hear(reader)
            except (EOFError, OSError):
                return
            answer = _answer(heard, functions)
            if os.getpid() != process:  # a call forked, and its child came out of the function as well
                os._exit(0)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            try:
                with speaking:
                    _say(sock, answer)
            except OSError:
                return


def _say(sock: socket.socket, answer: tuple[Any, ...]) -> None:
    try:
        packed = pack(*answer)
    except Exception as error:  # whatever pickling a result may raise
        packed = pack(FAILED, b"", f"its result cannot be pickled: {type(error).__name__}: {error}", "")
    say(sock, packed)


def _answer(heard: Heard, functions: dict[bytes, Any]) -> tuple[Any, ...]:
    try:
        with marked_as_loading("a module of what is called"):  # at its top level it would start processes without end
            data, args, kwargs, place, scripts = heard.parts()
            _Scripts.know(scripts)
            function = functions.get(data)
            if function is None:
                if len(functions) >= _MOST_FUNCTIONS:
                    functions.clear()
                function = functions[data] = unmarked(pickle.loads(data))
        if place is None:
            return DONE, finish(function(*args, **kwargs))
        context = TaskContext(*place)
        try:
            with activate(context):
                return DONE, finish(function(*args, **kwargs))
        finally:
            context.close()
    except BaseException as error:  # raised again by the future
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return FAILED, _pickled(error), f"{type(error).__name__}: {error}", text


def _pickled(error: BaseException) -> bytes:
    """The error for the parent, empty where it does not come back from a pickle."""
    try:
        data = dumps(error)
        pickle.loads(data)
    except Exception:  # whatever a user's exception does to be pickled
        return b""
    return data


class _Told(io.TextIOBase):
    """`sys.stdout` of the process: lines go to the parent, which prints them where the call came from."""

    def __init__(self, stream: str, sock: socket.socket, speaking: threading.Lock) -> None:
        self._stream = stream
        self._sock = sock
        self._speaking = speaking
        self._text = ""
        self._process = os.getpid()

    encoding = "utf-8"

    @property
    def buffer(self) -> Any:
        """Bytes go past the parent."""
        stream = sys.__stdout__ if self._stream == "stdout" else sys.__stderr__
        return stream.buffer if stream is not None else None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1 if self._stream == "stdout" else 2

    def write(self, text: str) -> int:
        self._text += text
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        text, self._text = self._text, ""
        if not text:
            return
        if os.getpid() != self._process:  # in a child of a call's own
            os.write(self.fileno(), text.encode("utf-8", "backslashreplace"))
            return
        with self._speaking:
            say(self._sock, pack(PRINTED, self._stream, text))


class _Scripts(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds files that the parent has loaded under a name which no import would find."""

    _files: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def know(cls, files: Mapping[str, str]) -> None:
        """From now on these are found."""
        if files and not cls._files:
            sys.meta_path.append(cls())
        cls._files.update(files)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = self._files.get(name)
        return None if file is None else importlib.util.spec_from_file_location(name, file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        file = self._files[module.__name__]
        with open(file, "rb") as opened:
            exec(compile(opened.read(), file, "exec", dont_inherit=True), module.__dict__)
