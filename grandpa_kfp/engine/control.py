"""What branches and loops go on as, when what they decide by is known.

`flatten` makes a task of each, whose node holds one of these in place of a function. No worker runs it: the engine
asks it for the graphs to come, and they enter the run as those do that a body has returned (`growth`). Their ids, and
those of what they read, are the run's own: nothing is copied on the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from grandpa_kfp_compiler.graph import (
    RESULT,
    Call,
    Constant,
    Filled,
    Graph,
    Instance,
    Loop,
    Parameter,
    Predicate,
    PythonNode,
    TaskOutput,
    Value,
    inputs_of,
)
from grandpa_kfp_runtime.conditions import decide
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.values.summaries import summary

Evaluate: TypeAlias = "Callable[[Value, tuple[Instance, ...]], Any]"
"""The value of an argument whose instances are these."""

_NO_LISTS = (str, bytes, bytearray, Mapping, set, frozenset)


class Control:
    """What a branch, a loop, or one round of a loop becomes.

    id: of its task in the run; listed: whether its parts' results are lists, which make one list; once: whether it has
    one part, with which it hands on all that it reads.
    """

    id: str
    instances: tuple[Instance, ...]
    listed = False
    once = True

    def reads(self) -> tuple[Value, ...]:
        """The values that it needs or hands on."""
        raise TypeError(f"{type(self).__name__} does not say what it reads")

    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs."""
        raise TypeError(f"{type(self).__name__} does not say what it gives")

    def parts(self, evaluate: Evaluate, window: int) -> Iterator[tuple[Graph, int]]:
        """The graphs that it goes on as, as `growth.Parts`; window: how many rounds are under way at most, where the
        loop does not say. Raises TaskError where it cannot be decided."""
        raise TypeError(f"{type(self).__name__} does not say what it becomes")

    def skipped(self) -> tuple[Call, ...]:
        """The tasks that will not run, known with the first part."""
        return ()


@dataclass(slots=True)
class Choice(Control):
    """A branch. arms: predicates and arguments are in the run's terms."""

    id: str
    arms: tuple[tuple[Predicate | None, Graph], ...]
    arguments: Mapping[str, Value]
    parameters: tuple[Parameter, ...]
    instances: tuple[Instance, ...]
    _taken: int = -1

    def reads(self) -> tuple[Value, ...]:
        tested = [value for predicate, _ in self.arms if predicate is not None for value in predicate.values()]
        return (*tested, *self.arguments.values())

    def outputs(self) -> tuple[str, ...]:
        return tuple([name for name, _ in self.arms[0][1].outputs])

    def parts(self, evaluate: Evaluate, window: int) -> Iterator[tuple[Graph, int]]:
        def value(of: Value) -> Any:
            return evaluate(of, self.instances)

        holds = (predicate is None or decide(predicate, value) for predicate, _ in self.arms)
        self._taken = next((place for place, held in enumerate(holds) if held), len(self.arms))
        yield _as_one(Graph("") if self._taken == len(self.arms) else self._arm(self._taken)), 0

    def skipped(self) -> tuple[Call, ...]:
        return tuple(self._tasks(place for place in range(len(self.arms)) if place != self._taken))

    def _tasks(self, arms: Iterable[int]) -> Iterator[Call]:
        """The tasks of arms, those of branches in them too; a loop in them has no rounds, and stands for itself."""
        for place in arms:
            for call in self._arm(place).calls():
                yield call
                inner = control_of(call)
                if isinstance(inner, Choice):
                    yield from inner._tasks(range(len(inner.arms)))

    def _arm(self, place: int) -> Graph:
        from .flatten import flat_body

        return flat_body(self.arms[place][1], f"{self.id}/", self.arguments, self.parameters)


@dataclass(slots=True)
class Round(Control):
    """A loop's body for one of its items."""

    id: str
    body: Graph
    arguments: Mapping[str, Value]
    parameters: tuple[Parameter, ...]
    instances: tuple[Instance, ...] = ()

    def reads(self) -> tuple[Value, ...]:
        return tuple(self.arguments.values())

    def outputs(self) -> tuple[str, ...]:
        return tuple([name for name, _ in self.body.outputs])

    def parts(self, evaluate: Evaluate, window: int) -> Iterator[tuple[Graph, int]]:
        from .flatten import flat_body

        yield _as_one(flat_body(self.body, f"{self.id}/", self.arguments, self.parameters)), 0


@dataclass(slots=True)
class Repeat(Control):
    """A loop. items: in the run's terms, as the arguments are."""

    id: str
    items: Value
    loop: Loop
    arguments: Mapping[str, Value]
    parameters: tuple[Parameter, ...]
    instances: tuple[Instance, ...]

    @property
    def once(self) -> bool:  # type: ignore[override]
        return False

    @property
    def listed(self) -> bool:  # type: ignore[override]
        return bool(self.loop.body.outputs)

    def reads(self) -> tuple[Value, ...]:
        return (self.items, *self.arguments.values())

    def outputs(self) -> tuple[str, ...]:
        return tuple([name for name, _ in self.loop.body.outputs])

    def parts(self, evaluate: Evaluate, window: int) -> Iterator[tuple[Graph, int]]:
        items = evaluate(self.items, self.instances)
        if isinstance(items, _NO_LISTS) or not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
            raise TaskError(f"it loops over a list, but was given {summary(items)}; make it one in a node")
        count, most = len(items), self.loop.parallelism or window
        size, place = most, 0
        while place < count:
            rounds = [self._round(number, items[number]) for number in range(place, min(place + size, count))]
            place += len(rounds)
            names = self.outputs()
            results = Constant([None] * len(rounds)) if names else Constant(None)
            holes = [((number,), _outputs(call.id, names)) for number, call in enumerate(rounds)] if names else []
            graph = Graph("", self.parameters, (), tuple(rounds), ((RESULT, Filled(results, tuple(holes))),))
            size = 1 if most < _FEW else most // 2
            yield graph, most - size if place < count else 0

    def _round(self, number: int, item: Any) -> Call:
        arguments = {**self.arguments, self.loop.item: Constant(item)}
        one = Round(f"{self.id}/{number}", self.loop.body, arguments, self.parameters)
        return control_call(one, (), self.loop.where)


def control_call(control: Control, after: tuple[str, ...], where: str) -> Call:
    """The task that stands for a branch or loop: it waits for all that is read, and reads it only to decide."""
    instances = {item.id: item for item in control.instances}
    read = inputs_of(Call("", _NOTHING, control.reads()), instances)
    args = dict.fromkeys(TaskOutput(leaf.task, leaf.output) for leaf in read if isinstance(leaf, TaskOutput))
    name = control.id.rpartition("/")[2]
    node = PythonNode(f"grandpa_kfp.engine:{control.id}", name, outputs=control.outputs(), target=control)
    return Call(control.id, node, tuple(args), after=after, where=where)


def control_of(call: Call) -> Control | None:
    """What a branch's or loop's task becomes, None for every other task."""
    target = call.node.target
    return target if isinstance(target, Control) else None


def columns(rows: list[Any], outputs: tuple[str, ...]) -> Any:
    """What the rounds of a loop gave, as the loop's outputs: a list, or for several outputs a list of each."""
    if outputs == (RESULT,):
        return rows
    return tuple([[row[place] for row in rows] for place in range(len(outputs))])


def _as_one(graph: Graph) -> Graph:
    """Its outputs as one value: as it is, a tuple of several, None."""
    values = [value for _, value in graph.outputs]
    if [name for name, _ in graph.outputs] == [RESULT]:
        return graph
    holes = tuple([((place,), value) for place, value in enumerate(values)])
    whole = Filled(Constant((None,) * len(values)), holes) if values else Constant(None)
    return replace(graph, outputs=((RESULT, whole),))


def _outputs(task: str, names: tuple[str, ...]) -> Value:
    if names == (RESULT,):
        return TaskOutput(task)
    holes = tuple([((place,), TaskOutput(task, name)) for place, name in enumerate(names)])
    return Filled(Constant((None,) * len(names)), holes)


_NOTHING = PythonNode("", "")
_FEW = 32
"""A loop with a lower limit goes on with every round that ends, one with a higher limit with several at once."""
