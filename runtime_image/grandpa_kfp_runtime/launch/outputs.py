"""A task's outputs on their way out: objects into the store, and what the UI is to say about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..errors import CodecError, TaskError, TraceError
from ..redaction import Redactor
from ..stores.base import Data, Store, buffers_of
from ..typespec import Json
from ..values.frames import view
from ..values.handles import to_handle
from ..values.objects import read_header
from ..values.pickling import ClassFingerprint
from .executor_io import PREVIEW_SUFFIX, ExecutorInput

_INLINE_CODEC = "inline"


@dataclass(frozen=True, slots=True)
class Output:
    """facts: size, codec, key; preview: the artifact's file, None where none could be made; metadata: the artifact's,
    by default the facts."""

    name: str
    handle: str
    facts: dict[str, Json]
    preview: str | None = None
    metadata: Mapping[str, Json] | None = None


def store_output(
    name: str, value: Any, store: Store, inline_limit: int, class_fingerprint: ClassFingerprint | None = None
) -> Output:
    """Encodes and writes one output. Raises TaskError for a value that cannot be stored; the store's errors."""
    measured = _Measured(store)
    try:
        handle = to_handle(
            value,
            cast(Store, measured),  # writing is all that happens to it here
            inline_limit=inline_limit,
            name=name,
            class_fingerprint=class_fingerprint,
        )
    except (CodecError, TraceError) as error:
        raise TaskError(str(error)) from error
    return Output(name, handle, measured.facts(handle))


class _Measured:
    """A store that keeps in mind what was written last."""

    __slots__ = ("_codec", "_size_bytes", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._codec = _INLINE_CODEC
        self._size_bytes = 0

    def write(self, data: Data) -> str:
        parts = buffers_of(data)
        self._size_bytes = sum(part.nbytes for part in parts)
        self._codec = read_header(view(parts[0]))["codec"]
        return self._store.write(data)

    def facts(self, handle: str) -> dict[str, Json]:
        facts: dict[str, Json] = {"size_bytes": self._size_bytes or len(handle), "codec": self._codec}
        if handle.startswith("@"):
            facts["key"] = handle[1:]
        return facts


def with_preview(
    output: Output, value: Any, given: ExecutorInput, redactor: Redactor, warn: Callable[[str], None]
) -> Output:
    """The output with its preview. One that cannot be made is a warning: the value itself is safe."""
    from .previews import form_for, preview

    artifact = given.artifacts.get(output.name + PREVIEW_SUFFIX)
    if artifact is None:
        return output
    try:
        made = preview(value, form_for(artifact.schema_title))
        text = redactor.text(made.text)
        facts: Mapping[str, Json] = redactor.json(
            _facts(artifact.schema_title, value, {**made.metadata, **output.facts})
        )
    except Exception as error:  # a user's __repr__ or a library: whatever it raises
        warn(f"no preview of {output.name}: {type(error).__name__}: {error}")
        return output
    return Output(output.name, output.handle, output.facts, text, facts)


def _facts(schema_title: str, value: Any, facts: Mapping[str, Json]) -> Mapping[str, Json]:
    """The artifact's metadata: of metrics their numbers and nothing else, since the UI compares every entry."""
    from ..logged.checks import to_json_number
    from ..logged.kinds import CLASSIFICATION, METRICS, ClassificationMetrics, Metrics

    if schema_title == METRICS:  # a value that is none, whatever its annotation says, has nothing to compare
        numbers = value if isinstance(value, Metrics) else {}
        return {name: to_json_number(number) for name, number in numbers.items()}
    if schema_title == CLASSIFICATION and isinstance(value, ClassificationMetrics):
        return {**facts, **value.metadata()}
    return facts
