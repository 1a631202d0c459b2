"""Tasks that run in any case, though there is a result of an earlier run: `--force` of `run`, `plan` and `deploy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from grandpa_kfp_runtime.errors import ParameterError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Call, Graph, Operation

_OF_MAPS = ".map"


@dataclass(frozen=True, slots=True)
class Forced:
    """names: each a task's id, its name, its node's, or a pattern of `*` and `?`; of a map also its elements' node.

    >>> Forced(("train*",)).means("step/train-2", "train-2", "fit"), bool(Forced())
    (True, False)
    """

    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names)

    def means(self, id_: str, name: str, node: str) -> bool:
        """Whether the task is meant."""
        own = (id_, name, node, node.removesuffix(_OF_MAPS))
        return any(item == each or fnmatchcase(each, item) for item in self.names for each in own)


def forced(graph: Graph, names: Sequence[str]) -> Forced:
    """The names, each of which means one of the graph's tasks. Raises ParameterError for one that means none."""
    known = [(id_, call.name, call.node.name) for id_, call in _tasks(graph, "")] if names else []
    for name in names:
        if not any(Forced((name,)).means(*own) for own in known):
            raise ParameterError(_no_such_task(name, [*(own[2] for own in known), *(own[0] for own in known)]))
    return Forced(tuple(names))


def with_forced(graph: Graph, names: Sequence[str], *, cache: bool = True) -> Graph:
    """The graph with caching off for these tasks, or for all of them where `cache` is False.

    Raises ParameterError for a name that means none.
    """
    meant = forced(graph, names)
    if not cache:
        meant = Forced(("*",))
    return _without_cache(graph, meant, "") if meant else graph


def _tasks(graph: Graph, prefix: str) -> Iterator[tuple[str, Call]]:
    """Every call with its id in a run, but for the numbers of a loop's rounds."""
    from grandpa_kfp_compiler.graph import Call, bodies_of

    for operation in graph.operations:
        if isinstance(operation, Call):
            yield prefix + operation.id, operation
        for body in bodies_of(operation):
            yield from _tasks(body, f"{prefix}{operation.id}/")


def _without_cache(graph: Graph, meant: Forced, prefix: str) -> Graph:
    from grandpa_kfp_compiler.graph import Branch, Call

    def changed(operation: Operation) -> Operation:
        inside = f"{prefix}{operation.id}/"
        if isinstance(operation, Branch):
            arms = tuple(replace(arm, body=_without_cache(arm.body, meant, inside)) for arm in operation.arms)
            return replace(operation, arms=arms)
        if not isinstance(operation, Call):
            return replace(operation, body=_without_cache(operation.body, meant, inside))
        if not meant.means(prefix + operation.id, operation.name, operation.node.name):
            return operation
        return replace(operation, options=replace(operation.options, cache=False))

    return replace(graph, operations=tuple(map(changed, graph.operations)))


def _no_such_task(name: str, known: Sequence[str]) -> str:
    import difflib

    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:20]) or 'none'}"
    return f"force: no task or node is called {name!r}; {hint}"
