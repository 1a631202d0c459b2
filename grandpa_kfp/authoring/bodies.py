"""Runs the body of one free call: gives it copies of its inputs, says what went wrong.

`evaluation` calls it once everything that a call needs has been run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grandpa_kfp_compiler.graph import RESULT
from grandpa_kfp_runtime.errors import CodecError, TaskError
from grandpa_kfp_runtime.recording import recorder
from grandpa_kfp_runtime.task import construct, finish
from grandpa_kfp_runtime.values.summaries import summary
from grandpa_kfp_runtime.values.trees import fill, split

from .arguments import Opened
from .calls import Body, FreeCall, WorkflowCall
from .classes import Instance
from .isolation import Kept, copy_constant
from .refs import Promise, Ref, describe


def run_body(call: FreeCall, body: Body) -> tuple[Any, list[tuple[tuple[int, ...], Any]]]:
    """What the body returned, without and with the promises in it. Raises TaskError naming the call.

    A node is tried again as often as its `retries` says.
    """
    options = call.options.over(call.definition.options)
    left = options.retries or 0
    while True:
        body.calls.clear()
        try:
            result = _attempt(call, body)
            break
        except TaskError:
            if left == 0:
                raise
            left -= 1
    opened = split(result, is_promise)
    if body.calls and not isinstance(call, WorkflowCall):
        _warn_of_unused(call, body, [below for _, leaf in opened[1] for below in calls_below(leaf)])
    if options.verbose:
        _log(call, result)
    return opened


def _attempt(call: FreeCall, body: Body) -> Any:
    given = ""
    try:
        args = [argument_value(opened, f"argument {index + 1}") for index, opened in enumerate(call.args)]
        kwargs = {name: argument_value(opened, name) for name, opened in call.kwargs}
        given = _shown(call, args, kwargs)
        token = recorder.set(body)
        try:
            return _call(call, args, kwargs)
        finally:
            recorder.reset(token)
    except (TaskError, CodecError) as error:
        if isinstance(error, TaskError) and error.task:
            raise  # a call below has failed, and is named already
        raise TaskError(f"{call.name} ({call.where}): {error}", task=call.name) from error
    except Exception as error:
        inputs = f"; its inputs: {given}" if given else ""
        raise TaskError(
            f"{call.name} ({call.where}) failed: {type(error).__name__}: {error}{_raised_at(error)}{inputs}",
            task=call.name,
        ) from error


def _call(call: FreeCall, args: list[Any], kwargs: dict[str, Any]) -> Any:
    if isinstance(call, WorkflowCall):
        return call.workflow.call_body(kwargs)
    if call.instance is None:
        return finish(call.definition.target(*args, **kwargs))
    return finish(getattr(live_object(call.instance), call.method)(*args, **kwargs))


def _raised_at(error: Exception) -> str:
    """` at calc.py:20`: the innermost frame of the user's."""
    from .where import at_line

    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = at_line(trace.tb_frame, trace.tb_lineno) or place
        trace = trace.tb_next
    return f" (at {place})" if place else ""


def _shown(call: FreeCall, args: list[Any], kwargs: dict[str, Any]) -> str:
    try:
        named = call.definition.shape(call.method).signature.bind(*args, **kwargs).arguments
    except TypeError:
        named = {**{str(index + 1): value for index, value in enumerate(args)}, **kwargs}
    return ", ".join(f"{name} = {summary(value)}" for name, value in named.items())


def _log(call: FreeCall, result: Any) -> None:
    from grandpa_kfp_runtime.context import current

    shown = "more calls" if split(result, is_promise)[1] else summary(result)
    current().logger.info("%s (%s) returned %s", call.name, call.where, shown)


def _warn_of_unused(call: FreeCall, body: Body, returned: list[FreeCall]) -> None:
    """Calls made in a body that neither what it returns needs nor anybody has resolved."""
    reached: set[FreeCall] = set()
    waiting = returned
    while waiting:
        item = waiting.pop()
        if item.parent is call and item not in reached:
            reached.add(item)
            waiting.extend(needs(item))
    for item in body.calls:
        if item not in reached:
            item.warn_if_unused(call.name)


# --- values --------------------------------------------------------------------------------------


def is_promise(value: Any) -> bool:
    """Whether it is a Ref or an Instance."""
    return isinstance(value, Promise)


def argument_value(opened: Opened, name: str) -> Any:
    """An argument for one call alone, whatever it needs having been run."""
    skeleton, holes = opened
    if not holes:
        return copy_constant(skeleton, name=name)
    if not holes[0][0]:
        return promise_value(holes[0][1])
    return fill(copy_constant(skeleton, name=name), [(at, promise_value(leaf)) for at, leaf in holes])


def promise_value(promise: Promise) -> Any:
    """A copy of what a finished Ref stands for; a new object of an Instance."""
    if isinstance(promise, Instance):
        return live_object(promise)
    assert isinstance(promise, Ref)
    origin = promise._origin
    assert isinstance(origin, FreeCall)
    kept: dict[str, Kept] = origin.value
    if promise._output is None and origin.outputs is not None:
        return tuple([kept[name].get() for name in origin.outputs])
    value = kept[promise._output or RESULT].get()
    for key in promise._path:
        try:
            value = value[key]
        except Exception as error:  # whatever the user's container raises for a key it lacks
            raise TaskError(
                f"{describe(promise)} is missing: the value is {summary(value)} and has no [{key!r}] "
                f"({type(error).__name__}: {error})"
            ) from error
    return value


def live_object(instance: Instance) -> Any:
    """A new object from an instance's description."""
    args = [argument_value(opened, f"argument {index + 1}") for index, opened in enumerate(instance._args)]
    kwargs = {name: argument_value(opened, name) for name, opened in instance._kwargs}
    return construct(instance._definition.target, args, kwargs)


# --- what is needed first ------------------------------------------------------------------------


def needs(call: FreeCall) -> list[FreeCall]:
    """The calls whose values this one takes, or waits for, in the order they are written."""
    found: list[FreeCall] = []
    if call.instance is not None:
        found.extend(calls_below(call.instance))
    for _, holes in call.args:
        for _, leaf in holes:
            found.extend(calls_below(leaf))
    for _, (_, holes) in call.kwargs:
        for _, leaf in holes:
            found.extend(calls_below(leaf))
    for ref in call.after:
        found.extend(calls_below(ref))
    return found


def calls_below(promise: Promise) -> Iterator[FreeCall]:
    """The call of a Ref; those that an Instance's init arguments need."""
    if isinstance(promise, Ref):
        origin = promise._origin
        assert isinstance(origin, FreeCall)
        yield origin
    elif isinstance(promise, Instance):
        for _, holes in (*promise._args, *(opened for _, opened in promise._kwargs)):
            for _, leaf in holes:
                yield from calls_below(leaf)


def call_path(call: FreeCall) -> str:
    """The bodies that made this call, from the outside in, a repeating end shown once: `a → b → c → b → ...`."""
    names: list[str] = []
    at: FreeCall | None = call
    while at is not None and len(names) < 64:
        names.append(at.name)
        at = at.parent
    return path_text(names[::-1])


def path_text(names: list[str]) -> str:
    """Names from the outside in, a repeating end shown once.

    >>> path_text(["flow", "ping", "pong", "ping", "pong", "ping", "pong"])
    'ping → pong → ping → ...'
    """
    for period in range(1, len(names) // 3 + 1):
        tail = names[-period:]
        if names[-2 * period : -period] == tail and names[-3 * period : -2 * period] == tail:
            return " → ".join([*tail, tail[0], "..."])
    return " → ".join(names[-8:])
