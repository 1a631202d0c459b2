"""Tasks that run always: what they take from others may be missing, so it needs a default."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import (
    Call,
    ContainerNode,
    Graph,
    Instance,
    InstanceValue,
    Outcome,
    TaskOutput,
    Value,
    leaves,
    values_of,
)
from .arguments import BY_NAME, BY_POSITION, known_signature
from .faults import Fault, place_of


def always_faults(graph: Graph) -> list[Fault]:
    """Arguments of such tasks that may have no value; what only such tasks may have."""
    instances = {instance.id: instance for instance in graph.instances}
    faults: list[Fault] = []
    for call in graph.operations:
        if isinstance(call, Call):
            told = _mistakes(call, instances) if call.options.always else _not_for(call)
            faults.extend(Fault(place_of(call), message) for message in told)
    return faults


def _not_for(call: Call) -> Iterator[str]:
    if call.needs:
        yield "it needs others to succeed, which is for tasks with always=True alone; name them in after"
    if any(isinstance(leaf, Outcome) for value in values_of(call) for leaf in leaves(value)):
        yield "it is given how other tasks have ended, which is for tasks with always=True alone"


def _mistakes(call: Call, instances: dict[str, Instance]) -> Iterator[str]:
    for name, has_default, value in _arguments(call):
        missing = _may_miss(call, value)
        if missing is not None and isinstance(call.node, ContainerNode):
            yield (
                f"argument {name} is made by {missing}, which may fail, and a container cannot do without; give it a "
                "value that is there in any case"
            )
        elif missing is not None and not has_default:
            yield (
                f"it runs always, but argument {name} is made by {missing}, which may fail; give the node's parameter "
                "a default, which it has then"
            )
    objects = [leaf.instance for value in values_of(call) for leaf in leaves(value) if isinstance(leaf, InstanceValue)]
    for id_ in dict.fromkeys(([call.instance] if call.instance else []) + objects):
        for value in _below(id_, instances):
            missing = _may_miss(call, value)
            if missing is not None:
                yield (
                    f"it runs always, but its {instances[id_].node.name} is made of what {missing} gives, which may "
                    "fail; pass that to the call, as an argument with a default"
                )


def _below(id_: str, instances: dict[str, Instance]) -> Iterator[Value]:
    """What an instance is made of, through others too."""
    waiting, seen = [id_], {id_}
    while waiting:
        found = instances.get(waiting.pop())
        for value in values_of(found) if found is not None else ():
            yield value
            more = [leaf.instance for leaf in leaves(value) if isinstance(leaf, InstanceValue)]
            waiting += [item for item in more if item not in seen]
            seen.update(more)


def _may_miss(call: Call, value: Value) -> str | None:
    """The task whose failure leaves the argument without value."""
    makers = [leaf.task for leaf in leaves(value) if isinstance(leaf, TaskOutput)]
    return next((task for task in makers if task not in call.needs), None)


def _arguments(call: Call) -> Iterator[tuple[str, bool, Value]]:
    """Each argument's name, whether its parameter has a default, and the value given."""
    signature = known_signature(call)
    if signature is None:
        return
    positional = [item for item in signature.parameters if item.kind in BY_POSITION]
    by_name = {item.name: item for item in signature.parameters if item.kind in BY_NAME}
    for place, value in enumerate(call.args):
        parameter = positional[place] if place < len(positional) else None
        name = str(place + 1) if parameter is None else parameter.name
        yield name, parameter is not None and parameter.has_default, value
    for name, value in call.kwargs:
        found = by_name.get(name)
        yield name, found is not None and found.has_default, value
