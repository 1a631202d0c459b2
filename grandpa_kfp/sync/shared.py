"""`Shared`: what all shared objects are: a core in the process that made it, a link to it in any other.

The first pickle that leaves the process starts the server; on threads alone there is none.
"""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from grandpa_kfp_runtime.context import in_task
from grandpa_kfp_runtime.errors import TaskError

from ..authoring.where import here
from .cores import Core

if TYPE_CHECKING:
    from .serving import Server

S = TypeVar("S", bound="Shared")

_lock = threading.RLock()  # garbage may be collected, and `_unexport` called, by a thread that holds it
_known: weakref.WeakValueDictionary[str, Shared] = weakref.WeakValueDictionary()
_exported: set[str] = set()
_pinned: list[Shared] = []  # made by a task: nothing here holds them, though another process may use them
_server: Server | None = None


class Shared:
    """Base of the shared objects; not made by itself. Raises TaskError once the process that made it has ended."""

    __slots__ = ("__weakref__", "_by_task", "_core", "_folder", "_ident", "_pid", "_where")
    kind: ClassVar[str] = ""
    _core: Core | None
    _folder: str

    def _own(self, core: Core) -> None:
        """This process has made it: here is its state."""
        self._core = core
        self._by_task = in_task()
        self._folder = ""
        self._ident = uuid.uuid4().hex
        self._pid = os.getpid()
        self._where = here()
        with _lock:
            _known[self._ident] = self

    def _ask(self, operation: str, *args: Any, wait: bool = False, timeout_s: float | None = None) -> Any:
        if self._core is not None and self._pid == os.getpid():
            return self._core.call(operation, args, wait, timeout_s)
        if not self._folder:
            raise TaskError(
                f"{self!r} was made by the process that forked this one, before it was shared with any; pass it to "
                "the new process as an argument that is pickled"
            )
        from .links import ask

        return ask(self._folder, self._ident, operation, args, wait, timeout_s, repr(self))

    def __repr__(self) -> str:
        return f"<sync.{self.kind} ({self._where})>"

    # --- pickling --------------------------------------------------------------------------------

    def _description(self) -> tuple[Any, ...]:
        """Arguments that make a new one of the same content."""
        raise TypeError(f"{type(self).__name__} is no shared object to be made by itself")

    def _content(self) -> Any:
        return self._ask("state")

    def __grandpa_share__(self, how: str) -> Any:
        if how == "here":
            return found_here, (self._ident,)
        if how == "description":
            return type(self), self._description()
        if self._core is not None and self._pid == os.getpid():
            _export(self)
        return connected, (type(self), self._folder, self._ident, self._where)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__grandpa_share__("reference")

    def __copy__(self: S) -> S:
        return self

    def __deepcopy__(self: S, memo: Any) -> S:
        return self


def found_here(ident: str) -> Shared:
    """The object of that id in this process; pickles that stay in it name this."""
    return _known[ident]


def connected(kind: type[Shared], folder: str, ident: str, where: str) -> Shared:
    """The object of that id, wherever it was made; pickles for other processes name this."""
    with _lock:
        known = _known.get(ident)
        if known is not None:
            return known
        made = kind.__new__(kind)
        made._core, made._folder, made._ident, made._pid, made._where = None, folder, ident, 0, where
        _known[ident] = made
        return made


def _export(shared: Shared) -> None:
    """Other processes can ask for it from now on."""
    global _server
    with _lock:
        if shared._ident in _exported:
            return
        if _server is None:
            from .serving import Server

            _server = Server(_core_of)
        shared._folder = str(_server.folder)
        _exported.add(shared._ident)
        if shared._by_task:  # its body has ended when the calls that it returned run
            _pinned.append(shared)
    weakref.finalize(shared, _unexport, shared._ident, os.getpid()).atexit = False


def _core_of(ident: str) -> Core | None:
    shared = _known.get(ident)
    return None if shared is None else shared._core


def _unexport(ident: str, pid: int) -> None:
    """Nobody here holds the object any more; without any the server ends."""
    if pid != os.getpid():
        return
    with _lock:
        _exported.discard(ident)
        if _exported or _server is None or _server.closed:
            return
    threading.Thread(target=_stop_if_idle, name="grandpa-sync-stop", daemon=True).start()


def _stop_if_idle() -> None:
    global _server
    with _lock:
        if _exported or _server is None:
            return
        server, _server = _server, None
    server.close()


def _in_child() -> None:
    global _lock, _server
    _lock = threading.RLock()
    server, _server = _server, None
    _exported.clear()
    if server is not None:
        server.leave_to_parent()


os.register_at_fork(after_in_child=_in_child)
