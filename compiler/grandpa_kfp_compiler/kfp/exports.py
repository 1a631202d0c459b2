"""Which outputs of our tasks other people's containers read, and under which names: for `lower` alone.

A task that a container reads has, beside its handles, an output parameter of KFP's own type (`result-value`) or an
artifact whose file is the value (`result-model`). The option `artifact` asks for the latter with no reader in sight.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from grandpa_kfp_runtime.contract import LOGGED_ARTIFACTS, LOGGED_METRICS, Export
from grandpa_kfp_runtime.launch.executor_io import PREVIEW_SUFFIX

from ..constants import path_keys
from ..containers import Port, is_parameter, title_of
from ..graph import Call, Graph, TaskOutput
from ..passes.container_values import exported
from .names import Names

_Asked: TypeAlias = "tuple[str, str, str]"
"""Output, its path as JSON text, type."""


class Exports:
    """Of the tasks of one graph, after the passes. besides: outputs that are read, too, and as what."""

    def __init__(self, graph: Graph, besides: Sequence[tuple[TaskOutput, Port]] = ()) -> None:
        self._names: dict[tuple[str, _Asked], str] = {}
        self._of_task: dict[str, tuple[Export, ...]] = {}
        wanted = {task: {_asked(value, port) for value, port in read} for task, read in exported(graph).items()}
        for value, port in besides:
            wanted.setdefault(value.task, set()).add(_asked(value, port))
        for item in graph.operations:
            if isinstance(item, Call):
                asked = wanted.get(item.id, set())
                if item.options.artifact is not None:
                    asked = {*asked, *((name, "[]", title_of(item.options.artifact)) for name in item.node.outputs)}
                if asked:
                    self._of_task[item.id] = self._named(item, asked)

    def of(self, call: Call) -> tuple[Export, ...]:
        """What the task leaves for containers."""
        return self._of_task.get(call.id, ())

    def name(self, value: TaskOutput, port: Port) -> str:
        """The output parameter or artifact that a container's input reads."""
        return self._names[value.task, _asked(value, port)]

    def _named(self, call: Call, asked: set[_Asked]) -> tuple[Export, ...]:
        previews = (f"{name}{PREVIEW_SUFFIX}" for name in call.node.outputs)
        names = Names(*call.node.outputs, *previews, LOGGED_METRICS, LOGGED_ARTIFACTS)
        found = []
        for one in sorted(asked):
            output, path, type_ = one
            kind = "value" if is_parameter(type_) else type_.rpartition(".")[2].lower()
            name = self._names[call.id, one] = names.pick(f"{output}-{kind}")
            found.append(Export(name, output, type_, tuple(json.loads(path))))
        return tuple(found)


def _asked(value: TaskOutput, port: Port) -> _Asked:
    return value.output, json.dumps(path_keys(value.path)), port.type
