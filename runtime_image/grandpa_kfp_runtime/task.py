"""One task: from decoded inputs to outputs, the same code in a container and in every local engine.

`perform` is the whole of it. Its steps stand alone for callers that do one of them their own way:
`call` (construct the instances, call the target), `grow` (run the Refs in what it returned) and
`split_outputs`. What the user's code raises passes through unchanged.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from .contract import RESULT, Argument, Arguments, Input, Interface
from .errors import TaskError
from .keeping import Borrowed, Nested, is_kept, key_of
from .prefetch import QUEUE_SIZE, Prefetch, end_all
from .recording import TaskBody, recorder
from .typespec import Json
from .values.summaries import summary
from .values.trees import ATOMS, fill, split


def perform(
    node: str,
    interface: Interface,
    values: Mapping[str, Any],
    load: Callable[[str], Any],
    *,
    extend: Callable[[Any, TaskBody], Any] | None = None,
) -> dict[str, Any]:
    """Run one task and return its outputs by name.

    node: the node's key; values: the decoded value of each of the interface's inputs, by name, which
    the task may change; where one is missing, as a task that runs always may find, the argument that it is a part of
    is the default of its parameter; load: finds the function or class of a key, its @Node mark taken off; extend: of an
    engine that runs the Refs in a result as tasks, asked for what it makes of a result and the calls of the body:
    this is returned instead, unless it is None.

    Raises TaskError where an input lacks the part that is asked of it, or the result does not fit the
    declared outputs; what the user's code raises, unchanged.

    >>> perform("operator:sub", Interface((Input("a"), Input("b")), Arguments((Argument("a"), Argument("b")))),
    ...         {"a": 7, "b": 2}, lambda key: lambda a, b: a - b)
    {'result': 5}
    """
    body = TaskBody(extends=extend is not None)
    token = recorder.set(body)
    try:
        result = call(node, interface, values, load)
        if extend is not None and type(result) not in ATOMS:
            extended: dict[str, Any] | None = extend(result, body)
            if extended is not None:
                return extended
        result = grow(result)
    finally:
        recorder.reset(token)
    if body.calls:
        body.warn_of_unused(node.rpartition(":")[2])
    return split_outputs(result, interface.outputs)


def call(node: str, interface: Interface, values: Mapping[str, Any], load: Callable[[str], Any]) -> Any:
    """Construct the instances afresh, make the call, run a coroutine to its end: the body's own result.

    Instances of classes that are kept are borrowed instead, as `keeping` tells.
    """
    made: list[Any] = []
    borrowed = Borrowed()
    try:
        result = _call(node, interface, _with_parts(interface.inputs, values), load, made, borrowed)
    except BaseException:
        end_all(made, failed=True)
        borrowed.drop()
        raise
    if interface.instances:
        try:
            end_all(made, failed=False)
        except BaseException:
            borrowed.drop()
            raise
        result = borrowed.give_back(result, _is_ref)
    return result


def _call(
    node: str,
    interface: Interface,
    given: Mapping[str, Any],
    load: Callable[[str], Any],
    made: list[Any],
    borrowed: Borrowed,
) -> Any:
    classes = [load(instance.node) for instance in interface.instances]
    if any(map(is_kept, classes)):
        _borrow(interface, given, classes, made, borrowed)
    else:
        for cls, instance in zip(classes, interface.instances, strict=True):
            args, kwargs = _bound(instance.arguments, given, made)
            made.append(construct(cls, args, kwargs))
    if not interface.receiver:
        target = load(node)
    else:
        target = made[int(interface.receiver[1:])]
        if interface.method:
            target = getattr(target, interface.method)
    if len(given) < len(interface.inputs):
        args, kwargs = _with_defaults(interface.call, given, made, target)
    else:
        args, kwargs = _bound(interface.call, given, made)
    return finish(target(*args, **kwargs))


def _borrow(
    interface: Interface, given: Mapping[str, Any], classes: Sequence[Any], made: list[Any], borrowed: Borrowed
) -> None:
    """The instances where some are kept: those are borrowed, and what only one of these holds may be in it already."""
    arguments = [instance.arguments for instance in interface.instances]
    keys: list[Any] = []  # stand for the instances where keys are made
    for cls, own in zip(classes, arguments, strict=True):
        keys.append(Nested(key_of(cls, *_bound(own, given, keys))))
    made.extend([None] * len(classes))
    ready: set[int] = set()

    def constructed(place: int) -> Any:
        for below in _instances_in(arguments[place]):
            make(below)
        return construct(classes[place], *_bound(arguments[place], given, made))

    def make(place: int) -> None:
        if place not in ready:
            ready.add(place)
            cls = classes[place]
            known = is_kept(cls)
            made[place] = (
                borrowed.make(cls, keys[place].key, partial(constructed, place)) if known else constructed(place)
            )

    for place in _instances_in(interface.call):
        make(place)
    if interface.receiver:
        make(int(interface.receiver[1:]))


def _instances_in(arguments: Arguments) -> list[int]:
    """The places of the instances that stand among arguments."""
    every = (*arguments.positional, *(argument for _, argument in arguments.named))
    sources = (source for item in every for source in (item.source, *(hole.source for hole in item.holes)))
    return [int(source[1:]) for source in sources if source[:1] == "#"]


def construct(cls: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A real object of a class, calling a marked class would only describe one; a generator's items, made ahead."""
    size = getattr(cls, QUEUE_SIZE, None)
    if size is not None:
        return Prefetch(cls, args, kwargs, size, each=grow)
    return getattr(cls, "__grandpa_construct__", cls)(*args, **kwargs)


def finish(result: Any) -> Any:
    """What a coroutine comes to; anything else as it is.

    >>> async def double(x): return 2 * x
    >>> finish(double(4)), finish(9)
    (8, 9)
    """
    if type(result) in ATOMS or not inspect.iscoroutine(result):
        return result
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result)
    return _run_in_thread(result)  # a notebook's cell runs inside a loop, where no second one may run


def _run_in_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:  # raised again in the thread that waits
            failure.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="grandpa-async")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def grow(result: Any) -> Any:
    """The result with every Ref in it, at any depth of its structure, replaced by the value it comes to.

    Refs are told by `__grandpa_resolve__` of their type, which runs all of them in one go.
    """
    if type(result) in ATOMS:
        return result
    skeleton, found = split(result, _is_ref)
    if not found:
        return result
    by_type: dict[type, list[int]] = {}
    for index, (_, ref) in enumerate(found):
        by_type.setdefault(type(ref), []).append(index)
    holes = list(found)
    for kind, indices in by_type.items():
        values = kind.__grandpa_resolve__([found[index][1] for index in indices])  # type: ignore[attr-defined]
        for index, value in zip(indices, values, strict=True):
            holes[index] = (found[index][0], value)
    return fill(skeleton, holes)


def _is_ref(value: Any) -> bool:
    return hasattr(type(value), "__grandpa_resolve__")


def split_outputs(result: Any, names: Sequence[str]) -> dict[str, Any]:
    """The result by output name.

    Several outputs come from a tuple or list of that length, in order, or from a mapping or NamedTuple
    with exactly these names. A single declared output is the result itself, or the value under its name
    in a mapping that holds nothing else. Raises TaskError for anything else.

    >>> split_outputs((1, 2), ("mean", "std"))
    {'mean': 1, 'std': 2}
    >>> split_outputs({"std": 2, "mean": 1}, ("mean", "std"))
    {'mean': 1, 'std': 2}
    """
    if len(names) == 1 and names[0] == RESULT:
        return {RESULT: result}
    named = _named(result)
    if named is not None and named.keys() == set(names):
        return {name: named[name] for name in names}
    if len(names) == 1:
        return {names[0]: result}
    if isinstance(result, tuple | list) and len(result) == len(names):
        return dict(zip(names, result, strict=True))
    if not names and result is None:
        return {}
    raise TaskError(_wrong_outputs(result, named, names))


def _named(result: Any) -> Mapping[Any, Any] | None:
    if isinstance(result, Mapping):
        return result
    fields = getattr(type(result), "_fields", None)
    if isinstance(result, tuple) and isinstance(fields, tuple):
        return dict(zip(fields, result, strict=True))
    return None


def _wrong_outputs(result: Any, named: Mapping[Any, Any] | None, names: Sequence[str]) -> str:
    if not names:
        return f"it returned {summary(result)}, but declares no outputs; return None, or declare them"
    if isinstance(result, Mapping):
        missing = [name for name in names if name not in result]
        surplus = [str(key) for key in result if key not in names]
        parts = (("missing", missing), ("not declared", surplus))
        got = "a dict; " + "; ".join(f"{word}: {', '.join(found)}" for word, found in parts if found)
    else:
        got = summary(result)
    return (
        f"it returned {got}. It declares the outputs {', '.join(names)}: return a tuple of {len(names)} values "
        "in that order, or a dict with exactly these keys"
    )


# --- inputs --------------------------------------------------------------------------------------


def _bound(arguments: Arguments, values: Mapping[str, Any], made: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    args = [_value(argument, values, made) for argument in arguments.positional]
    if not arguments.named:
        return args, {}
    return args, {name: _value(argument, values, made) for name, argument in arguments.named}


def _with_defaults(
    arguments: Arguments, values: Mapping[str, Any], made: list[Any], target: Any
) -> tuple[list[Any], dict[str, Any]]:
    """As `_bound`, where some inputs have no value. Raises TaskError for a parameter that has no default."""
    parameters = inspect.signature(target).parameters
    by_position = [item for item in parameters.values() if item.kind in _BY_POSITION]

    def value(argument: Argument, parameter: inspect.Parameter | None) -> Any:
        sources = (argument.source, *(hole.source for hole in argument.holes))
        lacking = [source for source in sources if source[0] != "#" and source not in values]
        if not lacking:
            return _value(argument, values, made)
        if parameter is None or parameter.default is parameter.empty:
            raise TaskError(f"input {lacking[0]} has no value, since what makes it has not succeeded, and no default")
        return parameter.default

    args = [
        value(argument, by_position[place] if place < len(by_position) else None)
        for place, argument in enumerate(arguments.positional)
    ]
    return args, {name: value(argument, parameters.get(name)) for name, argument in arguments.named}


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _value(argument: Argument, values: Mapping[str, Any], made: list[Any]) -> Any:
    value = _source(argument.source, values, made)
    if argument.holes:
        return fill(value, [(hole.at, _source(hole.source, values, made)) for hole in argument.holes])
    return value


def _source(source: str, values: Mapping[str, Any], made: list[Any]) -> Any:
    return made[int(source[1:])] if source[0] == "#" else values[source]


def _with_parts(inputs: Sequence[Input], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values, of each input the part that its path names."""
    picked: dict[str, Any] | None = None
    for item in inputs:
        if item.path and item.name in values:
            if picked is None:
                picked = dict(values)
            picked[item.name] = part(picked[item.name], item.path, f"input {item.name}")
    return values if picked is None else picked


def part(whole: Any, path: Sequence[Json], name: str) -> Any:
    """The part of a value that a path names. name: what messages call the value. Raises TaskError."""
    value, steps = whole, ""
    for key in map(_key, path):
        before = steps
        steps += f"[{key!r}]"
        try:
            value = value[key]
        except Exception as error:  # whatever the user's container raises for a key it lacks
            holder = f"the value{before}" if before else "the value"
            raise TaskError(
                f"{name}: {holder} is {summary(value)} and has no [{key!r}] ({type(error).__name__}: {error})"
            ) from error
    return value


def _key(key: Json) -> Any:
    """A key of a path: as it is, or, where JSON cannot hold it, by its inline handle `{"@": handle}`."""
    if not isinstance(key, dict):
        return key
    from .stores.memory import MemoryStore
    from .values.handles import from_handle

    return from_handle(key["@"], MemoryStore())
