"""`pack`: a traced graph gets its nodes' fingerprints and its code zip, and can then leave this process.

`compile`, `deploy` and `grandpa graph --format json` call it. A graph that has its code is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import (
    Code,
    Constant,
    Filled,
    Graph,
    Instance,
    PythonNode,
    TypeSpec,
    Value,
    bodies_of,
    values_of,
)
from grandpa_kfp_runtime.code.fingerprint import Fingerprints, file_hash
from grandpa_kfp_runtime.code.imports import Locator
from grandpa_kfp_runtime.code.included import Included, read_include
from grandpa_kfp_runtime.code.payload import VALUE, add_main, build, node_key
from grandpa_kfp_runtime.code.project import OURS, find_root, is_project_file, main_file
from grandpa_kfp_runtime.errors import PayloadError
from grandpa_kfp_runtime.values.by_value import dumps

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})


def pack(graph: Graph, *, root: Path | str | None = None, include: Iterable[str | Path] = ()) -> Graph:
    """The graph with `node.fingerprint` set for each node, and `graph.code`.

    root: the project's folder, by default found from the nodes' files; include: data files, folders,
    patterns and dotted module names that go along though no import names them; they count in every
    node's fingerprint. The graph's options do not count here: `call_fingerprint` mixes a call's in.
    Raises PayloadError for a node that cannot travel, and for a graph from a file that has no code.
    """
    if graph.code is not None:
        return graph
    nodes = graph.nodes()
    _check_alive(graph, nodes)
    folder = Path(root).absolute() if root is not None else root_of(graph)
    locator = Locator([str(folder)])
    add_main(locator)
    included = read_include(include, folder, locator)
    keyed = _keyed(nodes)
    targets = {node.key: node.target for node in keyed.values() if not _is_ours(node.key)}
    fingerprints = Fingerprints(locator=locator, files=_hashes(included), modules=included.modules)
    payload = build(
        targets,
        root=folder,
        include=included,
        modules=_modules_of_values(graph),
        uses={key: fingerprints.outside(target) for key, target in targets.items() if target is not None},
        locator=locator,
    )
    done = {
        key: node
        if node.fingerprint
        else replace(
            node, fingerprint=fingerprints.code(node.target), logs=tuple(sorted(fingerprints.logs(node.target)))
        )
        for key, node in keyed.items()
    }
    return replace(graph.with_nodes(done), code=Code(payload.sha256, payload.zip, payload.python))


def root_of(graph: Graph) -> Path:
    """The root of the project that the graph's nodes are defined in; in a notebook the current folder's."""
    for node in graph.nodes().values():
        file = _file_of(node.target)
        if file is not None:
            return find_root(file)
    return find_root(main_file() or Path.cwd())


def _file_of(target: Any) -> str | None:
    module = sys.modules.get(str(getattr(target, "__module__", "")))
    file = getattr(module, "__file__", None)
    return file if module is not None and is_project_file(module.__name__, file) else None


def _is_ours(key: str) -> bool:
    """The tasks that passes add: every worker has their code."""
    return key.partition(":")[0].partition(".")[0] in OURS


def _check_alive(graph: Graph, nodes: dict[str, PythonNode]) -> None:
    dead = [node for node in nodes.values() if node.target is None and not _is_ours(node.key)]
    if dead:
        raise PayloadError(
            f"{graph.name}: the graph carries no code, and {dead[0].name} is known by its name alone; "
            "write the graph file again by `grandpa graph FILE.py --format json`"
        )


def _keyed(nodes: dict[str, PythonNode]) -> dict[str, PythonNode]:
    """The nodes by their present key; one that turns out to be importable (a script's, `Node(lambda ...)`) by
    reference."""
    keyed: dict[str, PythonNode] = {}
    taken = set(nodes)
    for key, node in nodes.items():
        found = node_key(node.target, key.removeprefix(VALUE)) if key.startswith(VALUE) else key
        if found != key and found not in taken:
            taken.add(found)
            node = replace(node, key=found)
        keyed[key] = node
    return keyed


def _hashes(included: Included) -> dict[str, str]:
    return {file.relative_to(included.root).as_posix(): file_hash(file) for file, _ in included.files}


# --- modules that values and types of the graph need, though no node imports them ---


def _modules_of_values(graph: Graph) -> set[str]:
    modules: set[str] = set()
    for value in _constants(graph):
        if not _is_plain(value):
            try:
                modules |= dumps(value)[1]
            except PayloadError:  # compile says it better: it knows the task and the argument
                continue
    for spec in _types(graph):
        modules |= {name.partition(":")[0] for name in _names(spec) if ":" in name}
    return modules


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    if kind is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return kind in _ATOMS or kind.__module__.partition(".")[0] in (*OURS, "pathlib", "datetime", "numpy", "pandas")


def _constants(graph: Graph) -> Iterator[Any]:
    yield from graph.callbacks
    for parameter in graph.parameters:
        if isinstance(parameter.default, Constant):
            yield parameter.default.value
    for item in (*graph.instances, *graph.operations):
        for value in values_of(item):
            yield from _held(value)
        if not isinstance(item, Instance):
            for body in bodies_of(item):
                yield from _constants(body)
    for _, value in graph.outputs:
        yield from _held(value)


def _held(value: Value) -> Iterator[Any]:
    if isinstance(value, Constant):
        yield value.value
    elif isinstance(value, Filled):
        yield value.skeleton.value
        for _, inner in value.holes:
            yield from _held(inner)


def _types(graph: Graph) -> Iterator[TypeSpec]:
    """Types that a worker turns parameters into."""
    yield from (parameter.type for parameter in graph.parameters)
    for node in graph.nodes().values():
        for _, signature in node.signatures:
            yield from (parameter.type for parameter in signature.parameters)


def _names(spec: TypeSpec) -> Iterator[str]:
    yield spec.name
    for arg in spec.args:
        yield from _names(arg)
