"""What a running task may ask about itself: `current()`.

The launcher and the engines put a `TaskContext` in place with `activate` around the user's code.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter

LOGGER = "grandpa.task"


class TaskContext:
    """One attempt at one task.

    run_id: names the run; task: the task's name; attempt: counts from 1 on local engines, time and pod
    on Kubeflow; folder: where scratch folders are made, `$TMPDIR` when not given.
    """

    __slots__ = ("_folder", "_logger", "_scratch", "attempt", "run_id", "task")

    def __init__(
        self, run_id: str = "", task: str = "", attempt: int | str = 1, *, folder: str | Path | None = None
    ) -> None:
        self.run_id = run_id
        self.task = task
        self.attempt = attempt
        self._folder = folder
        self._logger: LoggerAdapter[Logger] | None = None
        self._scratch: Path | None = None

    def __repr__(self) -> str:
        return f"TaskContext(run_id={self.run_id!r}, task={self.task!r}, attempt={self.attempt!r})"

    @property
    def logger(self) -> LoggerAdapter[Logger]:
        """A logger whose records carry the task's name and the run's id, as `task` and `run_id`."""
        if self._logger is None:
            from logging import LoggerAdapter, getLogger

            if _log_stream is not None:
                _set_up_logging(*_log_stream)
            self._logger = LoggerAdapter(getLogger(LOGGER), {"task": self.task, "run_id": self.run_id})
        return self._logger

    def scratch_dir(self) -> Path:
        """A folder of this task's own, made at the first call and removed when the task has ended.

        A `Path` below it may be returned: its content is stored before.
        """
        with _LOCK:
            if self._scratch is None:
                import tempfile

                if self._folder is not None:
                    Path(self._folder).mkdir(parents=True, exist_ok=True)
                self._scratch = Path(tempfile.mkdtemp(prefix="grandpa-task-", dir=self._folder))
            return self._scratch

    def close(self) -> None:
        """Remove the scratch folder; for whoever runs the task, once its outputs are stored."""
        with _LOCK:
            scratch, self._scratch = self._scratch, None
        if scratch is not None:
            import shutil

            shutil.rmtree(scratch, ignore_errors=True)


_LOCK = threading.Lock()
_CURRENT: ContextVar[TaskContext | None] = ContextVar("grandpa_task", default=None)
_process: TaskContext | None = None
_outside: TaskContext | None = None
_log_stream: tuple[IO[str], bool] | None = None


def current() -> TaskContext:
    """The task that runs here: its `run_id`, `task`, `attempt`, `logger` and `scratch_dir()`.

    Outside a task, so that a node's function can be called by a test, a context without names.

    >>> with activate(TaskContext("run-1", "train")):
    ...     current().task
    'train'
    """
    return _CURRENT.get() or _process or _no_task()


def in_task() -> bool:
    """Whether the code that asks runs inside a task."""
    return _CURRENT.get() is not None or _process is not None


@contextmanager
def activate(context: TaskContext) -> Iterator[TaskContext]:
    """Make it the current one for the code inside; the caller closes it."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)


def put(context: TaskContext) -> None:
    """As `activate`, for code that runs in a `contextvars.Context` of its own: it ends with that."""
    _CURRENT.set(context)


def activate_process(context: TaskContext | None) -> None:
    """Make it the current one for the whole process, threads that the task starts included: one task a process."""
    global _process
    _process = context


def _no_task() -> TaskContext:
    global _outside
    with _LOCK:
        if _outside is None:
            import atexit

            _outside = TaskContext()
            atexit.register(_outside.close)
        return _outside


def log_to(stream: IO[str], *, verbose: bool = False) -> None:
    """Have tasks' loggers write lines to a stream, unless the program has set up logging itself.

    Nothing is imported or set up before a task asks for its logger.
    """
    global _log_stream
    _log_stream = (stream, verbose)


def _set_up_logging(stream: IO[str], verbose: bool) -> None:
    import logging

    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    if logging.getLogger().handlers or logger.handlers:
        return
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(task)s: %(message)s", defaults={"task": "-"}))
    logger.addHandler(handler)
