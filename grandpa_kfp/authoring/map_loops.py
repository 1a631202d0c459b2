"""Maps that are loops: each element a round, which on Kubeflow is a container of its own.

`mapping` asks which they are. A loop costs a container an element, some 20 s of a small cluster, so it is what the user
asks for: by `parallelism`, or by a node of which each element is promised what only a container of its own can give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, Options
from grandpa_kfp_compiler.passes.builtins import ROWS
from grandpa_kfp_runtime.builtins import rows
from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.recording import recorder

from .blocks import ITEM
from .calls import ParameterOrigin
from .classes import CallOptions
from .definitions import BuiltinDefinition
from .refs import Promise, Ref
from .tracing import Tracer, record
from .where import here

_OF_A_CONTAINER = ("cpu", "memory", "gpu", "gpu_type", "shm", "disk", "timeout_s")
"""Options that hold for each element, and cannot where all run in one container."""

_ROWS = BuiltinDefinition(rows, ROWS)


def is_loop(options: Options, window: int | None, parallelism: int | None, *, apart: bool = False) -> bool:
    """Whether a map that is called here is recorded as a loop.

    options: the node's and its calls' own; apart: each element is a container of its own whatever they say.
    """
    if not isinstance(recorder.get(), Tracer):
        return False
    if apart or window is not None:
        return apart
    return parallelism is not None or any(getattr(options, name) is not None for name in _OF_A_CONTAINER)


def loop_over(
    name: str, call: Callable[..., Any], lists: Sequence[Any], parallelism: int | None, chosen: CallOptions
) -> Ref[Any]:
    """Records the loop. name: of the node; call: of one element; chosen: whose name and `after` are the loop's.

    Raises TraceError for lists that differ in length as far as that is known.
    """
    from .control_flow import collect

    tracer = recorder.get()
    assert isinstance(tracer, Tracer)
    name = f"{name}.map"
    items = lists[0] if len(lists) == 1 else _rows(name, lists)
    if isinstance(items, range):
        items = list(items)
    loop = tracer.open_loop(items, parallelism, name, CallOptions(name=chosen.name, after=chosen.after))
    with tracer.inside(loop.block):
        item: Any = Ref(ParameterOrigin(tracer, loop.block, ITEM, Any, loop.where, of_loop=True))
        made = call(item) if len(lists) == 1 else call(*[item[place] for place in range(len(lists))])
    found: Ref[Any] = collect(made)  # type: ignore[assignment]
    return found


def _rows(name: str, lists: Sequence[Any]) -> Any:
    """What a loop over several lists goes over: the elements at each place."""
    if any(isinstance(item, Promise) for item in lists):
        return record(_ROWS, "", None, tuple(lists), {}, CallOptions(NO_OPTIONS), name=f"{name}-rows")
    lengths = [len(item) for item in lists]
    if len(set(lengths)) > 1:
        raise TraceError(
            f"{name} ({here()}): map takes lists of one length, but these have {', '.join(map(str, lengths))} elements"
        )
    return [list(row) for row in zip(*lists, strict=True)]
