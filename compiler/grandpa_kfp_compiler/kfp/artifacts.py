"""Which artifacts a task declares: known when the pipeline is compiled, since KFP wants them in its component.

Each output has one, `<output>-preview`, of the type that the output's annotation is drawn in. A task whose code
refers to `log_metric` or `log_params` has `logged-metrics` besides, one that refers to `log_artifact` has
`logged-artifacts`; a plain task has neither. A fused step has `fused-tasks`. The launcher fills in what is declared.
"""

from __future__ import annotations

from collections.abc import Iterable

from grandpa_kfp_runtime.contract import FUSED, FUSED_TASKS, LOGGED_ARTIFACTS, LOGGED_METRICS
from grandpa_kfp_runtime.launch.executor_io import PREVIEW_SUFFIX
from grandpa_kfp_runtime.logged.kinds import ARTIFACT, HTML, METRICS, SCHEMAS
from grandpa_kfp_runtime.typespec import NONE, TypeSpec

from ..graph import Call
from ..verify.edges import output_type


def artifacts_of(call: Call, classes: Iterable[tuple[str, ...]]) -> tuple[tuple[str, str], ...]:
    """(name, schema title) of each artifact of a task. classes: what the code of the instances it makes refers to.

    >>> from grandpa_kfp_compiler.graph import PythonNode
    >>> artifacts_of(Call("train", PythonNode("m:train", "train", logs=("log_metric",))), ())
    (('result-preview', 'system.Artifact'), ('logged-metrics', 'system.Metrics'))
    """
    outputs = tuple((f"{name}{PREVIEW_SUFFIX}", schema_of(output_type(call, name))) for name in call.node.outputs)
    logs = {*call.node.logs, *(name for names in classes for name in names)}
    metrics = ((LOGGED_METRICS, METRICS),) if logs & {"log_metric", "log_params"} else ()
    pages = ((LOGGED_ARTIFACTS, HTML),) if "log_artifact" in logs else ()
    tasks = ((FUSED_TASKS, HTML),) if call.node.key.startswith(FUSED) else ()
    return (*outputs, *metrics, *pages, *tasks)


def schema_of(type_: TypeSpec) -> str:
    """The artifact type that draws a value of this type; `Html | None` is drawn as `Html` is.

    >>> schema_of(TypeSpec("int")), schema_of(TypeSpec("union", (TypeSpec("matplotlib.figure:Figure"), NONE)))
    ('system.Artifact', 'system.HTML')
    """
    if type_.name == "union":
        found = {schema_of(member) for member in type_.args if member != NONE}
        return found.pop() if len(found) == 1 else ARTIFACT
    return next((SCHEMAS[name] for name in (type_.name, *type_.bases) if name in SCHEMAS), ARTIFACT)
