"""What a running task may ask about itself, `current()`, and what it may tell: `log_metric` and its like.

The launcher and the engines put a `TaskContext` in place with `activate` around the user's code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .errors import TaskError

if TYPE_CHECKING:
    from logging import Logger, LoggerAdapter

    from .logged.task_log import TaskLog
    from .printed.task_output import Output

LOGGER = "grandpa.task"


class TaskContext:
    """One attempt at one task.

    run_id: names the run; task: the task's name; attempt: counts from 1 on local engines, time and pod
    on Kubeflow; folder: where scratch folders are made, `$TMPDIR` when not given; open_log: makes the log
    that `log_metric` and its like write to, at the first of them; output: takes what the task prints, None where that
    goes the process's own way.
    """

    __slots__ = (
        "_at_end", "_ended", "_folder", "_log", "_logger", "_open_log", "_scratch", "attempt", "output", "run_id",
        "task",
    )  # fmt: skip

    def __init__(
        self,
        run_id: str = "",
        task: str = "",
        attempt: int | str = 1,
        *,
        folder: str | Path | None = None,
        open_log: Callable[[], TaskLog] | None = None,
        output: Output | None = None,
    ) -> None:
        self.run_id = run_id
        self.task = task
        self.attempt = attempt
        self._folder = folder
        self._logger: LoggerAdapter[Logger] | None = None
        self._scratch: Path | None = None
        self._open_log = open_log
        self.output = output
        self._log: TaskLog | None = None
        self._at_end: list[Callable[[], object]] = []
        self._ended = False

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

    def log(self) -> TaskLog | None:
        """The attempt's log, made when it is asked for; None outside a task."""
        if self._log is None and self._open_log is not None:
            with _LOCK:
                if self._log is None:
                    self._log = self._open_log()
        return self._log

    @property
    def opened_log(self) -> TaskLog | None:
        """The log, None where nothing was logged."""
        return self._log

    def at_end(self, callback: Callable[[], object]) -> None:
        """Have something called when the attempt has ended, in whatever way; now, if it has.

        The callback must not wait, nor raise. It is called on any thread.
        """
        with _LOCK:
            if not self._ended:
                self._at_end.append(callback)
                return
        callback()

    def not_at_end(self, callback: Callable[[], object]) -> None:
        """Takes back what was given to `at_end`."""
        with _LOCK:
            if callback in self._at_end:
                self._at_end.remove(callback)

    def close(self) -> None:
        """Remove the scratch folder, drop what is logged from now on; for whoever runs the task, at its end."""
        _under_way.discard(self)
        with _LOCK:
            self._ended = True
            callbacks, self._at_end = self._at_end, []
        for callback in reversed(callbacks):
            callback()
        if self._log is not None:
            self._log.close()
        with _LOCK:
            scratch, self._scratch = self._scratch, None
        if scratch is not None:
            import shutil

            shutil.rmtree(scratch, ignore_errors=True)


_LOCK = threading.Lock()
_CURRENT: ContextVar[TaskContext | None] = ContextVar("grandpa_task", default=None)
_under_way: set[TaskContext] = set()  # those of `put`, of which one process may run several
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


def output_here() -> Output | None:
    """Where what is printed here goes: that of the task whose context this is."""
    context = _CURRENT.get()
    return None if context is None else context.output


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
    _under_way.add(context)


def leave(context: TaskContext) -> None:
    """The body that `put` made it current for has ended; what the body returned may keep the context open."""
    _under_way.discard(context)


def activate_process(context: TaskContext | None) -> None:
    """Make it the current one for the whole process, threads that the task starts included: one task a process."""
    global _process
    _process = context


# --- what a task tells -----------------------------------------------------------------------------


def log_metric(name: str, value: float, step: int | None = None) -> None:
    """Log one value of a metric: `log_metric("loss", 0.31, step=epoch)`.

    value: any single number, of NumPy and torch too; NaN and infinities are kept. step: a whole number. It is an
    event of the run, is shown by `grandpa inspect`, and by Kubeflow, which compares metrics of runs. Of a metric
    that is logged more than 1,000 times, evenly chosen points are kept; count, least and most stay exact.

    Outside a task, in a unit test for example, it is checked and dropped, with one warning in the log.
    Raises TypeError, ValueError for a name or value that is none; TaskError in a thread whose task is not known.

    >>> with activate(TaskContext("run-1", "train")):
    ...     log_metric("accuracy", 0.97)
    """
    _log().metric(name, value, step)


def log_params(params: Mapping[str, Any]) -> None:
    """Log parameters beside the workflow's own: `log_params({"optimizer": "adam", "rate": 0.1})`.

    Values are shown as numbers, booleans or texts of at most 1,000 characters. Shown and raising as `log_metric`.
    """
    _log().params(params)


def log_artifact(name: str, value: Any) -> None:
    """Log something to look at or to load later: `log_artifact("curve", Figure(plot))`, `("model", model)`.

    value: any value that a node may return; a `Path` stands for the file or folder there, a str is a text. It goes
    into the store at once, and the run keeps its handle. Kubeflow draws `Html`, `Markdown`, `Figure` and
    `ClassificationMetrics`, and shows a preview of anything else.

    Shown and raising as `log_metric`; TaskError too for a value that cannot be stored, the store's errors.
    """
    _log().artifact(name, value)


def log_of_task() -> TaskLog | None:
    """The log of the task that runs here, None outside a task. Raises TaskError in a thread whose task is not known."""
    context = _CURRENT.get() or _process
    if context is None and _under_way:
        context = _only_task()
    return None if context is None else context.log()


def _log() -> TaskLog:
    """As `log_of_task`; outside a task one that checks and drops."""
    return log_of_task() or _dropped()


def _only_task() -> TaskContext:
    """The task of a thread that a node started without its context, which Python does not hand on by itself."""
    found = tuple(_under_way)
    if len(found) != 1:
        raise TaskError(
            "this thread was started by a task, but several run in this process, and which of them it was is not "
            "known; start it with the task's context: Thread(target=contextvars.copy_context().run, args=(work,))"
        )
    return found[0]


def _dropped() -> TaskLog:
    global _drops
    if _drops is None:
        from .logged.task_log import Dropped, TaskLog

        _drops = TaskLog(Dropped())
    return _drops


_drops: TaskLog | None = None


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
