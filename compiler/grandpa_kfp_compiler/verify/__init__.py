"""Finds everything that is wrong with a graph in one go.

    structure.py    ids, references, cycles, nodes
    arguments.py    calls against the signatures of what they call
    edges.py        types of what flows against the types that are asked
    control.py      what branches and loops decide by, what comes out of them
    containers.py   what containers of other images are given
    always.py       what tasks that run always may have to do without
    settings.py     options, and defaults of parameters

Called before a graph is run, compiled or written, and between passes. It never prints, never raises,
and never stops at the first fault.
"""

from __future__ import annotations

from grandpa_kfp_runtime.errors import GraphError

from ..graph import Graph, Group, bodies_of
from .always import always_faults
from .arguments import argument_faults
from .containers import container_faults
from .control import control_faults
from .edges import edge_faults
from .faults import Fault
from .settings import setting_faults
from .structure import structure_faults

__all__ = ["Fault", "verified", "verify"]


def verify(graph: Graph) -> list[Fault]:
    """Every fault of the graph and of the graphs inside it; an empty list for a right one.

    >>> from grandpa_kfp_compiler.graph import Call, PythonNode
    >>> node = PythonNode("calc:load", "load")
    >>> print(verify(Graph("train", operations=(Call("load", node, after=("laod",), where="calc.py:14"),)))[0])
    load (calc.py:14): is called after "laod", but there is no such task; did you mean "load"?
    """
    return _verify(graph, may_be_empty=False)


def _verify(graph: Graph, *, may_be_empty: bool) -> list[Fault]:
    faults = [
        *structure_faults(graph, may_be_empty=may_be_empty),
        *argument_faults(graph),
        *edge_faults(graph),
        *control_faults(graph),
        *always_faults(graph),
        *container_faults(graph),
        *setting_faults(graph),
    ]
    for operation in graph.operations:
        for body in bodies_of(operation):
            faults.extend(_verify(body, may_be_empty=not isinstance(operation, Group)))
    return faults


def verified(graph: Graph) -> Graph:
    """The graph itself. Raises GraphError, which holds all faults, for a wrong one."""
    faults = verify(graph)
    if faults:
        raise GraphError([str(fault) for fault in faults])
    return graph
