"""How a task of a run was made, out of what the run left: for `inspecting.py`.

A run of a graph left its graph; a run of a compiled YAML, here or on a server, left the YAML, and each of its
tasks a `started` record with the parameter values that it got.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.contract import ENV_CODE, Input, TaskCall
from grandpa_kfp_runtime.errors import LoadError, ObjectGone, TaskError
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle

from .replaying import Load, Made, OpenCode

if TYPE_CHECKING:
    from grandpa_kfp_compiler.bind import Bound
    from grandpa_kfp_compiler.graph import Graph
    from grandpa_kfp_runtime.failure_info import FailureInfo

    from ..engine.kfp_pipeline import YamlPipeline
    from ..engine.run import Run

Handles = dict[str, "tuple[str, Store]"]
"""Inputs by name: the handle, and the store that holds its object."""


class GraphRun:
    """The tasks of a run on threads. run: as `read_run` gives it; store: of its values."""

    def __init__(self, run: Run, store: Store, root: Path) -> None:
        self._run = run
        self._store = store
        self._root = root
        self._opened: Graph | None = None

    def inputs(self, task: str) -> Handles:
        """The handles of a task's inputs; those that nobody knows are left out. Raises LoadError."""
        bound, _ = self._bound(task)
        found = {}
        for name, leaf in bound.sources:
            handle = self._handle(leaf)
            if handle is not None:
                found[name] = handle
        return found

    def made(self, task: str) -> Made:
        """Raises LoadError."""
        from grandpa_kfp_compiler.graph import Outcome

        from ..engine.control import control_of

        bound, node = self._bound(task)
        call = self._calls()[task]
        if control_of(call) is not None:
            raise LoadError(f"{task} ({call.where}) is a branch or a loop, which has no code of its own to replay")

        def read(inputs: Sequence[Input], load: Load, folder: Path) -> dict[str, Any]:
            sources = dict(bound.sources)
            wanted = [item.name for item in inputs]
            if call.options.always:  # what was not made is the parameter's default
                wanted = [name for name in wanted if self._has(sources[name])]
            asked = {name for name in wanted if isinstance(sources[name], Outcome)}
            values = {name: self._value(name, sources[name], folder) for name in wanted if name not in asked}
            return values | dict.fromkeys(asked, self._outcome(task) if asked else None)

        return Made(
            self._run.id, task, node, bound.interface, dict(call.options.env or ()), self._root, read, self._code
        )

    def _graph(self) -> Graph:
        if self._opened is None:
            from ..engine.flatten import flatten
            from ..engine.record import read_graph

            self._opened = flatten(read_graph(self._run))
        return self._opened

    def _calls(self) -> dict[str, Any]:
        return {item.id: item for item in self._graph().operations}

    def _bound(self, task: str) -> tuple[Bound, str]:
        from grandpa_kfp_compiler.bind import bind

        graph = self._graph()
        call = self._calls().get(task)
        if call is None:
            raise LoadError(f"the graph of run {self._run.id} has no task {task}")
        instances = {item.id: item for item in graph.instances}
        return bind(call, instances, {item.name: item for item in graph.parameters}), call.node.key

    def _handle(self, leaf: Any) -> tuple[str, Store] | None:
        from grandpa_kfp_compiler.graph import Constant, Outcome, ParameterValue, TaskOutput

        if isinstance(leaf, Outcome):
            return None
        if isinstance(leaf, TaskOutput):
            maker = self._run.tasks.get(leaf.task)
            handle = maker.outputs.get(leaf.output, "") if maker is not None else ""
            return (handle, self._store) if handle else None
        if isinstance(leaf, ParameterValue):
            leaf = self._parameters()[leaf.name]
        assert isinstance(leaf, Constant)
        if leaf.handle is not None:
            return leaf.handle, self._store
        memory = MemoryStore()
        return to_handle(leaf.value, memory), memory

    def _has(self, leaf: Any) -> bool:
        from grandpa_kfp_compiler.graph import TaskOutput

        return not isinstance(leaf, TaskOutput) or self._handle(leaf) is not None

    def _outcome(self, task: str) -> FailureInfo | None:
        """How the tasks before one that runs always had ended."""
        from grandpa_kfp_compiler.graph import dependencies

        from ..engine.outcomes import outcome_of

        waits, found, waiting = dependencies(self._graph()), set[str](), [task]
        while waiting:
            more = [name for name in waits.get(waiting.pop(), ()) if name not in found]
            found.update(more)
            waiting += more
        failed = sorted(
            (one for one in self._run.tasks.values() if one.state == "failed" and one.report and not one.fell_back),
            key=lambda one: one.started + one.duration_s,
        )
        errors = [TaskError(one.report, task=one.id) for one in failed]
        return outcome_of(self._run, found, errors, self._parameters())

    def _parameters(self) -> Mapping[str, Any]:
        from grandpa_kfp_runtime.parameters import load_class

        from ..engine.parameters import bind_parameters

        return bind_parameters(self._graph(), {}, load_class)

    def _value(self, name: str, leaf: Any, folder: Path) -> Any:
        found = self._handle(leaf)
        maker = getattr(leaf, "task", "")
        if found is None:
            raise LoadError(f"input {name}: the run did not record the result of {maker}")
        try:
            return from_handle(*found, scratch=folder)
        except ObjectGone as error:
            raise ObjectGone(f"input {name}: {error}" + (f". The task {maker} made it" if maker else "")) from error

    def _code(self, folder: Path) -> OpenCode:
        from grandpa_kfp_runtime.code.payload import Loader, unpack

        code = self._graph().code
        if code is None:
            raise LoadError(
                f"run {self._run.id} ran the project's own modules and kept no copy of them; "
                "replay it with the current code, --code current"
            )
        unpack(code.zip, code.sha256, folder)
        return Loader(folder)


class YamlRun:
    """The tasks of a run of a compiled YAML. pipeline: reads the YAML, when it is first needed.

    project: the root of the project on this machine. started: the newest `started` record of each task.
    """

    def __init__(
        self,
        run_id: str,
        pipeline: Callable[[], YamlPipeline],
        started: Mapping[str, Mapping[str, Any]],
        store: Store,
        project: Path,
    ) -> None:
        self._run_id = run_id
        self._read = pipeline
        self._started = started
        self._store = store
        self._root = project

    def made(self, task: str) -> Made:
        """Raises LoadError for a task that has not begun, or whose pipeline cannot be read."""
        values = self._started.get(task, {}).get("inputs")
        inner = next((name for name in sorted(self._started) if name.startswith(f"{task}/")), "")
        if values is None and inner:
            raise LoadError(f"{task} is a loop; replay a task of one of its rounds, such as {inner}")
        if values is None:
            raise LoadError(
                f"{task} left no record of its inputs: it has not begun, or Kubeflow took it from its cache"
            )
        container = self._container(task)
        call, _ = TaskCall.from_argv(container.args)

        def read(inputs: Sequence[Input], load: Load, folder: Path) -> dict[str, Any]:
            from grandpa_kfp_runtime.launch.ended import tell_how_ended
            from grandpa_kfp_runtime.launch.inputs import decode_inputs

            found = decode_inputs(inputs, values, self._store, load, folder, self._run_id, lambda *told: None)
            tell_how_ended(call.interface, found, self._store, self._run_id, (), dict(container.env))
            return found

        env = {name: text for name, text in container.env if not name.startswith("GRANDPA_")}
        return Made(
            self._run_id, task, call.node, call.interface, env, self._root, read,
            lambda folder: self._code(dict(container.env), call, folder),
        )  # fmt: skip

    def _container(self, task: str) -> Any:
        """Tasks of one name in different groups share it where they share node and fingerprint; their record tells."""
        record = self._started[task]
        name = task.partition("#")[0]
        for id_, _, container in self._read().dag.containers():
            if container.is_task and _is_named(id_, name):
                call, _ = TaskCall.from_argv(container.args)
                if (call.node, call.fingerprint) == (record.get("node"), record.get("fingerprint")):
                    return container
        raise LoadError(f"the pipeline of run {self._run_id} has no task {name} with the code that its record names")

    def _code(self, env: Mapping[str, str], call: TaskCall, folder: Path) -> OpenCode:
        from grandpa_kfp_runtime.launch.task_code import check_by_value, open_code

        check_by_value([call.node, *(item.node for item in call.interface.instances)], env)
        if not env.get(ENV_CODE):
            raise LoadError(f"the code of {call.node} is in the image alone; replay the current code, --code current")
        return open_code(env, self._store, folder)


def _is_named(identifier: str, name: str) -> bool:
    """Whether a task of a pipeline is meant. name: with all groups and rounds around it, or alone.

    >>> [_is_named("each/*/load", name) for name in ("each/3/load", "load", "other/3/load")]
    [True, True, False]
    """
    parts, given = identifier.split("/"), name.split("/")
    if len(given) == 1:
        return parts[-1] == name
    return len(parts) == len(given) and all(map(_is_round, parts, given))


def _is_round(part: str, given: str) -> bool:
    return part == given or (part == "*" and given.isdecimal())
