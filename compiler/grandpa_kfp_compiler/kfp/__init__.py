"""From a graph to a Kubeflow pipeline's YAML: `compile_graph`, called by `grandpa_kfp.compile` and deploy.

fitting: passes -> lower (chooses) -> code (carries the code), until it fits -> emit (writes)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from grandpa_kfp_runtime.contract import VALUE
from grandpa_kfp_runtime.errors import CompileError, GraphError

from ..graph import Graph
from ..verify import verify
from ..verify.faults import place
from .callbacks import callbacks_text
from .code import StoredObject
from .emit import emit
from .executors import Executors, default_image
from .fitting import fitted, told
from .options import CompileOptions
from .pipeline import Pipeline
from .sizes import check_upload, count_tasks


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled workflow.

    text: both YAML documents. notes: what the user should know, a line each. code: how the code travels
    (`inline`, `task`, `store`). upload: what must lie in the store before the pipeline runs. prepared: the graph after
    all passes.
    """

    text: str = field(repr=False)
    notes: tuple[str, ...]
    code: str
    pipeline: Pipeline = field(repr=False)
    upload: tuple[StoredObject, ...] = ()
    prepared: Graph | None = field(default=None, repr=False, compare=False)

    @property
    def tasks(self) -> int:
        return count_tasks(self.pipeline)


def compile_graph(graph: Graph, options: CompileOptions | None = None) -> Compiled:
    """A packed graph as the text of a pipeline; the same graph and options give the same bytes.

    Raises GraphError with every fault of the graph, CompileError for what Kubeflow cannot hold as asked.
    """
    options = options or CompileOptions()
    if graph.code is None:
        raise CompileError(f"{graph.name}: the graph has no code with it; pack it first")
    faults = verify(graph)
    if faults:
        raise GraphError([str(fault) for fault in faults])
    _check_python(graph, graph.code.python, options)
    version = _version()
    python = options.python or graph.code.python
    packed_by = graph.code.python
    callbacks, left = callbacks_text(graph.callbacks)
    image = options.image or default_image(version, python)
    found = fitted(
        graph, options, lambda: Executors(options, image, packed_by, version, dict.fromkeys(left), callbacks)
    )
    pipeline = found.pipeline
    try:
        text = emit(pipeline, version)
    except ValueError as error:
        raise CompileError(f"{graph.name}: {error}") from error
    check_upload(text)
    notes = (*found.executors.notes, *_notes(graph, found.prepared), *told(graph, found, options))
    return Compiled(text, notes, found.plan.mode, pipeline, found.plan.upload, found.prepared)


def _check_python(graph: Graph, packed_by: str, options: CompileOptions) -> None:
    """Source runs on every Python, a pickle of code on the one that made it."""
    by_value = [node for node in graph.nodes().values() if node.key.startswith(VALUE)]
    if by_value and options.python not in (None, packed_by):
        first = by_value[0]
        raise CompileError(
            f"{place(first.name, first.where)}: it travels by value, as a pickle that only Python {packed_by} reads, "
            f"and the image is to have Python {options.python}: compile by Python {options.python}, or define the node "
            "at the top of a module, which travels as source"
        )


def _notes(graph: Graph, prepared: Graph) -> list[str]:
    notes = []
    for before, after in zip(graph.parameters, prepared.parameters, strict=True):
        if before.type != after.type:
            notes.append(
                f"parameter {before.name}: its default holds `{{{{`, `}}}}` or `$$(`, which the cluster replaces, "
                "so it travels as JSON text, and is JSON text in Kubeflow's form too"
            )
    lasting = [call for call in graph.calls() if isinstance(call.options.cache, str)]
    if lasting:
        shown = ", ".join(f"{call.id} ({call.options.cache})" for call in lasting[:3]) + (
            ", ..." if lasting[3:] else ""
        )
        notes.append(f"cache: Kubeflow's cache has no time to live; there it counts as cache=True: {shown}")
    return notes


def _version() -> str:
    from grandpa_kfp_runtime import __version__

    return __version__


__all__ = ["CompileOptions", "Compiled", "compile_graph"]
