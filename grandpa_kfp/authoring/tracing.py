"""Tracing: runs a workflow's body once and takes down its calls as a graph.

`trace` is what everything below starts from; `record` is what every call of a node goes through, in a
trace and out of one. A Tracer builds the graph's dataclasses at once: nothing is walked a second time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.graph import (
    NO_OPTIONS,
    RESULT,
    Call,
    ComponentCall,
    Graph,
    Options,
    ParameterValue,
    TaskOutput,
    Value,
)
from grandpa_kfp_runtime.errors import GraphError, TraceError
from grandpa_kfp_runtime.recording import recorder

from .arguments import open_argument
from .blocks import Block, OpenBranch, OpenGroup, OpenLoop, carried
from .building import GraphBuilder, output_value
from .calls import Body, FreeCall, JoinedCall, ParameterOrigin, TracedCall
from .captured import captured_refs
from .classes import NO_CALL_OPTIONS, CallOptions, Instance
from .definitions import Definition
from .outcomes import with_outcome
from .refs import Ref, describe
from .where import here, told_as

if TYPE_CHECKING:
    from collections.abc import Callable

_DEEPEST = 200
"""Components inside components; more is one that calls itself."""

_tracing: set[int] = set()  # idents of the threads that trace at this moment


def trace(workflow: Any, params: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a workflow (or component, or node), its body run once, node bodies excluded.

    params: values for its parameters; those that are `Static` are fixed, others become the defaults.
    Raises ParameterError for unknown or wrong parameters, TraceError for what a graph cannot record, and
    GraphError for faults that are seen only when everything is recorded.

    >>> from grandpa_kfp import Node, Workflow
    >>> @Node
    ... def add(a: int, b: int) -> int:
    ...     return a + b
    >>> @Workflow
    ... def pipeline(a: int = 1):
    ...     return add(add(a, 2), 3)
    >>> [call.id for call in trace(pipeline).calls()]
    ['add', 'add-2']
    """
    from .workflows import as_workflow

    return as_workflow(workflow).trace(params or {})


def record(
    definition: Definition,
    method: str,
    instance: Instance | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    chosen: CallOptions,
    bound: int = 0,
    name: str = "",
) -> Ref[Any]:
    """Takes down one call; what it returns stands for the result.

    method, instance: of a class node's call; bound: how many of `args` the user did not write; name: what the
    task is called after, by default the node.
    """
    current = recorder.get()
    if isinstance(current, Tracer):
        return current.call(definition, method, instance, args, kwargs, chosen, bound, name)
    if current is None and _tracing:
        _refuse_other_thread(definition.name)
    where = here()
    definition.check(definition.name, method, len(args), kwargs, bound=bound)
    kwargs = definition.shape(method).with_files(len(args), kwargs)
    call = FreeCall(
        definition,
        method,
        instance,
        tuple([open_argument(arg) for arg in args]),
        tuple([(name, open_argument(arg)) for name, arg in kwargs.items()]),
        where,
        name=chosen.name or name,
        options=chosen.options,
        after=chosen.after,
        parent=current.call if isinstance(current, Body) else None,
    )
    if current is not None:
        current.calls.append(call)
    return Ref(call, definition.only_output)


def _refuse_other_thread(name: str) -> None:
    """A thread of its own that calls nodes while another one traces; bodies that an engine runs are none."""
    from grandpa_kfp_runtime import context

    if threading.get_ident() not in _tracing and not context.in_task():
        raise TraceError(
            f"{here()}: {name} was called from another thread while a workflow is traced; call nodes in the thread "
            "that runs the workflow's body, they run in parallel anyway"
        )


class _Scope:
    """A component or a block that is being traced: its path, the names in it, what it sets for its calls.

    branch: the branch that ended last in it, which `elsewhen` goes on with.
    """

    __slots__ = ("after", "branch", "counts", "options", "path", "prefix", "used")

    def __init__(self, path: tuple[str, ...], options: Options, after: tuple[str, ...]) -> None:
        self.path = path
        self.prefix = "".join(f"{name}/" for name in path)
        self.counts: dict[str, int] = {}
        self.used: dict[str, str] = {}  # name -> where
        self.options = options
        self.after = after
        self.branch: OpenBranch | None = None


class Tracer(GraphBuilder):
    """One trace: the operations so far, names, nodes, and what is wrong."""

    __slots__ = ("_merged", "_scopes", "_thread", "_without_call", "block", "faults", "name", "workflows")

    def __init__(self, name: str, options: Options = NO_OPTIONS) -> None:
        super().__init__()
        self.name = name
        self.faults: list[str] = []
        self.workflows: list[Any] = []  # that are traced, from the outside in
        self._thread = threading.get_ident()
        self._scopes = [_Scope((), options, ())]
        self._work_in(Block(None, name, ""))
        self._merged: dict[tuple[Options, Options, Options], Options] = {}
        self._without_call: dict[tuple[int, int], tuple[Options, Options, Options]] = {}

    # --- calls -----------------------------------------------------------------------------------

    def call(
        self,
        definition: Definition,
        method: str,
        instance: Instance | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        chosen: CallOptions,
        bound: int,
        name: str = "",
    ) -> Ref[Any]:
        """Records one task."""
        self.check_thread(name or definition.name)
        where = here()
        scope = self._scopes[-1]
        name = self._task_name(scope, name or definition.name, chosen.name, where)
        task = scope.prefix + name
        shape = definition.shape(method)
        options = self._options(chosen.options, definition.options, scope.options)
        if options.always:
            kwargs = with_outcome(task, shape, len(args), kwargs)
        if kwargs or not shape.least <= len(args) <= shape.most:
            try:
                definition.check(task, method, len(args), kwargs, bound=bound)
            except TraceError as error:  # told with all others when the trace has ended
                self.faults.append(str(error))
        if shape.files:
            kwargs = shape.with_files(len(args), kwargs)
        receiver = "" if instance is None else self.instance(instance)
        values = tuple([self.value(arg) for arg in args])
        named = tuple([(key, self.value(arg)) for key, arg in kwargs.items()]) if kwargs else ()
        after = scope.after
        if chosen.after:
            after = tuple(dict.fromkeys((*after, *self.tasks_of(chosen.after))))
        self.operations.append(
            Call(
                task,
                self.python_node(definition),
                values,
                named,
                options,
                after,
                scope.path,
                where,
                receiver,
                method,
            )
        )
        return Ref(TracedCall(self, self.block, task, where, definition, method), definition.only_output)

    def check_thread(self, name: str) -> None:
        """Raises TraceError in any thread but the one that traces."""
        if threading.get_ident() != self._thread:
            raise TraceError(
                f"{here()}: {name} was called from another thread while the workflow {self.name} is traced; call nodes "
                "in the thread that runs the workflow's body, they run in parallel anyway"
            )

    def _task_name(self, scope: _Scope, base: str, pinned: str, where: str) -> str:
        used = scope.used
        if pinned:
            if pinned not in used:
                used[pinned] = where
                return pinned
            self.faults.append(
                f"{scope.prefix}{pinned} ({where}): the name is taken by the call at {used[pinned]}; "
                "give one of them another with options(name=...)"
            )
            base = pinned
        count = scope.counts.get(base, 0) + 1
        name = base if count == 1 else f"{base}-{count}"
        while name in used:
            count += 1
            name = f"{base}-{count}"
        scope.counts[base] = count
        used[name] = where
        return name

    def _options(self, call: Options, node: Options, workflow: Options) -> Options:
        if call is NO_OPTIONS:
            if node is NO_OPTIONS:
                return workflow
            # most calls; by identity, since hashing options takes microseconds. The values keep the ids alive
            known = self._without_call.get((id(node), id(workflow)))
            if known is None:
                known = self._without_call[id(node), id(workflow)] = (node.over(workflow), node, workflow)
            return known[0]
        key = (call, node, workflow)
        merged = self._merged.get(key)
        if merged is None:
            merged = self._merged[key] = call.over(node.over(workflow))
        return merged

    # --- components ------------------------------------------------------------------------------

    @contextmanager
    def component(
        self, name: str, chosen: CallOptions, defaults: Options = NO_OPTIONS, fuse: bool | None = None
    ) -> Iterator[None]:
        """Everything called inside belongs to a component instance of this name. fuse: whether it is one step."""
        self.check_thread(name)
        outer = self._scopes[-1]
        if len(self._scopes) > _DEEPEST:
            shown = " → ".join(self._scopes[-1].path[-4:])
            raise TraceError(
                f"{here()}: component {name} is nested {_DEEPEST} deep (... → {shown}), it calls itself without end; "
                "a component cannot decide by a value, make it a node that returns its own call"
            )
        own = self._task_name(outer, name, chosen.name, here())
        options = chosen.options.over(defaults.over(outer.options))
        after = tuple(dict.fromkeys((*outer.after, *self.tasks_of(chosen.after))))
        self._scopes.append(_Scope((*outer.path, own), options, after))
        if fuse is not None:
            self.block.components.append(ComponentCall((*outer.path, own), fuse))
        try:
            yield
        finally:
            self._scopes.pop()

    def tasks_of(self, refs: tuple[Ref[Any], ...]) -> list[str]:
        """The ids of the tasks that `after` names; a branch or loop stands for what is in it."""
        tasks = []
        for ref in refs:
            origin = ref._origin
            if not isinstance(origin, TracedCall | JoinedCall):
                raise TraceError(f"{here()}: after names {describe(ref)}, which is no task of this workflow")
            self.check_owner(ref)
            common = next(block for block in origin.block.above() if block in self.block.above())
            theirs, mine = origin.block.inside(common), self.block.inside(common)
            task = origin.name if theirs is None or theirs.owner is None else theirs.owner.id
            if mine is None or mine.owner is None:
                tasks.append(task)
            elif mine.owner.id == task:
                raise TraceError(
                    f"{here()}: after names {describe(ref)}, which is in another branch than the call, and never runs "
                    "where the call does"
                )
            else:
                mine.owner.wait_for(task)
        return tasks

    # --- blocks ----------------------------------------------------------------------------------

    def _work_in(self, block: Block) -> None:
        self.block = block
        self.operations, self.instances = block.operations, block.instances
        self._instance_ids, self._instance_names = block.instance_ids, block.instance_names

    def open_branch(self) -> OpenBranch:
        """A branch without arms yet, in the block and component that is traced."""
        scope = self._scopes[-1]
        where = here()
        id_ = scope.prefix + self._task_name(scope, "when", "", where)
        inner = _Scope((), scope.options, ())
        scope.branch = OpenBranch(id_, self.block, scope.after, where, inner)
        return scope.branch

    def open_loop(
        self, items: Any, parallelism: int | None, name: str = "each", chosen: CallOptions = NO_CALL_OPTIONS
    ) -> OpenLoop:
        """A loop whose body is still empty, in the block and component that is traced. name: to call it after."""
        scope = self._scopes[-1]
        where = here()
        id_ = scope.prefix + self._task_name(scope, name, chosen.name, where)
        after = tuple(dict.fromkeys((*scope.after, *self.tasks_of(chosen.after))))
        loop = OpenLoop(id_, self.block, after, where, self.value(items), parallelism)
        scope.branch = None
        self.operations.append(loop)
        return loop

    def open_group(self, name: str, after: tuple[Ref[Any], ...] = ()) -> OpenGroup:
        """A group that is still empty, in the block and component that is traced."""
        scope = self._scopes[-1]
        where = here()
        id_ = scope.prefix + self._task_name(scope, name, "", where)
        group = OpenGroup(id_, self.block, tuple(dict.fromkeys((*scope.after, *self.tasks_of(after)))), where, name)
        scope.branch = None
        self.operations.append(group)
        return group

    @property
    def last_branch(self) -> OpenBranch | None:
        """The branch that the block just before was an arm of, None where another arm cannot follow."""
        return self._scopes[-1].branch

    def end_branch(self) -> None:
        """No arm follows on the last one."""
        self._scopes[-1].branch = None

    @contextmanager
    def inside(self, block: Block, defaults: Options = NO_OPTIONS) -> Iterator[None]:
        """Everything called inside belongs to the block. defaults: of the options of what is called in it."""
        self.check_thread(block.name)
        outer, scope = self.block, self._scopes[-1]
        owner = block.owner
        if isinstance(owner, OpenBranch):
            inner = owner.scope
            inner.branch = None
            if owner in self.operations:  # behind what the conditions of later arms ask for
                self.operations.remove(owner)
            self.operations.append(owner)
        else:
            inner = _Scope((), defaults.over(scope.options), ())
        self._scopes.append(inner)
        self._work_in(block)
        try:
            yield
        finally:
            self._scopes.pop()
            self._work_in(outer)

    # --- values ----------------------------------------------------------------------------------

    def ref(self, ref: Ref[Any]) -> Value:
        """A task of this trace, or a parameter. Raises TraceError for any other."""
        value, block = self.value_at_home(ref)
        return value if block is self.block else carried(value, self.seen(ref), self.block)

    def value_at_home(self, ref: Ref[Any]) -> tuple[Value, Block]:
        """What a Ref of this trace stands for in the block that it was made in, or in the one around groups that have
        ended, which give their values on; and that block."""
        origin = ref._origin
        if origin.tracer is not self:
            self.check_owner(ref)
        if isinstance(origin, ParameterOrigin):
            value: Value = ParameterValue(origin.name, ref._path)
        elif isinstance(origin, JoinedCall):
            value = TaskOutput(origin.name, origin.output, ref._path)
        else:
            assert isinstance(origin, TracedCall)
            value = output_value(origin.name, ref)
        block = origin.block
        if block is not self.block:
            home = self.home(ref)
            while block is not home:
                assert isinstance(block.owner, OpenGroup)
                value, block = block.owner.output(value), block.owner.parent
        return value, block

    def home(self, ref: Ref[Any]) -> Block:
        """The block that a Ref was made in, or the one around groups that have ended."""
        block: Block = ref._origin.block
        above = [*self.block.above()]
        while isinstance(block.owner, OpenGroup) and block not in above:
            block = block.owner.parent
        return block

    def seen(self, ref: Ref[Any]) -> Block:
        """The block that a Ref is in, which the one that is traced is inside of. Raises TraceError for others."""
        home = self.home(ref)
        above = list(self.block.above())
        if home in above:
            return home
        inner = home.inside(next(block for block in home.above() if block in above))
        while inner is not None and isinstance(inner.owner, OpenGroup):
            inner = home.inside(inner)
        assert inner is not None
        if isinstance(inner.owner, OpenLoop):
            raise TraceError(
                f"{here()}: {describe(ref)} is used outside the loop at {inner.where}, where it has a value for each "
                "item; collect(...) gives the list of them, after the loop"
            )
        raise TraceError(
            f"{here()}: {describe(ref)} is used outside the branch at {inner.where}, without which it has no value; "
            "join it with what stands for it in the other branches: either(..., ...)"
        )

    def check_owner(self, ref: Ref[Any]) -> None:
        owner = ref._origin.tracer
        if owner is self:
            return
        made = "outside a workflow" if owner is None else f"while tracing the workflow {owner.name}"
        raise TraceError(
            f"{here()}: {describe(ref)} was called {made} and cannot be used in the workflow {self.name}; "
            "make the call inside this workflow's body, or pass its resolved value"
        )

    # --- the whole -------------------------------------------------------------------------------

    def run(self, body: Callable[[], Any]) -> Any:
        """Runs the workflow's body with this trace as the recorder of calls."""
        token = recorder.set(self)
        fresh = self._thread not in _tracing
        _tracing.add(self._thread)
        try:
            return body()
        finally:
            if fresh:
                _tracing.discard(self._thread)
            recorder.reset(token)

    def outputs(self, result: Any, where: str) -> tuple[tuple[str, Value], ...]:
        """The graph's outputs from what the body returned. where: of the workflow, for messages."""
        with told_as(where):
            return () if result is None else ((RESULT, self.value(result)),)

    def check(self) -> None:
        """Raises GraphError with everything that is wrong with the whole."""
        for node in self._nodes.values():
            self.faults.extend(captured_refs(node))
        if self.faults:
            raise GraphError(self.faults)
