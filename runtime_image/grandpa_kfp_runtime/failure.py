"""How a task's failure is told: as a JSON record for tools, as a text for a person.

The launcher and the local engines make the record with `report` and print it with `format_report`, so
that a failure reads the same wherever the task ran. With the store down the launcher writes the record
to standard error between two marker lines, where `reports_in` finds it in a log.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Protocol

from . import tracebacks
from .errors import GrandpaError, RunCancelled, TaskTimeout
from .redaction import NOTHING_SECRET, Redactor
from .typespec import Json
from .values.summaries import summary

BEGIN_MARKER = "-----BEGIN GRANDPA FAILURE REPORT-----"
END_MARKER = "-----END GRANDPA FAILURE REPORT-----"

_MESSAGE_LIMIT = 10_000
_TRACEBACK_LIMIT = 60_000


class Stream(Protocol):
    """What a report can be written to."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


def report(
    error: BaseException,
    *,
    task: str,
    inner: str = "",
    node: str = "",
    where: str = "",
    inputs: Mapping[str, str] | None = None,
    handles: Mapping[str, str] | None = None,
    run_id: str = "",
    attempt: int | str = 1,
    root: str = "",
    frame: FrameType | None = None,
    in_container: bool = False,
    redactor: Redactor = NOTHING_SECRET,
) -> dict[str, Json]:
    """The record of one task's failure: plain JSON, secrets out.

    inner: of a fused step, which of its tasks it was; node: the node's key; where: the file:line of the call, else of
    the node; inputs: a short text about each input (`describe_inputs`); handles: their handles, where they have any;
    root: the folder that files' names are told from; frame: where the task's thread is, for one that has not ended.

    >>> record = report(ValueError("bad shape"), task="train", where="pipeline.py:31", inputs={"x": "list of 3"})
    >>> print(format_report(record))
    train (pipeline.py:31) failed: ValueError: bad shape
    <BLANKLINE>
    Inputs:
      x = list of 3
    """
    traceback, raised_at = _traceback(error, frame, root)
    kind = type(error)
    record: dict[str, Json] = {
        "task": task,
        "node": node,
        "where": where,
        "exception": kind.__qualname__,
        "module": kind.__module__,
        "message": _shortened(_message(error), _MESSAGE_LIMIT),
        "raised_at": raised_at,
        "traceback": _shortened(traceback, _TRACEBACK_LIMIT),
        "inputs": _inputs(inputs or {}, handles or {}),
        "hint": _hint(error, in_container),
        "exit_code": exit_code(error),
        "run_id": run_id,
        "attempt": attempt,
        "versions": versions(),
        **({"inner": inner} if inner else {}),
    }
    redacted: dict[str, Json] = redactor.json(record)
    return redacted


def headline(record: Mapping[str, Json]) -> str:
    """The first line of the report: `train (pipeline.py:31) failed: ValueError: bad shape`."""
    where = f" ({record['where']})" if record["where"] else ""
    task = "/".join(filter(None, (record["task"], record.get("inner"))))
    return f"{task or 'the task'}{where} failed: {_what(record)}"


def error_line(record: Mapping[str, Json]) -> str:
    """What was raised, in one line: `ValueError: bad shape`; of a fused step behind the name of the task in it."""
    inner = f"{record['inner']}: " if record.get("inner") else ""
    return inner + f"{record['exception']}: {record['message']}".strip().partition("\n")[0]


def format_report(record: Mapping[str, Json]) -> str:
    """The whole report for a person: headline, the user's frames, the inputs, what to do."""
    blocks = [headline(record)]
    if record["traceback"]:
        blocks.append(record["traceback"])
    if record["inputs"] and (record["traceback"] or record["module"] != GrandpaError.__module__):
        lines = (
            f"  {name} = {entry.get('summary') or entry.get('handle')}" for name, entry in record["inputs"].items()
        )
        blocks.append("\n".join(("Inputs:", *lines)))
    if record["hint"]:
        blocks.append(f"What to do: {record['hint']}")
    return "\n\n".join(blocks)


def describe_inputs(values: Mapping[str, Any]) -> dict[str, str]:
    """A short text about each value, none of the user's code called.

    >>> describe_inputs({"rate": 0.1, "rows": [1, 2]})
    {'rate': '0.1', 'rows': 'list of 2'}
    """
    return {name: summary(value) for name, value in values.items()}


def exit_code(error: BaseException) -> int:
    """What the process of the task ends with: 3 where the user's code failed, an error of ours its own."""
    if isinstance(error, RunCancelled):
        return 143
    return error.exit_code if isinstance(error, GrandpaError) else 3


def versions() -> dict[str, str]:
    """What ran the task."""
    from importlib import metadata

    try:
        own = metadata.version("grandpa-kfp")
    except metadata.PackageNotFoundError:
        own = "unknown"
    return {"grandpa-kfp": own, "python": platform.python_version(), "platform": platform.platform(terse=True)}


def write_marked(record: Mapping[str, Json], stream: Stream) -> None:
    """The record between two marker lines, for whoever reads the log of a task whose store is down."""
    import json

    stream.write(f"{BEGIN_MARKER}\n{json.dumps(record)}\n{END_MARKER}\n")
    stream.flush()


def reports_in(log: str) -> list[dict[str, Json]]:
    """The records in a log. One that was cut off is left out.

    >>> import io
    >>> stream = io.StringIO("training\\n")
    >>> write_marked({"task": "train"}, stream)
    >>> reports_in(stream.getvalue())
    [{'task': 'train'}]
    """
    import json

    found = []
    for part in log.split(BEGIN_MARKER)[1:]:
        text, marker, _ = part.partition(END_MARKER)
        if marker:
            try:
                found.append(json.loads(text))
            except ValueError:
                continue  # other lines came in between: there is nothing to read here
    return found


def _traceback(error: BaseException, frame: FrameType | None, root: str) -> tuple[str, str]:
    """The traceback's text, and the file:line where it was raised; file names told from `root`.

    An error of ours says all there is to say, unless a node's body led to it.
    """
    if frame is not None:
        stack = tracebacks.of_frame(frame)
        text = "".join(("Where it was (most recent call last):\n", *stack.format())).rstrip("\n") if stack else ""
    else:
        told = tracebacks.of_error(error)
        stack = told.stack
        plain = isinstance(error, GrandpaError) and not told.in_body
        text = told.text if (stack or error.__cause__) and not plain else ""
    prefix = root.rstrip("/") + "/" if root else ""
    last = tracebacks.users_last(stack) if text else None
    raised_at = "" if last is None else f"{last.filename.removeprefix(prefix)}:{last.lineno}"
    return (text.replace(prefix, "") if prefix else text), raised_at


def _what(record: Mapping[str, Json]) -> str:
    message = str(record["message"])
    if record["module"] == GrandpaError.__module__ or record["exception"] == "SystemExit":
        return message
    name = record["exception"] if record["module"] in ("builtins", "__main__") else _dotted(record)
    first, _, more = message.strip().partition("\n")
    told = f"{first} ..." if more and record["traceback"] else message
    return f"{name}: {told}" if message else str(name)


def _dotted(record: Mapping[str, Json]) -> str:
    return f"{record['module']}.{record['exception']}"


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        given = "" if error.code is None else summary(error.code)
        return f"it called sys.exit({given}), which is no way to end a task: return from the node, or raise an error"
    try:
        return str(error)
    except Exception as broken:  # a user's __str__ may be broken
        return f"(its text cannot be shown: {type(broken).__name__})"


def _inputs(summaries: Mapping[str, str], handles: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys((*summaries, *handles)):
        parts = (("summary", summaries.get(name)), ("handle", handles.get(name)))
        found[name] = {part: _shortened(text, _MESSAGE_LIMIT) for part, text in parts if text is not None}
    return found


def _hint(error: BaseException, in_container: bool) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.partition(".")[0]
        if not in_container:
            return f"install the package that provides {name} into this environment ({sys.prefix})"
        return (
            f"the image has no module {name}. From a package: name it in packages=[...], or use an image that has it "
            "(image=, --image). A file of the project: name it in include=[...]"
        )
    if isinstance(error, FileNotFoundError) and in_container:
        return (
            "only code travels to a task by itself. A file of the project: pass it as an argument, File(...), or name "
            "it in include=[...] (grandpa compile --include)"
        )
    if isinstance(error, MemoryError):
        return 'give the node more memory, @Node(memory="4Gi"), or less data at a time'
    if isinstance(error, TaskTimeout):
        return "raise the node's timeout_s, or make it do less"
    return ""


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"
