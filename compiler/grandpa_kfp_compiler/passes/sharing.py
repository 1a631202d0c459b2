"""Which tasks may share a container, and what that container then asks for. docs/fusion.md gives the reasons.

What surrounds a task has to be the same for all of them: image, packages, environment, secrets, volumes, where the
pod may run, whether results may be taken from the cache. What a task needs, CPU and memory, is the largest that any of
them needs. What is about one task alone, its retries, its timeout, is the business of the engine inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from ..graph import Call, ContainerNode, Loop, Operation, Options, bodies_of
from ..options.rules import amount

SAME = (
    "image", "packages", "index_url", "image_pull_secrets", "env", "secrets", "config_maps", "volumes", "gpu",
    "gpu_type", "shm", "disk", "node_selector", "tolerations", "affinity", "labels", "annotations", "kubernetes",
)  # fmt: skip
"""Options that tasks of one container have in common."""

Key: TypeAlias = tuple[Any, ...]
"""Tasks of the same key may share a container."""


def apart(call: Call) -> str:
    """Why a task is always a container of its own; empty where it is not."""
    if isinstance(call.node, ContainerNode):
        return "it is a container of its own"
    if call.options.always:
        return "it runs whatever becomes of the others"
    if call.options.artifact is not None:
        return "its result is published as an artifact of its container"
    return ""


def may_share(one: Call, other: Call) -> str | None:
    """Why two tasks cannot share a container, None where they can.

    >>> from ..graph import PythonNode
    >>> add = Call("add", PythonNode("m:add", "add"))
    >>> may_share(add, Call("train", PythonNode("m:train", "train"), options=Options(gpu=1)))
    'gpu is 1 for train, and not set for add'
    """
    for call in (one, other):
        if reason := apart(call):
            return f"{call.id}: {reason}"
    for name in SAME:
        mine, theirs = getattr(one.options, name), getattr(other.options, name)
        if mine != theirs:
            first, second = (one, other) if mine is not None else (other, one)
            return f"{name} is {_shown(first, name)} for {first.id}, and {_shown(second, name)} for {second.id}"
    if _is_uncached(one.options) != _is_uncached(other.options):
        first, second = (one, other) if _is_uncached(one.options) else (other, one)
        return f"{first.id} is to run every time, and {second.id} may be cached"
    return None


def share_key(operation: Operation) -> Key | None:
    """The key of a task, or that of all tasks in a branch, loop or group; None for what shares with nobody."""
    if isinstance(operation, Call):
        if apart(operation):
            return None
        options = operation.options
        return (*[getattr(options, name) for name in SAME], _is_uncached(options))
    keys = {share_key(item) for body in bodies_of(operation) for item in body.operations}
    return keys.pop() if len(keys) == 1 else None


def merged(operations: Sequence[Operation]) -> Options:
    """The options of the container that runs operations of one key.

    CPU and memory are the largest of those given, since the engine inside runs as many tasks at once as fit within
    them; a limit only where every task has one, since it would be one for all. A deadline only where every task has
    one: that of all of them one after the other. Retries are carried out inside; the container is started once more
    where every task may be tried again, since it may be lost.
    """
    calls = list(_calls(operations))
    same = {name: getattr(calls[0].options, name) for name in SAME} if calls else {}
    return Options(
        **same,
        cpu=_largest([call.options.cpu for call in calls]),
        memory=_largest([call.options.memory for call in calls]),
        retries=1 if calls and all(call.options.retries for call in calls) else None,
        timeout_s=None if any(_loops(operations)) else _deadline([call.options for call in calls]),
        cache=False if calls and _is_uncached(calls[0].options) else None,
        verbose=True if any(call.options.verbose for call in calls) else None,
    )


def _calls(operations: Iterable[Operation]) -> Iterable[Call]:
    for item in operations:
        if isinstance(item, Call):
            yield item
        for body in bodies_of(item):
            yield from _calls(body.operations)


def _loops(operations: Iterable[Operation]) -> Iterable[bool]:
    for item in operations:
        yield isinstance(item, Loop)
        for body in bodies_of(item):
            yield from _loops(body.operations)


def _is_uncached(options: Options) -> bool:
    """Kubeflow must not keep a fallback as the result, so such a task runs every time too."""
    return options.cache is False or options.fallback is not None


def _largest(given: Sequence[str | tuple[str | None, str | None] | None]) -> str | tuple[str | None, str | None] | None:
    pairs = [item if isinstance(item, tuple) else (None, item) for item in given]
    requests = [text for request, limit in pairs if (text := request or limit) is not None]
    limits = [limit for _, limit in pairs if limit is not None]
    if not requests:
        return None
    request = max(requests, key=amount)
    if len(limits) < len(pairs):
        return (request, None)
    limit = max(limits, key=amount)
    return limit if amount(request) == amount(limit) else (request, limit)


def _deadline(options: Sequence[Options]) -> float | None:
    """Of all tasks, each as often as it may be tried, one after the other."""
    total = 0.0
    for item in options:
        if item.timeout_s is None or item.backoff_s is not None:
            return None
        total += item.timeout_s * ((item.retries or 0) + 1)
    return total or None


def _shown(call: Call, name: str) -> str:
    value = getattr(call.options, name)
    return "not set" if value is None else repr(value) if name in ("image", "gpu", "gpu_type") else "another"
