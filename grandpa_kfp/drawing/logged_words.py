"""What a task logged, in lines for a terminal: for `grandpa inspect` and for the progress of a run."""

from __future__ import annotations

from collections.abc import Mapping

from grandpa_kfp_runtime.logged.entries import Artifact, Logged, Series

from .words import size_text

_MOST = 4


def number_text(value: float) -> str:
    """A number in a few digits.

    >>> number_text(0.97234567), number_text(1000000), number_text(float("nan"))
    ('0.97235', '1000000', 'nan')
    """
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def metrics_text(last: Mapping[str, float]) -> str:
    """The last values of metrics in a few words, empty for none.

    >>> metrics_text({"accuracy": 0.97, "loss": 0.125})
    'accuracy 0.97, loss 0.125'
    """
    shown = ", ".join(f"{name} {number_text(value)}" for name, value in list(last.items())[:_MOST])
    return f"{shown}, and {len(last) - _MOST} more" if len(last) > _MOST else shown


def logged_lines(logged: Logged) -> list[str]:
    """All of it, a line each: metrics, then parameters, then artifacts.

    >>> logged_lines(Logged(params={"rate": 0.1}, artifacts={"page": Artifact("html", "@key", {"size_bytes": 192})}))
    ['rate = 0.1 (parameter)', 'page: html, 192 B, @key']
    """
    return [
        *(f"{name} = {_series_text(series)}" for name, series in logged.metrics.items()),
        *(f"{name} = {value} (parameter)" for name, value in logged.params.items()),
        *(f"{name}: {_artifact_text(artifact)}" for name, artifact in logged.artifacts.items()),
    ]


def _series_text(series: Series) -> str:
    step = series.points[-1].step
    text = number_text(series.last) + ("" if step is None else f" at step {step}")
    if series.count == 1:
        return text
    return f"{text} ({series.count:,} values, {number_text(series.least)} to {number_text(series.most)})"


def _artifact_text(artifact: Artifact) -> str:
    """What it is; its own text where it is an output, which is shown elsewhere."""
    facts = artifact.facts
    what = str(facts.get("summary") or "") if artifact.form == "value" else artifact.form
    size = facts.get("size_bytes")
    handle = artifact.handle if artifact.handle.startswith("@") else ""
    parts = (
        what,
        size_text(size) if isinstance(size, int) else "",
        f"output {artifact.output}" if artifact.output else handle,
    )
    return ", ".join(filter(None, parts)) or "value"
