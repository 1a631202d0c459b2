"""The origins that Refs point to: a task of a trace, a call outside of one, a parameter.

Plain records without behaviour of their own; `tracing` makes the first and the last, `growing` runs the
second. Who takes down a call is in the runtime's `recorder`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, Options

from .arguments import Opened
from .definitions import Definition
from .refs import Origin, Ref

if TYPE_CHECKING:
    from .blocks import Block
    from .classes import Instance
    from .tracing import Tracer
    from .workflows import WorkflowFunction


class TracedCall(Origin):
    """A task that a trace recorded; `name` is its id, block where it was called."""

    __slots__ = ("definition", "method")

    def __init__(
        self, tracer: Tracer, block: Block, name: str, where: str, definition: Definition, method: str
    ) -> None:
        self.tracer = tracer
        self.block = block
        self.name = name
        self.where = where
        self.outputs = definition.outputs
        self.definition = definition
        self.method = method

    def annotation(self) -> Any:
        return self.definition.returns(self.method)


class JoinedCall(Origin):
    """What `either` and `collect` give: an output of the branch or loop whose id is `name`."""

    __slots__ = ("output",)

    def __init__(self, tracer: Tracer, block: Block, name: str, output: str, where: str) -> None:
        self.tracer = tracer
        self.block = block
        self.name = name
        self.output = output
        self.where = where
        self.outputs = None


class ParameterOrigin(Origin):
    """A parameter of the workflow that is traced, or, in a loop, one of its items."""

    __slots__ = ("_annotation", "_of_loop")

    def __init__(
        self, tracer: Tracer, block: Block, name: str, annotation: Any, where: str, *, of_loop: bool = False
    ) -> None:
        self.tracer = tracer
        self.block = block
        self._of_loop = of_loop
        self.name = name
        self.where = where
        self.outputs = None
        self._annotation = annotation

    def annotation(self) -> Any:
        return self._annotation

    def describe(self) -> str:
        return f"the item of the loop at {self.where}" if self._of_loop else f"the workflow's parameter {self.name}"

    def advice(self) -> str:
        if self._of_loop:
            return ""
        annotation = self._annotation
        shown = "..." if annotation is Any else getattr(annotation, "__name__", str(annotation))
        return f", or fix the parameter while tracing: `{self.name}: Static[{shown}]`"


class FreeCall(Origin):
    """A call outside a trace, run when somebody resolves it. It runs once; `value` is then kept.

    instance: of a class node's call; args, kwargs: taken apart at the call; parent: the call whose body
    made this one; state: one of NEW, RUNNING, GROWN (its body has returned Refs), DONE; takers: how many calls have
    it as an argument.
    """

    __slots__ = (
        "after", "args", "definition", "instance", "kwargs", "method", "options", "owner", "parent", "pending",
        "state", "takers", "value",
    )  # fmt: skip

    def __init__(
        self,
        definition: Definition,
        method: str,
        instance: Instance | None,
        args: tuple[Opened, ...],
        kwargs: tuple[tuple[str, Opened], ...],
        where: str,
        *,
        name: str = "",
        options: Options = NO_OPTIONS,
        after: tuple[Ref[Any], ...] = (),
        parent: FreeCall | None = None,
    ) -> None:
        self.tracer = None
        self.name = name or definition.name
        self.where = where
        self.outputs = definition.outputs
        self.definition = definition
        self.method = method
        self.instance = instance
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.after = after
        self.parent = parent
        self.state = NEW
        self.value: Any = None
        self.pending: Any = None
        self.owner: Any = None
        self.takers = 0
        note_takers(args, kwargs)

    def annotation(self) -> Any:
        return self.definition.returns(self.method)

    def warn_if_unused(self, body: str) -> None:
        """Tells the user, once a place, of a call in a body that has not run and will not."""
        if self.state == NEW and (body, self.where) not in _warned:
            _warned.add((body, self.where))
            file, _, line = self.where.rpartition(":")
            warnings.warn_explicit(
                f"{body} calls {self.name} ({self.where}) in its body, but returns nothing that needs it: it does not "
                "run; return its Ref, or resolve it",
                UnusedCallWarning,
                file or "unknown",
                int(line or 0),
            )


NEW, RUNNING, GROWN, DONE = range(4)


def note_takers(args: tuple[Opened, ...], kwargs: tuple[tuple[str, Opened], ...]) -> None:
    """Counts for each call among the arguments that one more takes it."""
    for _, holes in args:
        for _, leaf in holes:
            if isinstance(leaf, Ref) and isinstance(leaf._origin, FreeCall):
                leaf._origin.takers += 1
    for _, (_, holes) in kwargs:
        for _, leaf in holes:
            if isinstance(leaf, Ref) and isinstance(leaf._origin, FreeCall):
                leaf._origin.takers += 1


class WorkflowCall(FreeCall):
    """A workflow that was called outside a trace; `kwargs` holds all its parameters."""

    __slots__ = ("workflow",)

    def __init__(
        self,
        workflow: WorkflowFunction[..., Any],
        values: tuple[tuple[str, Opened], ...],
        where: str,
        parent: FreeCall | None,
    ) -> None:
        definition = Definition(workflow.fn, workflow.name, workflow.options, None, workflow.where, is_class=False)
        super().__init__(definition, "", None, (), values, where, parent=parent)
        self.workflow = workflow

    def annotation(self) -> Any:
        return self.workflow.signature.return_annotation


class Counter:
    """How many bodies one evaluation, and those nested in it, have run, and how many they may."""

    __slots__ = ("count", "most")

    def __init__(self, most: int) -> None:
        self.count = 0
        self.most = most


class Body:
    """A node's body that runs: it takes down the free calls made in it.

    depth: how many bodies wait for each other in nested `.resolve()` calls, this one included.
    """

    __slots__ = ("call", "calls", "counter", "depth")

    def __init__(self, call: FreeCall, depth: int, counter: Counter) -> None:
        self.call = call
        self.calls: list[FreeCall] = []
        self.depth = depth
        self.counter = counter


class UnusedCallWarning(UserWarning):
    """A node's body called a node and used the Ref for nothing."""


_warned: set[tuple[str, str]] = set()
