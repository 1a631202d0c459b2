"""Tasks that run in any case, though there is a result of an earlier run: `--force` of `run`, `plan` and `deploy`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from grandpa_kfp_runtime.errors import ParameterError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Call, Graph, Operation


def forced(calls: Iterable[Call], names: Sequence[str]) -> frozenset[str]:
    """The ids of the tasks that are meant: a name is a task's id, its name, its node's, or a pattern of `*` and `?`.

    Raises ParameterError for a name that means none.
    """
    if not names:
        return frozenset()
    known = {call.id: (call.id, call.name, call.node.name) for call in calls}
    found: set[str] = set()
    for name in names:
        meant = [id_ for id_, own in known.items() if any(name == item or fnmatchcase(item, name) for item in own)]
        if not meant:
            raise ParameterError(_no_such_task(name, [*(own[2] for own in known.values()), *known]))
        found.update(meant)
    return frozenset(found)


def with_forced(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with caching off for these tasks. Raises ParameterError for a name that means none."""
    return _without_cache(graph, forced(graph.calls(), names)) if names else graph


def _without_cache(graph: Graph, ids: Collection[str]) -> Graph:
    from grandpa_kfp_compiler.graph import Branch, Call

    def changed(operation: Operation) -> Operation:
        if isinstance(operation, Branch):
            arms = tuple(replace(arm, body=_without_cache(arm.body, ids)) for arm in operation.arms)
            return replace(operation, arms=arms)
        if not isinstance(operation, Call):
            return replace(operation, body=_without_cache(operation.body, ids))
        return replace(operation, options=replace(operation.options, cache=False)) if operation.id in ids else operation

    return replace(graph, operations=tuple(map(changed, graph.operations)))


def _no_such_task(name: str, known: Sequence[str]) -> str:
    import difflib

    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:20]) or 'none'}"
    return f"force: no task or node is called {name!r}; {hint}"
