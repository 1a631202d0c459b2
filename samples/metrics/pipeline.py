"""What a run tells of itself: a loss while it trains, a confusion matrix, a curve and a page. Needs no other package.

grandpa run samples/metrics/pipeline.py -p epochs=20
grandpa inspect
"""

from __future__ import annotations

import html
import math
import random

from grandpa_kfp import (
    ClassificationMetrics,
    Figure,
    Html,
    Metrics,
    Node,
    Workflow,
    launch,
    log_artifact,
    log_metric,
    log_params,
)

Point = tuple[float, float, int]
Model = tuple[float, float, float]


@Node
def points(count: int, seed: int) -> list[Point]:
    """Points of two overlapping clouds: x, y, and which cloud."""
    chance = random.Random(seed)
    return [(chance.gauss(2.0 * cloud, 1.0), chance.gauss(cloud, 1.0), cloud) for cloud in (0, 1) for _ in range(count)]


@Node
def train(data: list[Point], epochs: int, rate: float) -> Model:
    """Logistic regression by gradient descent; logs its loss as it goes, and the curve of it at the end."""
    log_params({"optimizer": "gradient descent", "points": len(data)})
    a = b = c = 0.0
    losses = []
    for epoch in range(epochs):
        errors = [probability((a, b, c), x, y) - cloud for x, y, cloud in data]
        a -= rate * sum(error * x for error, (x, _, _) in zip(errors, data, strict=True)) / len(data)
        b -= rate * sum(error * y for error, (_, y, _) in zip(errors, data, strict=True)) / len(data)
        c -= rate * sum(errors) / len(data)
        losses.append(-sum(math.log(1 - abs(error)) for error in errors) / len(data))
        log_metric("loss", losses[-1], step=epoch)
    log_artifact("loss", curve(losses))
    return a, b, c


@Node(outputs=("metrics", "confusion"))
def evaluate(model: Model, data: list[Point]) -> tuple[Metrics, ClassificationMetrics]:
    chances = [(probability(model, x, y), cloud) for x, y, cloud in data]
    matrix = [[0, 0], [0, 0]]
    for chance, cloud in chances:
        matrix[cloud][chance > 0.5] += 1
    thresholds = [step / 20 for step in range(20, -1, -1)]
    hits, false = (
        [
            sum(chance >= limit for chance, cloud in chances if cloud == wanted) / sum(matrix[wanted])
            for limit in thresholds
        ]
        for wanted in (1, 0)
    )
    accuracy = (matrix[0][0] + matrix[1][1]) / len(data)
    return Metrics(accuracy=accuracy), ClassificationMetrics(
        matrix, ["left", "right"], roc_curve=(false, hits, thresholds)
    )


@Node
def report(model: Model, metrics: Metrics, confusion: ClassificationMetrics) -> Html:
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th>" + "".join(f"<td>{count}</td>" for count in row) + "</tr>"
        for label, row in zip(confusion.labels, confusion.matrix, strict=True)
    )
    a, b, c = model
    return Html(
        "<style>body{font:16px sans-serif}td,th{padding:.4em 1em;border-bottom:1px solid #ccc}</style>"
        f"<h1>{metrics['accuracy']:.1%} right</h1><p>right of {a:.2f} x + {b:.2f} y = {-c:.2f}</p><table>{rows}</table>"
    )


def probability(model: Model, x: float, y: float) -> float:
    a, b, c = model
    return 1 / (1 + math.exp(-(a * x + b * y + c)))


def curve(losses: list[float]) -> Figure:
    """The losses as a line in SVG; a figure of matplotlib would do as well."""
    width, height = 480, 240
    across, up = width / max(1, len(losses) - 1), height / max(losses)
    line = " ".join(f"{index * across:.1f},{height - loss * up:.1f}" for index, loss in enumerate(losses))
    return Figure(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<polyline points="{line}" fill="none" stroke="#1a73e8" stroke-width="2"/></svg>'.encode()
    )


@Workflow
def metrics(epochs: int = 100, rate: float = 0.5, count: int = 200, seed: int = 7) -> Metrics:
    """Tell two clouds of points apart, and show how well that went.

    Args:
        epochs: how often all points are looked at
        rate: of learning
        count: points of each cloud
        seed: of the points to learn from
    """
    model = train(points(count, seed), epochs, rate)
    scores, confusion = evaluate(model, points(count, 99))
    report(model, scores, confusion)
    return scores


if __name__ == "__main__":
    launch()
