"""What happens to a graph between recording and lowering, in order.

A pass is a function from graph to graph in a file of its own, whose docstring says what holds before
and after. The local engine needs none of them; they prepare a graph for Kubeflow.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TypeAlias

from grandpa_kfp_runtime.errors import CompileError

from ..graph import Graph
from .always_groups import always_groups
from .container_values import container_values
from .control_tasks import control_tasks
from .fuse import MOST_STEPS, fuse
from .fused_steps import fused_steps
from .gather_inputs import gather_inputs
from .nest_groups import nest_groups
from .protect_defaults import protect_defaults
from .result_task import result_task

Pass: TypeAlias = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    protect_defaults,
    fuse,
    fused_steps,
    result_task,
    always_groups,
    control_tasks,
    gather_inputs,
    nest_groups,
    container_values,
)
"""All passes, in the order they run."""


def run_passes(
    graph: Graph,
    *,
    mode: str = "auto",
    most: int = MOST_STEPS,
    print_after: str | None = None,
    write: Callable[[str], object] | None = None,
    stages: dict[str, Graph] | None = None,
) -> Graph:
    """The graph as the KFP lowering wants it; the graph has no faults.

    mode, most: of `fuse`. stages: takes the graph after each pass, by the pass' name.
    print_after: name of a pass (`all` for each) after which the graph is written, readable, by `write`
        (standard error where None).
    Raises CompileError for a pass that does not exist.
    """
    names = [one.__name__ for one in PASSES]
    if print_after not in (None, "all", *names):
        near = difflib.get_close_matches(str(print_after), names, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise CompileError(f"there is no pass {print_after}{hint}; the passes are {', '.join(names)}, and `all`")
    for one in PASSES:
        graph = fuse(graph, mode, most) if one is fuse else one(graph)
        if stages is not None:
            stages[one.__name__] = graph
        if print_after in ("all", one.__name__):
            _print(one.__name__, graph, write)
    return graph


def _print(name: str, graph: Graph, write: Callable[[str], object] | None) -> None:
    import sys

    from ..printer import format_graph

    (write or sys.stderr.write)(f"# after {name}\n{format_graph(graph)}\n")
