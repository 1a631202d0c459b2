"""The nodes that passes add: they live in the runtime, so every image has them."""

from __future__ import annotations

from collections.abc import Iterable

from grandpa_kfp_runtime.contract import CONTRACT

from ..graph import ANY, NO_OPTIONS, Call, Graph, Node, NodeParameter, Options, PythonNode, Signature, TypeSpec

_MODULE = "grandpa_kfp_runtime.builtins"
_FINGERPRINT = f"builtin-{CONTRACT}"


def _builtin(name: str, *parameters: NodeParameter, returns: TypeSpec = ANY) -> PythonNode:
    return PythonNode(
        f"{_MODULE}:{name}", name, signatures=(("", Signature(parameters, returns)),), fingerprint=_FINGERPRINT
    )


IDENTITY = _builtin("identity", NodeParameter("value"))
"""Returns its argument: a structure of other tasks' results becomes one result."""

PASSED = _builtin("passed", NodeParameter("value"))
"""As IDENTITY, of a value that is not read."""

GATHER = _builtin("gather", NodeParameter("handles", "var_positional"), returns=TypeSpec("list"))
"""A list of other tasks' results, stored as the list of their handles."""

JOIN = _builtin("join", NodeParameter("lists", "var_positional"), returns=TypeSpec("list"))
"""One list out of several: the upper levels of a tree of gather tasks."""

FILL = _builtin("fill", NodeParameter("skeleton"), NodeParameter("positions"), NodeParameter("values"))
"""A structure with values put in at positions: `fill({"a": None}, [[0]], [1]) == {"a": 1}`."""

CHOOSE = _builtin("choose", NodeParameter("conditions"), NodeParameter("values", "var_positional"))
"""The number of the arm of a branch that is taken."""

FILLED = _builtin("filled", NodeParameter("values"), returns=TypeSpec("int"))
"""1 for a list that has items, 0 for an empty one: which arm is taken of a branch around a loop."""

SPREAD = _builtin("spread", NodeParameter("values"), returns=TypeSpec("list"))
"""A list as what a loop of Kubeflow's goes over: not a handle but a LIST of its items' handles."""

COLLECTED = _builtin("collected", NodeParameter("values"), returns=TypeSpec("list"))
"""What all rounds of a loop gave, which Kubeflow has as a LIST of handles, as one stored list of handles."""

ROWS = _builtin("rows", NodeParameter("lists", "var_positional"), returns=TypeSpec("list"))
"""What a map of several lists goes over: a list of the elements at each place."""

DECIDING = (CHOOSE, FILLED, SPREAD, ROWS)
"""What fails by a value that a branch or a loop of the user's cannot use: such a task tells where that stands."""

ABSENT = _builtin("absent")
"""Stands for outputs that were not made, for a task that runs always."""

ITEMS = _builtin("items", NodeParameter("stream"), returns=TypeSpec("list"))
"""The list of a generator's items, of which more than one task takes some."""


def is_builtin(node: Node) -> bool:
    """Whether a pass added the task; its code is in the image, not in the zip."""
    return node.key.startswith(_MODULE)


def options_like(graph: Graph, tasks: Iterable[str]) -> Options:
    """Where a builtin must run to understand what these tasks made: as the first with an own image among them.

    What containers of other images make is for everybody to understand.
    """
    wanted = set(tasks)
    made = [item for item in graph.operations if item.id in wanted and isinstance(item, Call)]
    calls = [call for call in made if isinstance(call.node, PythonNode)]
    own = [call for call in calls if call.options.image is not None or call.options.packages]
    return next((call.options.surroundings() for call in (*own, *calls)), NO_OPTIONS)


def free_id(graph: Graph, name: str) -> str:
    """`name`, or `name-2`, ... where the graph has an operation of that id."""
    taken = {operation.id for operation in graph.operations}
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
