"""Handwritten digits: load, split, train two models side by side, evaluate, choose, report.

grandpa run samples/digits/pipeline.py -p test_share=0.3
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from grandpa_kfp import Component, Node, Workflow, current, launch

Array = np.ndarray


class Score(NamedTuple):
    """How well one model did on the held-out images."""

    name: str
    accuracy: float
    confusion: list[list[int]]


@Node(outputs=("images", "labels"))
def load() -> tuple[Array, Array]:
    """The 1,797 images of 8 x 8 pixels that scikit-learn brings along."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(labels)


@Node(outputs=("train_x", "test_x", "train_y", "test_y"))
def split(images: Array, labels: Array, test_share: float, seed: int) -> tuple[Array, Array, Array, Array]:
    from sklearn.model_selection import train_test_split

    parts = train_test_split(images, labels, test_size=test_share, random_state=seed, stratify=labels)
    train_x, test_x, train_y, test_y = map(np.asarray, parts)
    return train_x, test_x, train_y, test_y


@Node(cpu="1", memory="1Gi", retries=1)
def train_forest(x: Array, y: Array, trees: int, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_estimators=trees, random_state=seed).fit(x, y)


@Node(cpu="1", memory="1Gi", retries=1)
def train_vectors(x: Array, y: Array, penalty: float) -> Any:
    from sklearn.svm import SVC

    return SVC(C=penalty, gamma="scale").fit(x, y)


@Node
def evaluate(name: str, model: Any, x: Array, y: Array) -> Score:
    from sklearn.metrics import accuracy_score, confusion_matrix

    guesses = model.predict(x)
    return Score(name, float(accuracy_score(y, guesses)), confusion_matrix(y, guesses).tolist())


@Node
def choose(scores: list[Score]) -> Score:
    """The score with the highest accuracy; the first of equals."""
    return max(scores, key=lambda score: score.accuracy)


@Node
def report(best: Score) -> Path:
    """The winner's confusion matrix as a picture, and a page that shows it."""
    from matplotlib.figure import Figure

    folder = current().scratch_dir() / "report"
    folder.mkdir()
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.array(best.confusion), cmap="Blues")
    for row, counts in enumerate(best.confusion):
        for column, count in enumerate(counts):
            axes.text(column, row, str(count), ha="center", va="center")
    axes.set(
        title=f"{best.name}: {best.accuracy:.1%} right",
        xlabel="guessed digit",
        ylabel="true digit",
        xticks=range(10),
        yticks=range(10),
    )
    figure.savefig(folder / "confusion.png", metadata={"Software": None})
    page = f"<h1>{best.name}</h1><p>{best.accuracy:.1%} of the held-out digits are right.</p>"
    (folder / "index.html").write_text(page + '<img src="confusion.png">', encoding="utf-8")
    return folder


@Node
def summary(best: Score, page: Path) -> dict[str, Any]:
    files = sorted(path.name for path in page.iterdir())
    return {"model": best.name, "accuracy": round(best.accuracy, 3), "report": files}


@Component
def candidate(name: str, model: Any, x: Array, y: Array) -> Score:
    return evaluate(name, model, x, y)


@Workflow
def digits(test_share: float = 0.25, trees: int = 60, penalty: float = 10.0, seed: int = 7) -> dict[str, Any]:
    """Train two classifiers on handwritten digits and keep the better one.

    Args:
        test_share: share of the images held out for the test, between 0 and 1
        trees: number of trees in the forest
        penalty: C of the support vector machine
        seed: seed of the split and of the forest
    """
    images, labels = load()
    train_x, test_x, train_y, test_y = split(images, labels, test_share, seed)
    forest = train_forest(train_x, train_y, trees, seed)
    vectors = train_vectors(train_x, train_y, penalty)
    best = choose(
        [
            candidate("random forest", forest, test_x, test_y),
            candidate("support vectors", vectors, test_x, test_y),
        ]
    )
    return summary(best, report(best))


if __name__ == "__main__":
    launch()
