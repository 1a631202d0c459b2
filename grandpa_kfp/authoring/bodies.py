"""Runs the body of one free call: gives it copies of its inputs, says what went wrong.

`evaluation` calls it once everything that a call needs has been run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grandpa_kfp_compiler.graph import RESULT
from grandpa_kfp_runtime.builtins import items
from grandpa_kfp_runtime.errors import CodecError, TaskError
from grandpa_kfp_runtime.keeping import Borrowed, Key, Nested, is_kept, key_of
from grandpa_kfp_runtime.prefetch import end_all
from grandpa_kfp_runtime.recording import recorder
from grandpa_kfp_runtime.task import construct, finish
from grandpa_kfp_runtime.values.summaries import summary
from grandpa_kfp_runtime.values.trees import fill, split

from .arguments import Opened
from .calls import NEW, Body, FreeCall, WorkflowCall
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
    made = Made()
    try:
        args = [argument_value(opened, f"argument {index + 1}", made) for index, opened in enumerate(call.args)]
        kwargs = {name: argument_value(opened, name, made) for name, opened in call.kwargs}
        given = _shown(call, args, kwargs)
        token = recorder.set(body)
        try:
            result = _call(call, args, kwargs, made)
        finally:
            recorder.reset(token)
        streams, made.streams = made.streams, []
        end_all(streams, failed=False)
        return made.borrowed.give_back(result, is_promise)
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
    finally:
        end_all(made.streams, failed=True)
        made.borrowed.drop()


class Made:
    """What is made for one call: items of generators that are made while it walks them, instances, kept ones too."""

    __slots__ = ("borrowed", "streams")

    def __init__(self) -> None:
        self.streams: list[Any] = []
        self.borrowed = Borrowed()


def _call(call: FreeCall, args: list[Any], kwargs: dict[str, Any], made: Made) -> Any:
    if isinstance(call, WorkflowCall):
        return call.workflow.guarded_body(kwargs)
    if call.instance is None:
        return finish(call.definition.target(*args, **kwargs))
    return finish(getattr(live_object(call.instance, made), call.method)(*args, **kwargs))


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


def argument_value(opened: Opened, name: str, made: Made | None = None) -> Any:
    """An argument for one call alone, whatever it needs having been run.

    made: takes up what is made for it; without it generators' items are lists, and instances new ones.
    """
    skeleton, holes = opened
    if not holes:
        return copy_constant(skeleton, name=name)
    if not holes[0][0]:
        return _hole_value(holes[0][1], made)
    return fill(copy_constant(skeleton, name=name), [(at, _hole_value(leaf, made)) for at, leaf in holes])


def _hole_value(promise: Promise, made: Made | None) -> Any:
    if made is None:
        return promise_value(promise)
    instance = promise if isinstance(promise, Instance) else _stream_of(promise)
    if instance is None:
        return promise_value(promise)
    live = live_object(instance, made)
    made.streams.append(live)
    return live


def _stream_of(promise: Promise) -> Instance | None:
    """The generator's instance, of a Ref of items that one call alone takes and nobody has made a list of."""
    if not isinstance(promise, Ref) or promise._path or not isinstance(promise._origin, FreeCall):
        return None
    origin = promise._origin
    if origin.definition.target is not items or origin.takers != 1 or origin.state != NEW or origin.after:
        return None
    found = origin.args[0][1][0][1]
    return found if isinstance(found, Instance) else None


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


def live_object(instance: Instance, made: Made | None = None) -> Any:
    """An object from an instance's description: a new one, or a kept one. made: as of `argument_value`."""
    cls = instance._definition.target

    def constructed() -> Any:
        args = [argument_value(opened, f"argument {index + 1}", made) for index, opened in enumerate(instance._args)]
        kwargs = {name: argument_value(opened, name, made) for name, opened in instance._kwargs}
        return construct(cls, args, kwargs)

    return made.borrowed.make(cls, _key(instance), constructed) if made and is_kept(cls) else constructed()


def _key(instance: Instance) -> Key | None:
    """What a kept object of the description is found under."""

    def described(opened: Opened) -> Any:
        skeleton, holes = opened
        return fill(skeleton, [(at, _described(leaf)) for at, leaf in holes])

    named = {name: described(opened) for name, opened in instance._kwargs}
    return key_of(instance._definition.target, [described(opened) for opened in instance._args], named)


def _described(promise: Promise) -> Any:
    if isinstance(promise, Instance):
        return Nested(_key(promise))
    stream = _stream_of(promise)
    return Nested(None) if stream is not None else promise_value(promise)


# --- what is needed first ------------------------------------------------------------------------


def needs(call: FreeCall, *, streams: bool = False) -> list[FreeCall]:
    """The calls whose values this one takes, or waits for, in the order they are written.

    streams: a generator that this call alone takes runs along with it, so what the generator takes is needed.
    """
    found: list[FreeCall] = []
    if call.instance is not None:
        found.extend(calls_below(call.instance))
    for _, holes in call.args:
        for _, leaf in holes:
            found.extend(calls_below(leaf, streams=streams))
    for _, (_, holes) in call.kwargs:
        for _, leaf in holes:
            found.extend(calls_below(leaf, streams=streams))
    for ref in call.after:
        found.extend(calls_below(ref))
    return found


def calls_below(promise: Promise, *, streams: bool = False) -> Iterator[FreeCall]:
    """The call of a Ref; those that an Instance's init arguments need. streams: as of `needs`."""
    instance = promise if isinstance(promise, Instance) else _stream_of(promise) if streams else None
    if instance is not None:
        for _, holes in (*instance._args, *(opened for _, opened in instance._kwargs)):
            for _, leaf in holes:
                yield from calls_below(leaf, streams=streams)
    elif isinstance(promise, Ref):
        origin = promise._origin
        assert isinstance(origin, FreeCall)
        yield origin


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
