"""What one attempt at a task logged, as data with both directions of its JSON form.

It stands in a task's `done` record and in a run's record, and is read back from there: by `inspect`, and by an engine
that takes a result from an earlier run and shows again what that had logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..typespec import Json
from .checks import from_json_number, to_json_number


class Point(NamedTuple):
    """One value of a metric. step: the user's, None without one; at: seconds since the epoch."""

    value: float
    step: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one metric. count, least, most: of all that were logged, NaN left out of the latter two;
    points: some of them in order, the first and the last always."""

    count: int
    least: float
    most: float
    points: tuple[Point, ...]

    @property
    def last(self) -> float:
        return self.points[-1].value

    def to_json(self) -> Json:
        points = [[to_json_number(point.value), point.step, point.at] for point in self.points]
        bounds = {"least": to_json_number(self.least), "most": to_json_number(self.most)}
        return {"count": self.count, **bounds, "points": points} if self.count > 1 else {"points": points}

    @classmethod
    def from_json(cls, data: Json) -> Series:
        points = tuple(Point(from_json_number(value), step, at) for value, step, at in data["points"])
        only = points[-1].value
        return cls(
            data.get("count", len(points)),
            from_json_number(data.get("least", only)),
            from_json_number(data.get("most", only)),
            points,
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something to look at: an object of its own, here its handle. form: `html`, `markdown`, `figure`,
    `classification`, else `value`; facts: type, shape or columns, size, key; output: the output that it is."""

    form: str
    handle: str = ""
    facts: Mapping[str, Json] = field(default_factory=dict)
    output: str = ""

    def to_json(self) -> Json:
        output = {"output": self.output} if self.output else {}
        return {"form": self.form, "handle": self.handle, "facts": dict(self.facts), **output}

    @classmethod
    def from_json(cls, data: Json) -> Artifact:
        return cls(data["form"], data["handle"], data.get("facts", {}), data.get("output", ""))


class Bar(NamedTuple):
    """How far a `ProgressBar` is. total: 0 where nobody knows; began, at: seconds since the epoch."""

    done: float
    total: float
    began: float
    at: float

    @property
    def left_s(self) -> float | None:
        """Estimated seconds that it still takes, None where nobody can tell.

        >>> Bar(25, 100, 0.0, 10.0).left_s
        30.0
        """
        if not 0 < self.done <= self.total:
            return None
        return (self.at - self.began) * (self.total - self.done) / self.done

    def to_json(self) -> Json:
        return list(self)

    @classmethod
    def from_json(cls, data: Json) -> Bar:
        return cls(*map(float, data))


@dataclass(frozen=True, slots=True)
class Logged:
    """Metrics, parameters, artifacts and progress bars by name, in the order they came first.

    >>> logged = Logged({"loss": Series(1, 0.5, 0.5, (Point(0.5, 1, 0.0),))}, {"rate": 0.1})
    >>> Logged.from_json(logged.to_json()) == logged
    True
    """

    metrics: Mapping[str, Series] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    bars: Mapping[str, Bar] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.metrics or self.params or self.artifacts or self.bars)

    def last(self) -> dict[str, float]:
        """The last value of each metric."""
        return {name: series.last for name, series in self.metrics.items()}

    def to_json(self) -> Json:
        """What is empty is left out."""
        parts: dict[str, Json] = {
            "metrics": {name: series.to_json() for name, series in self.metrics.items()},
            "params": dict(self.params),
            "artifacts": {name: artifact.to_json() for name, artifact in self.artifacts.items()},
            "bars": {name: bar.to_json() for name, bar in self.bars.items()},
        }
        return {name: part for name, part in parts.items() if part}

    @classmethod
    def from_json(cls, data: Json) -> Logged:
        """What `to_json` wrote, None included. Raises KeyError, TypeError, ValueError, IndexError for anything else."""
        data = data or {}
        return cls(
            {name: Series.from_json(item) for name, item in data.get("metrics", {}).items()},
            dict(data.get("params", {})),
            {name: Artifact.from_json(item) for name, item in data.get("artifacts", {}).items()},
            {name: Bar.from_json(item) for name, item in data.get("bars", {}).items()},
        )

    @classmethod
    def of_record(cls, record: Json) -> Logged:
        """What the task of a `done` record had logged; nothing where the record says nothing that can be read."""
        try:
            return cls.from_json(record.get("logged"))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return cls()


NOTHING_LOGGED = Logged()
