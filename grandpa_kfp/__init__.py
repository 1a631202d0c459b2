"""grandpa-kfp: write ordinary Python nodes, run them on your machine, compile the same file to Kubeflow Pipelines.

The public names; each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grandpa_kfp_runtime.context import current as current
    from grandpa_kfp_runtime.context import log_artifact as log_artifact
    from grandpa_kfp_runtime.context import log_metric as log_metric
    from grandpa_kfp_runtime.context import log_params as log_params
    from grandpa_kfp_runtime.errors import CodecError as CodecError
    from grandpa_kfp_runtime.errors import CompileError as CompileError
    from grandpa_kfp_runtime.errors import ConfigError as ConfigError
    from grandpa_kfp_runtime.errors import ContainerError as ContainerError
    from grandpa_kfp_runtime.errors import DeployError as DeployError
    from grandpa_kfp_runtime.errors import GrandpaError as GrandpaError
    from grandpa_kfp_runtime.errors import GraphError as GraphError
    from grandpa_kfp_runtime.errors import LoadError as LoadError
    from grandpa_kfp_runtime.errors import ObjectCorrupt as ObjectCorrupt
    from grandpa_kfp_runtime.errors import ObjectGone as ObjectGone
    from grandpa_kfp_runtime.errors import PackagesError as PackagesError
    from grandpa_kfp_runtime.errors import ParameterError as ParameterError
    from grandpa_kfp_runtime.errors import PayloadError as PayloadError
    from grandpa_kfp_runtime.errors import RunCancelled as RunCancelled
    from grandpa_kfp_runtime.errors import StoreDenied as StoreDenied
    from grandpa_kfp_runtime.errors import StoreError as StoreError
    from grandpa_kfp_runtime.errors import StoreFull as StoreFull
    from grandpa_kfp_runtime.errors import StoreUnavailable as StoreUnavailable
    from grandpa_kfp_runtime.errors import TaskError as TaskError
    from grandpa_kfp_runtime.errors import TaskTimeout as TaskTimeout
    from grandpa_kfp_runtime.errors import TraceError as TraceError
    from grandpa_kfp_runtime.failure_info import FailureInfo as FailureInfo
    from grandpa_kfp_runtime.logged.kinds import ClassificationMetrics as ClassificationMetrics
    from grandpa_kfp_runtime.logged.kinds import Figure as Figure
    from grandpa_kfp_runtime.logged.kinds import Html as Html
    from grandpa_kfp_runtime.logged.kinds import Markdown as Markdown
    from grandpa_kfp_runtime.logged.kinds import Metrics as Metrics
    from grandpa_kfp_runtime.logged.progress import ProgressBar as ProgressBar
    from grandpa_kfp_runtime.values.codecs import register_codec as register_codec
    from grandpa_kfp_runtime.values.files import File as File

    from . import sync as sync
    from .api import TemplateParser as TemplateParser
    from .api import compile as compile
    from .api import run as run
    from .authoring.components import Component as Component
    from .authoring.control_flow import collect as collect
    from .authoring.control_flow import each as each
    from .authoring.control_flow import either as either
    from .authoring.control_flow import elsewhen as elsewhen
    from .authoring.control_flow import is_in as is_in
    from .authoring.control_flow import otherwise as otherwise
    from .authoring.control_flow import when as when
    from .authoring.exits import on_exit as on_exit
    from .authoring.generators import GeneratorNode as GeneratorNode
    from .authoring.growing import resolve as resolve
    from .authoring.nodes import Node as Node
    from .authoring.refs import Ref as Ref
    from .authoring.statics import Static as Static
    from .authoring.task_nodes import TaskNode as TaskNode
    from .authoring.tracing import trace as trace
    from .authoring.volumes import config_map_volume as config_map_volume
    from .authoring.volumes import empty_dir as empty_dir
    from .authoring.volumes import ephemeral_volume as ephemeral_volume
    from .authoring.volumes import pvc as pvc
    from .authoring.volumes import secret_volume as secret_volume
    from .authoring.workflows import Workflow as Workflow
    from .containers.authoring import ContainerNode as ContainerNode
    from .containers.loading import kfp_component as kfp_component
    from .deployment.deploying import deploy as deploy
    from .deployment.inspecting import inspect_run as inspect_run
    from .engine import events as events
    from .engine.cancelling import CancelToken as CancelToken
    from .launching import launch as launch
    from .tasks import Executor as Executor
    from .tasks import task_executor as task_executor

_ERRORS = (
    "CodecError", "CompileError", "ConfigError", "ContainerError", "DeployError", "GrandpaError", "GraphError",
    "LoadError", "ObjectCorrupt", "ObjectGone", "PackagesError", "ParameterError", "PayloadError", "RunCancelled",
    "StoreDenied", "StoreError", "StoreFull", "StoreUnavailable", "TaskError", "TaskTimeout", "TraceError",
)  # fmt: skip
_CONTROL_FLOW = ("collect", "each", "either", "elsewhen", "is_in", "otherwise", "when")
_LOGGED = ("ClassificationMetrics", "Figure", "Html", "Markdown", "Metrics")
_VOLUMES = ("config_map_volume", "empty_dir", "ephemeral_volume", "pvc", "secret_volume")
_HOMES = {
    "CancelToken": "grandpa_kfp.engine.cancelling",
    "Component": "grandpa_kfp.authoring.components",
    "ContainerNode": "grandpa_kfp.containers.authoring",
    "Executor": "grandpa_kfp.tasks",
    "FailureInfo": "grandpa_kfp_runtime.failure_info",
    "File": "grandpa_kfp_runtime.values.files",
    "GeneratorNode": "grandpa_kfp.authoring.generators",
    "Node": "grandpa_kfp.authoring.nodes",
    "ProgressBar": "grandpa_kfp_runtime.logged.progress",
    "Ref": "grandpa_kfp.authoring.refs",
    "Static": "grandpa_kfp.authoring.statics",
    "TaskNode": "grandpa_kfp.authoring.task_nodes",
    "TemplateParser": "grandpa_kfp.api",
    "Workflow": "grandpa_kfp.authoring.workflows",
    "compile": "grandpa_kfp.api",
    "current": "grandpa_kfp_runtime.context",
    "deploy": "grandpa_kfp.deployment.deploying",
    "events": "grandpa_kfp.engine.events",
    "inspect_run": "grandpa_kfp.deployment.inspecting",
    "kfp_component": "grandpa_kfp.containers.loading",
    "launch": "grandpa_kfp.launching",
    "on_exit": "grandpa_kfp.authoring.exits",
    "register_codec": "grandpa_kfp_runtime.values.codecs",
    "resolve": "grandpa_kfp.authoring.growing",
    "run": "grandpa_kfp.api",
    "sync": "grandpa_kfp.sync",
    "task_executor": "grandpa_kfp.tasks",
    "trace": "grandpa_kfp.authoring.tracing",
    **dict.fromkeys(("log_artifact", "log_metric", "log_params"), "grandpa_kfp_runtime.context"),
    **dict.fromkeys(_CONTROL_FLOW, "grandpa_kfp.authoring.control_flow"),
    **dict.fromkeys(_LOGGED, "grandpa_kfp_runtime.logged.kinds"),
    **dict.fromkeys(_VOLUMES, "grandpa_kfp.authoring.volumes"),
    **dict.fromkeys(_ERRORS, "grandpa_kfp_runtime.errors"),
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'grandpa_kfp' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home)
    value = module if home.endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _draw_in_notebooks() -> None:
    """In a running IPython, `display(graph)` and `display(run)` draw."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "display_formatter", None) is not None:
        from .drawing import register_formatters

        register_formatters(shell)


_draw_in_notebooks()
