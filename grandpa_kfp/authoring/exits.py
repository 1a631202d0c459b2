"""`on_exit`: a node that runs when what is called in a block has ended, however.

The block becomes a group, and the node a task that runs always behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec

from grandpa_kfp_compiler.graph import Call, TaskOutput, inputs_of
from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.values.summaries import summary

from .blocks import OpenGroup
from .classes import Instance
from .control_flow import tracer_of
from .nodes import FunctionNode
from .outcomes import Ended
from .refs import Ref, describe
from .tracing import Tracer
from .where import here, told_as

P = ParamSpec("P")
GUARDED = "guarded"
"""The name of the group that a block becomes."""


@contextmanager
def on_exit(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    """`with on_exit(cleanup, bucket):` when all that is called inside has ended, however, the node is called.

    handler: a node, or an instance of a class node, with options or without; args, kwargs: its arguments, values, the
    workflow's parameters, or Refs of tasks that were called before. A parameter of it that is annotated
    `FailureInfo | None` and not given is how the block has ended: None where nothing of it has failed.
    The block begins when all that it and the handler take from outside is there; where that fails, neither runs.
    Values made inside can be used after it. Raises TraceError outside a workflow's body, and for what is no node.

    >>> from grandpa_kfp import FailureInfo, Node, Workflow, run
    >>> @Node
    ... def load(path: str) -> str:
    ...     raise OSError(f"no {path}")
    >>> seen = []
    >>> @Node
    ... def cleanup(path: str, failure: FailureInfo | None) -> None:
    ...     seen.append((path, failure and failure.error))
    >>> @Workflow
    ... def pipeline(path: str = "a.csv"):
    ...     with on_exit(cleanup, path):
    ...         load(path)
    >>> try:
    ...     run(pipeline, record=False)
    ... except Exception as error:
    ...     print(error.run.state, seen)
    failed [('a.csv', 'OSError: no a.csv')]
    """
    tracer = tracer_of("on_exit")
    called = handler_of(handler, f"{here()}: on_exit")
    group = tracer.open_group(GUARDED)
    with tracer.inside(group.block):
        yield
    called(*args, **kwargs)
    _behind(tracer, group)


ON_FAILURE = (Ended(only_failed=True),)
"""The argument of a handler that is called where something has failed, with a FailureInfo."""


@contextmanager
def guarded(handler: Any, where: str, args: tuple[Any, ...], values: Mapping[str, Any]) -> Iterator[None]:
    """As a block of `on_exit`, of a whole workflow.

    where: of the workflow; values: of its parameters, which reach those of the handler that are called the same.
    """
    with told_as(where):
        tracer = tracer_of("on_exit")
        called = handler_of(handler, f"{where}: on_exit")
        group = tracer.open_group(GUARDED)
    with tracer.inside(group.block):
        yield
    with told_as(where):
        called(*args, **{name: values[name] for name in _named(handler) if name in values})
    _behind(tracer, group)


def _named(handler: FunctionNode[..., Any] | Instance) -> Iterator[str]:
    """The parameters of a handler that can be given by name."""
    definition = handler._definition
    methods = definition.methods() if isinstance(handler, Instance) else [""]
    for item in definition.shape(methods[0]).signature.parameters.values() if methods else ():
        if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY):
            yield item.name


def _behind(tracer: Tracer, group: OpenGroup) -> None:
    """The last call is the handler of the group, which begins when all is there that the handler is given."""
    call = tracer.operations[-1]
    assert isinstance(call, Call)
    group.handler = call.id
    instances = {item.id: item for item in tracer.instances}
    for value in inputs_of(call, instances):
        if isinstance(value, TaskOutput):
            group.wait_for(value.task)
    for task in call.after:
        group.wait_for(task)


def handler_of(handler: Any, what: str) -> Callable[..., Any]:
    """The node as one that runs always. what: begins the message of the TraceError for what is no node."""
    if isinstance(handler, Ref):
        raise TraceError(
            f"{what} was given {describe(handler)}, a call that runs where it stands; give it the node and its "
            "arguments: on_exit(node, argument)"
        )
    if not isinstance(handler, FunctionNode | Instance):
        raise TraceError(f"{what} takes a node that is called when all has ended, but was given {summary(handler)}")
    return handler.options(always=True)
