"""What a node may return to be drawn: metrics, classification metrics, pages, texts in Markdown, figures.

Values like any other: they travel to consumers, and they are frozen or plain, so that any engine may hand them on.
`SCHEMAS` tells the compiler which of KFP's artifact types draws which of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..typespec import Json
from .checks import checked_name, number

_CURVE_POINTS = 1_000
_LABEL_CHARACTERS = 200


class Metrics(dict[str, float]):
    """Numbers by name, drawn as a table and compared across runs. A dict: consumers read `metrics["accuracy"]`.

    Numbers of NumPy and others become Python's own. Raises TypeError for what is no number.

    >>> Metrics(accuracy=0.97, loss=0.1)
    Metrics({'accuracy': 0.97, 'loss': 0.1})
    >>> Metrics({"top 5/accuracy": 1})["top 5/accuracy"]
    1
    """

    __slots__ = ()

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any) -> None:
        given = {**dict(values), **named}
        super().__init__({checked_name(name, "Metrics"): number(value, "Metrics") for name, value in given.items()})

    def __repr__(self) -> str:
        return f"Metrics({dict(self)!r})"


@dataclass(frozen=True, slots=True, init=False)
class ClassificationMetrics:
    """A confusion matrix, an ROC curve, or both.

    matrix: rows are true classes, columns predicted ones; labels: of the classes, in the same order;
    curve: (false positive rate, true positive rate, threshold) of each point.

    >>> made = ClassificationMetrics([[50, 2], [3, 45]], ["cat", "dog"])
    >>> made.matrix, made.labels
    (((50, 2), (3, 45)), ('cat', 'dog'))
    >>> ClassificationMetrics(roc_curve=([0, 0.1, 1], [0, 0.9, 1], [float("inf"), 0.5, 0])).curve[0]
    (0, 0, 1.5)
    """

    matrix: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]
    curve: tuple[tuple[float, float, float], ...]

    def __init__(
        self,
        confusion_matrix: Sequence[Sequence[Any]] | Any = (),
        labels: Sequence[Any] | Any = (),
        *,
        roc_curve: tuple[Any, Any, Any] | None = None,
    ) -> None:
        """confusion_matrix: square, a list of lists or an array; labels: by default `0`, `1`, ...;
        roc_curve: false positive rates, true positive rates and thresholds, as scikit-learn's `roc_curve`
        returns them. Raises ValueError for sizes that do not fit, TypeError for what are no numbers."""
        matrix = tuple(tuple(_finite(cell, "confusion matrix") for cell in row) for row in confusion_matrix)
        if any(len(row) != len(matrix) for row in matrix):
            raise ValueError(f"a confusion matrix has as many columns as rows, but {[len(row) for row in matrix]}")
        names = tuple(str(label)[:_LABEL_CHARACTERS] for label in labels) or tuple(map(str, range(len(matrix))))
        if len(names) != len(matrix):
            raise ValueError(f"there are {len(names)} labels for {len(matrix)} rows of the confusion matrix")
        if not matrix and roc_curve is None:
            raise ValueError("ClassificationMetrics takes a confusion matrix, an roc_curve, or both")
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "labels", names)
        object.__setattr__(self, "curve", () if roc_curve is None else _curve(*roc_curve))

    def metadata(self) -> dict[str, Json]:
        """As `system.ClassificationMetrics` holds it: what KFP's UI draws."""
        made: dict[str, Json] = {}
        if self.matrix:
            made["confusionMatrix"] = {
                "annotationSpecs": [{"displayName": label} for label in self.labels],
                "rows": [{"row": list(row)} for row in self.matrix],
            }
        if self.curve:
            made["confidenceMetrics"] = [
                {"confidenceThreshold": threshold, "recall": hit, "falsePositiveRate": false}
                for false, hit, threshold in self.curve
            ]
        return made


def _curve(false: Any, hits: Any, thresholds: Any) -> tuple[tuple[float, float, float], ...]:
    columns = [[number(item, "roc_curve") for item in column] for column in (false, hits, thresholds)]
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise ValueError(f"an roc_curve has three lists of one length, but {[len(column) for column in columns]}")
    # scikit-learn begins with an infinite threshold, which neither JSON nor the UI knows
    finite = [item for item in columns[2] if math.isfinite(item)]
    columns[2] = [_bounded(item, finite) for item in columns[2]]
    for column in columns[:2]:
        for item in column:
            _finite(item, "roc_curve")
    points = list(zip(*columns, strict=True))
    every = -(-len(points) // _CURVE_POINTS)
    return tuple(points if every == 1 else [*points[:-1:every], points[-1]])


def _bounded(threshold: float, finite: list[float]) -> float:
    if math.isfinite(threshold):
        return threshold
    if math.isnan(threshold):
        raise ValueError("roc_curve: a threshold is NaN")
    return max(finite, default=0) + 1 if threshold > 0 else min(finite, default=0) - 1


def _finite(value: Any, what: str) -> float:
    plain = number(value, what)
    if not math.isfinite(plain):
        raise ValueError(f"{what}: it holds {plain}, which cannot be drawn")
    return plain


@dataclass(frozen=True, slots=True)
class Html:
    """A page in HTML, which the UI shows as it is, in a sandbox: escape what comes from elsewhere.

    >>> Html("<h1>Digits</h1>")._repr_html_()
    '<h1>Digits</h1>'
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"Html takes a text, but got {type(self.text).__name__}; Figure takes figures")

    def _repr_html_(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Markdown:
    """A text in Markdown, which the UI draws.

    >>> Markdown("**97 %** of the digits are right")
    Markdown(text='**97 %** of the digits are right')
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"Markdown takes a text, but got {type(self.text).__name__}")

    def _repr_markdown_(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, init=False)
class Figure:
    """A figure as it was drawn when this was made: what draws it is needed here alone, not where it is looked at.

    mime: `image/png`, `image/svg+xml`, `text/html`, ...; data: the file's bytes.

    >>> Figure(b"GIF89a...").mime
    'image/gif'
    """

    mime: str
    data: bytes

    def __init__(self, figure: Any) -> None:
        """figure: of matplotlib or seaborn (anything with `savefig`), of PIL, of plotly, altair or bokeh (anything
        with `to_html` or `_repr_html_`), a `Path` of a picture, or a picture's bytes. Raises TypeError for anything
        else; what the library raises while it draws."""
        from .figures import draw

        mime, data = draw(figure)
        object.__setattr__(self, "mime", mime)
        object.__setattr__(self, "data", data)

    def _repr_html_(self) -> str:
        from .figures import html_of

        return html_of(self.mime, self.data)

    def __repr__(self) -> str:
        return f"Figure({self.mime}, {len(self.data):,} bytes)"


HTML = "system.HTML"
MARKDOWN = "system.Markdown"
METRICS = "system.Metrics"
CLASSIFICATION = "system.ClassificationMetrics"
ARTIFACT = "system.Artifact"

SCHEMAS: Mapping[str, str] = {
    f"{__name__}:Metrics": METRICS,
    f"{__name__}:ClassificationMetrics": CLASSIFICATION,
    f"{__name__}:Html": HTML,
    f"{__name__}:Markdown": MARKDOWN,
    f"{__name__}:Figure": HTML,
    "matplotlib.figure:Figure": HTML,
    "PIL.Image:Image": HTML,
    "plotly.graph_objs._figure:Figure": HTML,
}
"""Artifact types by a type's name in a `TypeSpec`; a type without one is a `system.Artifact`."""

_FORMS: Mapping[type, str] = {
    ClassificationMetrics: "classification",
    Html: "html",
    Markdown: "markdown",
    Figure: "figure",
}


def form_of(value: Any) -> str:
    """The form of an artifact with this value; empty for one that is not made to be drawn.

    >>> form_of(Html("<p>")), form_of(5)
    ('html', '')
    """
    return _FORMS.get(type(value), "")
