"""What is said of a task that failed: the launcher's report, made here for tasks of this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grandpa_kfp_compiler.graph import Call
from grandpa_kfp_runtime.errors import GrandpaError, TaskError, TaskTimeout


def failure(call: Call, run_id: str, attempt: int, error: BaseException, inputs: Mapping[str, Any]) -> TaskError:
    """The error that the run raises; what the node raised is its `__cause__`."""
    import traceback

    from grandpa_kfp_runtime.codecs import summary

    where = f" ({call.where})" if call.where else ""
    lines = [f"{call.id}{where} failed: {type(error).__name__}: {error}"]
    lines += [f"  {name} = {summary(value)}" for name, value in inputs.items()]
    if not isinstance(error, GrandpaError):
        lines.append("".join(traceback.format_exception(error)).rstrip())
    made = (TaskTimeout if isinstance(error, TaskTimeout) else TaskError)("\n".join(lines), task=call.id)
    made.__cause__ = error
    return made
