"""What deploying, and planning it, begin with: options told apart, the graph compiled, parameters as KFP has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_compiler.kfp import Compiled, CompileOptions, compile_graph
from grandpa_kfp_runtime.errors import DeployError, ParameterError
from grandpa_kfp_runtime.events.subscribers import Subscriber, as_listener

from ..forcing import with_forced
from .connecting import Address
from .follow import Told
from .schedules import cron_line
from .start import DEFAULT_EXPERIMENT, DEFAULT_RUN_NAME


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What `deploy` may be told beside the options of `compile` and of the server's address.

    experiment: made if it is not there. run_name: a template, see `start.run_name`. tags: on the run. wait:
    until the run has ended. dry_run: send nothing, say what would be. schedule: a cron line; instead of one run
    there is one each time. store_here: the store's URI from this machine, where it is another than the
    tasks'. force: tasks that Kubeflow shall not take from its cache, by task, node or pattern; cache: False for
    all of them. tell: called with each line of what happens. on_event: with `wait`, told of the run's events, those
    that tasks left in the store included (docs/events.md).
    """

    experiment: str = DEFAULT_EXPERIMENT
    run_name: str = DEFAULT_RUN_NAME
    tags: Mapping[str, str] = field(default_factory=dict)
    wait: bool = False
    dry_run: bool = False
    schedule: str = ""
    store_here: str = ""
    force: Sequence[str] = ()
    cache: bool = True
    tell: Callable[[Told], object] = lambda told: None
    on_event: Subscriber | None = None
    interval_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A deployment before anything is asked of a server. graph: packed; values: of the run's parameters, as KFP
    carries them; root: the project's folder, None for that of the workflow's file."""

    graph: Graph
    compiled: Compiled
    values: Mapping[str, Any]
    chosen: DeployOptions
    address: Address
    options: CompileOptions
    root: Path | None


def prepare(workflow: Any, params: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Prepared:
    """options: as of `deploy`. Raises what `compile` raises, DeployError for an option that nobody knows."""
    chosen, address, compile_options, rest = _split(options)
    if chosen.schedule:
        cron_line(chosen.schedule)
    if chosen.on_event is not None:
        as_listener(chosen.on_event)
    root = Path(rest["root"]) if rest.get("root") is not None else None
    graph, sent = _graph_and_params(workflow, params or {}, root, rest.get("include", ()))
    graph = with_forced(graph, chosen.force, cache=chosen.cache)
    compiled = compile_graph(graph, compile_options)
    return Prepared(graph, compiled, _as_kfp(graph, compiled, sent), chosen, address, compile_options, root)


def _split(options: Mapping[str, Any]) -> tuple[DeployOptions, Address, CompileOptions, dict[str, Any]]:
    """The options by whose they are. Raises DeployError for one that nobody knows."""
    kinds: dict[str, Any] = {"root": None, "include": None}
    for kind in (DeployOptions, Address, CompileOptions):
        kinds.update((item.name, kind) for item in fields(kind) if item.init)
    given: dict[Any, dict[str, Any]] = {kind: {} for kind in (DeployOptions, Address, CompileOptions, None)}
    for name, value in options.items():
        if name not in kinds:
            from difflib import get_close_matches

            near = get_close_matches(name, kinds, 1)
            raise DeployError(f"deploy has no option {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        given[kinds[name]][name] = value
    compile_options = CompileOptions.of(given[CompileOptions])
    return DeployOptions(**given[DeployOptions]), Address(**given[Address]), compile_options, given[None]


def _graph_and_params(
    workflow: Any, params: Mapping[str, Any], root: Path | None, include: Sequence[str]
) -> tuple[Graph, dict[str, Any]]:
    """The packed graph, and the parameters that go with the run, checked, as Python values."""
    from grandpa_kfp_runtime.typespec import TypeSpec

    from ..compiling import packed
    from ..engine.parameters import bind_parameters

    sent = dict(params)
    fixed: dict[str, Any] = {}
    if not isinstance(workflow, Graph):
        from ..authoring.workflows import as_workflow

        workflow = as_workflow(workflow)
        own = {item.name: item for item in workflow.parameters}
        fixed = {name: sent.pop(name) for name in list(sent) if name in own and own[name].static}
        sent = {name: own[name].convert(value) if name in own else value for name, value in sent.items()}
        replaced = {name: value for name, value in sent.items() if isinstance(value, str) and _is_rewritten(value)}
        fixed |= replaced  # as a default it travels so that the cluster leaves it alone
        sent = {name: value for name, value in sent.items() if name not in replaced}
    graph = packed(workflow, fixed, root=root, include=include)
    bound = bind_parameters(graph, sent, _loader(sent))
    for name, value in sent.items():
        spec: TypeSpec = next(item.type for item in graph.parameters if item.name == name)
        if isinstance(value, str) and _is_rewritten(value):
            raise ParameterError(f"parameter {name} ({spec}) holds `{{{{`, `}}}}` or `$$(`, which the cluster replaces")
    return graph, {name: bound[name].value for name in sent}


def _loader(sent: Mapping[str, Any]) -> Callable[[str], Any]:
    """Classes by name: those of the values themselves first, which may be of a file that is no module."""
    from grandpa_kfp_runtime.parameters import load_class

    own = {f"{type(value).__module__}:{type(value).__qualname__}": type(value) for value in sent.values()}
    return lambda name: own[name] if name in own else load_class(name)


def _is_rewritten(text: str) -> bool:
    return "{{" in text or "}}" in text or "$$(" in text


def _as_kfp(graph: Graph, compiled: Compiled, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as KFP carries them: its own type where there is one, else JSON text."""
    from grandpa_kfp_runtime.parameters import kfp_type, to_json

    declared = {item.name: item.type for item in compiled.pipeline.root.parameters}
    specs = {item.name: item.type for item in graph.parameters}
    sent = {}
    for name, value in values.items():
        data = to_json(value, specs[name])
        sent[name] = data if kfp_type(specs[name]) == declared.get(name) else json.dumps(data, ensure_ascii=False)
    return sent
