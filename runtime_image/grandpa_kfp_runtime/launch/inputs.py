"""A task's inputs: from the parameter values that KFP hands over to Python values."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contract import ABSENT, Input, Interface
from ..errors import CodecError, ObjectCorrupt, ObjectGone, ParameterError, PayloadError, StoreError
from ..stores.base import Store
from ..typespec import Json
from ..values.handles import from_handle
from ..values.summaries import summary
from .executor_io import ExecutorInput
from .records import producer_of

Tell = Callable[[Input, str, float], None]
"""Told of each decoded input: a short text about its value, the seconds it took."""


def decode_inputs(
    inputs: Sequence[Input],
    given: Mapping[str, Json],
    store: Store,
    load: Callable[[str], Any],
    scratch: Path,
    run_id: str,
    tell: Tell,
) -> dict[str, Any]:
    """The values by input name.

    given: parameter values as KFP has them, of artifacts their local paths; load: finds the classes that types name;
    scratch: where values that are files go; run_id: whose records may name the producer of an object that is gone.

    A handle that stands for an output that was not made gives no value.
    Every error names the input: ObjectGone, ObjectCorrupt, the store's others, CodecError,
    ParameterError, PayloadError for an input that is missing.
    """
    missing = [item.name for item in inputs if item.name not in given]
    if missing:
        raise PayloadError(f"the inputs {', '.join(missing)} are missing in the executor input")
    values: dict[str, Any] = {}
    for item in inputs:
        begun = time.perf_counter()
        if item.kind == "handle" and given[item.name] in ("", ABSENT):
            tell(item, "was not made", 0.0)
            continue
        try:
            value = _decode(item, given[item.name], store, load, scratch)
        except (ObjectGone, ObjectCorrupt) as error:
            raise type(error)(f"input {item.name}: {error}{whence(store, run_id, given[item.name])}") from error
        except (StoreError, CodecError, ParameterError) as error:
            raise type(error)(f"input {item.name}: {error}") from error
        values[item.name] = value
        tell(item, summary(value), time.perf_counter() - begun)
    return values


def _decode(item: Input, given: Json, store: Store, load: Callable[[str], Any], scratch: Path) -> Any:
    if item.kind in ("outcome", "failure"):
        return given in ("", ABSENT)
    if item.kind == "handle":
        if not isinstance(given, str):
            raise CodecError(f"a handle is a text, but {given!r} arrived")
        return from_handle(given, store, scratch=scratch)
    if item.kind == "file":
        return _local_file(given)
    if item.kind == "json":
        given = _from_json(given)
    if item.type is None:
        return given
    from ..parameters import convert

    return convert(given, item.type, load)


def _local_file(given: Json) -> Path:
    place = Path(given)
    if not given or not place.exists():
        raise StoreError(f"its file {given or 'has no place here, it'} was not downloaded")
    return place


def _from_json(text: Json) -> Json:
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise ParameterError(f"must be JSON text, but {text!r} is not ({error})") from error


def whence(store: Store, run_id: str, handle: Json) -> str:
    """What to say of an object that is gone: which task of the run made it, or that none did."""
    task = producer_of(store, run_id, str(handle))
    if task:
        return f". The task {task} made it in this run"
    return (
        ". No task of this run made it, so Kubeflow took the producer's result from its cache: "
        "compile or deploy with a higher --epoch, and everything runs anew"
    )


def given_handles(interface: Interface, given: ExecutorInput) -> dict[str, str]:
    """What each input came as, for records; a raw value as its JSON text."""
    found = {}
    for item in interface.inputs:
        if item.name in given.values:
            value = given.values[item.name]
            found[item.name] = value if isinstance(value, str) else json.dumps(value)
    return found
