"""Values in the forms that containers of other people read: a parameter's text, an artifact's file.

The launcher exports outputs so, for tasks of a pipeline that a container reads; the local engine writes the files of a
container's inputs so. How a value becomes a file:

    Path                       the file or folder itself
    bytes, bytearray           as they are
    str                        its text, in UTF-8
    a DataFrame of pandas      CSV, without the index
    an array of NumPy          NumPy's own format, `.npy`
    what JSON gives back       JSON
    anything else              a pickle
"""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .contract import Export
from .errors import CodecError, TaskError
from .task import part
from .typespec import Json
from .values.codecs import is_json_exact

_PICKLE_PROTOCOL = 4
"""What Python 3.8 and everything since reads."""


def exported(export: Export, results: Mapping[str, Any]) -> Any:
    """The value that is exported. Raises TaskError where the output has no such part."""
    value = results[export.output]
    return part(value, export.path, f"output {export.output}") if export.path else value


def parameter_text(value: Any, type_: str, name: str) -> str:
    """What an output parameter's file holds. Raises TaskError for a value that KFP's type cannot hold.

    >>> parameter_text(3, "NUMBER_DOUBLE", "rate"), parameter_text("a", "STRING", "name")
    ('3', 'a')
    """
    value = _plain(value)
    right = {
        "STRING": isinstance(value, str),
        "NUMBER_INTEGER": type(value) is int or (type(value) is float and value.is_integer()),
        "NUMBER_DOUBLE": type(value) in (int, float),
        "BOOLEAN": type(value) is bool,
        "LIST": isinstance(value, list | tuple),
        "STRUCT": isinstance(value, dict),
    }
    if not right[type_]:
        raise TaskError(f"{name} is read by a container as {_WORDS[type_]}, but is {type(value).__name__}")
    if type_ == "STRING":
        return str(value)
    if isinstance(value, int | float) and not math.isfinite(value):
        raise TaskError(f"{name} is read by a container as {_WORDS[type_]}, but is {value}")
    if type(value) is float and type_ == "NUMBER_INTEGER":
        value = int(value)
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{name} is read by a container as {_WORDS[type_]}, and JSON cannot hold it: {error}") from None


_WORDS = {
    "STRING": "a text", "NUMBER_INTEGER": "a whole number", "NUMBER_DOUBLE": "a number", "BOOLEAN": "true or false",
    "LIST": "a list", "STRUCT": "a dict",
}  # fmt: skip


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return value


def write_artifact(value: Any, place: Path) -> None:
    """Writes the file, or folder, that the value is for other people; see the module.

    Raises CodecError for a value that cannot be written, OSError for a place that cannot.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, Path):
        _copy(value, place)
        return
    kind = type(value).__module__.partition(".")[0]
    if kind == "pandas" and hasattr(value, "to_csv"):
        value.to_csv(place, index=False)
    elif kind == "numpy" and type(value).__name__ == "ndarray" and not value.dtype.hasobject:
        import numpy

        with place.open("wb") as file:
            numpy.save(file, value)
    else:
        place.write_bytes(as_bytes(value))


def as_bytes(value: Any) -> bytes:
    """A value's file. Raises CodecError for what cannot be pickled.

    >>> as_bytes("ä"), as_bytes({"a": [1, 2.5]}), as_bytes((1, 2))[:2]
    (b'\\xc3\\xa4', b'{"a": [1, 2.5]}', b'\\x80\\x04')
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if is_json_exact(value):
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        return pickle.dumps(value, _PICKLE_PROTOCOL)
    except Exception as error:  # whatever a user's own objects raise
        raise CodecError(f"a {type(value).__name__} cannot be written to a file: {error}") from error


def _copy(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, place, symlinks=False, dirs_exist_ok=True)
    elif source.exists():
        shutil.copyfile(source, place)
        os.chmod(place, 0o755 if os.access(source, os.X_OK) else 0o644)
    else:
        raise CodecError(f"there is no file {source}: write it before the node returns")


def metadata_of(value: Any, place: Path) -> dict[str, Json]:
    """What the UI shows beside an exported artifact: its type and its size."""
    size = place.stat().st_size if place.is_file() else sum(item.stat().st_size for item in place.rglob("*"))
    return {"type": type(value).__name__, "size_bytes": size}
