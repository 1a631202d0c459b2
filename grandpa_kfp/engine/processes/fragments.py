"""What a worker tells of a task that has grown: the tasks to come, without their code and without their values.

The parent adds them to its schedule, and never looks into a value of theirs: constants are parcels, functions
that nobody could import are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.bind import Bound
from grandpa_kfp_compiler.graph import Call, Constant, Node, PythonNode, TaskOutput
from grandpa_kfp_runtime.contract import Argument, Arguments, Hole, Input, InstanceCall, Interface
from grandpa_kfp_runtime.values.by_value import dumps

from ..growth import Growth, as_bound
from ..plan import Plan
from ..values import is_shareable
from .parcels import Parcel, Parceled

if TYPE_CHECKING:
    from ..memo.constants import ValueTexts

_VALUE = "value:"


@dataclass(frozen=True, slots=True)
class Fragment:
    """Some of what a task goes on as. plan: with parcels for constants; needs, left: as of `growth.Extension`;
    result: what it comes to; code: the pickled functions of nodes that travel by value, by key; more: whether the
    worker has more of them when it is asked, which `left` says when to do."""

    plan: Plan
    needs: tuple[int, ...]
    left: int
    result: TaskOutput | Bound
    code: dict[str, bytes]
    more: bool = False


EMPTY = Fragment(Plan((), (), (), {}), (), 0, Bound(Interface(), (), {}), {})
"""Of a map over nothing."""


class FragmentMaker:
    """parcel: encodes a constant, called so."""

    def __init__(self, parcel: Callable[[Any, str], Parcel]) -> None:
        self._parcel = parcel
        self._texts: ValueTexts | None = None
        self._nodes: dict[int, tuple[Node, PythonNode, bytes | None]] = {}

    def begin(self, *, caching: bool) -> None:
        """Another run. caching: whether its tasks have cache keys, in which constants count."""
        self._texts = None
        if caching:
            from ..memo.constants import ValueTexts

            self._texts = ValueTexts()

    def next_of(self, growth: Growth) -> Fragment | None:
        """The next part of a task that has grown. Raises CodecError, PayloadError for what cannot leave the process."""
        extension = growth.more()
        if extension is None:
            return None
        code: dict[str, bytes] = {}
        plan = extension.plan
        calls = tuple([self._bare(call, code) for call in plan.calls])
        bounds = tuple([self._closed(bound) for bound in plan.bounds])
        result = growth.results.pop()
        closed = result if isinstance(result, TaskOutput) else self._closed(result)
        whole = Plan(calls, bounds, plan.waits_for, plan.uses, plan.always)
        return Fragment(whole, extension.needs, extension.left, closed, code, extension.more)

    def _bare(self, call: Call, code: dict[str, bytes]) -> Call:
        known = self._nodes.get(id(call.node))
        if known is None:
            known = self._nodes[id(call.node)] = (call.node, *_without_code(call.node))
        _, node, pickled = known
        if pickled is not None:
            code[node.key] = pickled
        return Call(call.id, node, (), (), call.options, call.after, (), call.where)

    def _closed(self, bound: Bound) -> Bound:
        sources = tuple([
            (name, self._parceled(leaf, name))
            if type(leaf) is Constant and not is_shareable(leaf.value, paths=True)
            else (name, leaf)
            for name, leaf in bound.sources
        ])  # fmt: skip
        return Bound(bound.interface, sources, {})  # type: ignore[arg-type]

    def _parceled(self, constant: Constant, name: str) -> Parceled:
        text = None if self._texts is None else self._texts.text(constant)
        return Parceled(self._parcel(constant.value, name), text)


def _without_code(node: Node) -> tuple[PythonNode, bytes | None]:
    pickled = None
    key = node.key
    if key.startswith(_VALUE):
        pickled = dumps(node.target)[0]
        key = f"{key}#{blake2b(pickled, digest_size=8).hexdigest()}"
    return PythonNode(key, node.name, outputs=node.outputs, where=node.where), pickled


GATHER = "grandpa_kfp.engine:gather"
"""Key of what makes a grown task's outputs of all that it has become."""


def gathering(results: list[TaskOutput | Bound], outputs: tuple[str, ...]) -> Bound:
    """A call of GATHER with each of the results as an argument."""
    inputs: list[Input] = []
    arguments: list[Argument] = []
    instances: list[InstanceCall] = []
    sources: list[tuple[str, Any]] = []
    for number, result in enumerate(results):
        bound = as_bound(result)
        renamed = _Renamed(f"{number}-", len(instances))
        inputs += [replace(item, name=renamed(item.name)) for item in bound.interface.inputs]
        instances += [InstanceCall(item.node, renamed.arguments(item.arguments)) for item in bound.interface.instances]
        arguments += renamed.arguments(bound.interface.call).positional
        sources += [(renamed(name), leaf) for name, leaf in bound.sources]
    call = Arguments(tuple(arguments), ())
    return Bound(Interface(tuple(inputs), call, tuple(instances), outputs=outputs), tuple(sources), {})


@dataclass(frozen=True, slots=True)
class _Renamed:
    """Names of one result's inputs and instances among those of all."""

    prefix: str
    first_instance: int

    def __call__(self, source: str) -> str:
        return f"#{int(source[1:]) + self.first_instance}" if source[0] == "#" else self.prefix + source

    def arguments(self, arguments: Arguments) -> Arguments:
        return Arguments(
            tuple([self._argument(item) for item in arguments.positional]),
            tuple([(name, self._argument(item)) for name, item in arguments.named]),
        )

    def _argument(self, argument: Argument) -> Argument:
        holes = tuple([Hole(hole.at, self(hole.source)) for hole in argument.holes])
        return Argument(self(argument.source), holes)
