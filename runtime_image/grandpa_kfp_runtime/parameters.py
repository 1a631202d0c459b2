"""Workflow parameters: from JSON, from a command line's text, to JSON, by the type that was annotated.

KFP knows text, numbers, booleans, lists and structs, and makes every number a double; the launcher
brings a value back to its annotated type with `convert`. Tracing checks with the same function what a
caller passes, the command line reads `-p name=text` with `parse`.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import json
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from .errors import ParameterError
from .typespec import ANY, NONE, Json, TypeSpec, describe

Load: TypeAlias = "Callable[[str], Any]"
"""Gives the class of a `module:qualname`."""

_KFP_TYPES = {
    "str": "STRING",
    "int": "NUMBER_INTEGER",
    "float": "NUMBER_DOUBLE",
    "bool": "BOOLEAN",
    "list": "LIST",
    "dict": "STRUCT",
}
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "Sequence": list,
    "Iterable": list,
    "Collection": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_MAPPINGS = ("dict", "Mapping")
_FILES = "grandpa_kfp_runtime.values.files"
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_BY_TEXT = {  # classes whose objects are written as one text: module:name -> how to read it
    "pathlib:Path": "",
    "pathlib:PurePath": "",
    "pathlib:PosixPath": "",
    "datetime:date": "fromisoformat",
    "datetime:datetime": "fromisoformat",
    "datetime:time": "fromisoformat",
    "decimal:Decimal": "",
    "uuid:UUID": "",
}


def kfp_type(spec: TypeSpec) -> str | None:
    """KFP's own type for a parameter; None for one that travels as JSON text.

    >>> kfp_type(TypeSpec("int")), kfp_type(TypeSpec("pathlib:Path"))
    ('NUMBER_INTEGER', None)
    """
    return _KFP_TYPES.get(spec.name)


def load_class(name: str) -> Any:
    """The class of a `module:qualname`, imported."""
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


class UnknownClass(Exception):
    """A value can be judged only with a class of the project's, which `no_class` does not import."""


def no_class(name: str) -> NoReturn:
    """A `load` for those who run none of the project's code. Raises UnknownClass."""
    raise UnknownClass(name)


def loader_of(annotation: Any) -> Load:
    """A `load` that knows the classes in an annotation, those inside functions too, and imports others."""
    known: dict[str, Any] = {}
    waiting = [annotation]
    while waiting:
        item = waiting.pop()
        waiting.extend(typing.get_args(item))
        if isinstance(item, type):
            known[describe(item).name] = item
    return lambda name: known[name] if name in known else load_class(name)


def convert(value: Any, spec: TypeSpec, load: Load = load_class) -> Any:
    """The value as the annotated type has it: from KFP, from JSON, or as a caller passed it.

    5.0 becomes 5 where an int is wanted, 2 becomes 2.0 where a float is, in lists and dicts too; Enum
    members come by name, dates by ISO text, dataclasses by their fields. A value that has the type
    already is kept. Raises ParameterError, `must be int, but is 'x'`, for what does not fit.

    >>> convert([1, 2.5], TypeSpec("list", (TypeSpec("float"),)))
    [1.0, 2.5]
    """
    return _Converter(load).convert(value, spec, "")


def to_json(value: Any, spec: TypeSpec = ANY) -> Json:
    """The JSON value that `convert` turns back. Raises ParameterError for what JSON cannot carry.

    >>> import datetime
    >>> to_json(datetime.date(2024, 2, 29))
    '2024-02-29'
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int | str):
        return int(value) if isinstance(value, int) else str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(item) for item in value), key=json.dumps)
    if isinstance(value, Mapping):
        return {_key_to_json(key): to_json(item) for key, item in value.items()}
    names = [describe(base).name for base in type(value).__mro__]
    if any(name in _BY_TEXT for name in names):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    raise ParameterError(
        f"a value of type {type(value).__qualname__} cannot be a workflow's parameter, JSON does not hold it; "
        "pass it to a node as a constant, or make the parameter Static"
    )


def _key_to_json(key: Any) -> str:
    converted = to_json(key)
    return converted if isinstance(converted, str) else json.dumps(converted)


def parse(text: str, spec: TypeSpec, load: Load = load_class) -> Any:
    """The value of `-p name=text`. Raises ParameterError for a text that is none of this type.

    Structures are written as JSON, flat lists also as `1,2,3`; booleans as true/false, yes/no, on/off, 1/0.

    >>> parse("1,2,3", TypeSpec("list", (TypeSpec("int"),)))
    [1, 2, 3]
    """
    name = spec.name
    if name == "str":
        return text
    if name == "any":
        return _json_or_text(text)
    if name == "None":
        if text.strip().lower() in ("", "none", "null"):
            return None
        raise _wrong(spec, text)
    if name == "union":
        return _parse_union(text, spec, load)
    if name == "literal":
        for value in spec.values:
            if text == (value if isinstance(value, str) else json.dumps(value)) or text == str(value):
                return value
        raise _wrong(spec, text)
    if name == "bool":
        lower = text.strip().lower()
        if lower in _TRUE or lower in _FALSE:
            return lower in _TRUE
        raise _wrong(spec, text)
    if name in ("int", "float"):
        return _parse_number(text, spec)
    if spec.values or name in _BY_TEXT:
        return convert(text, spec, load)
    return convert(_structure(text, spec, load), spec, load)


def _parse_number(text: str, spec: TypeSpec) -> int | float:
    try:
        return int(text) if spec.name == "int" else float(text)
    except ValueError:
        raise _wrong(spec, text) from None


def _parse_union(text: str, spec: TypeSpec, load: Load) -> Any:
    # None reads as a word; every text is a str, so that member comes last
    members = sorted(spec.args, key=lambda member: (member.name != "None", member.name == "str"))
    for member in members:
        if member.name == "None" and not text and any(other.name == "str" for other in members):
            continue
        try:
            return parse(text, member, load)
        except ParameterError:
            continue
    raise _wrong(spec, text)


def _structure(text: str, spec: TypeSpec, load: Load) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if spec.name not in _SEQUENCES or text.lstrip().startswith(("[", "{")):
            raise ParameterError(f"must be JSON for {spec}, but is {text!r}") from None
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    items = spec.args[:1] or (ANY,)
    if spec.name == "tuple" and len(spec.args) == len(parts) and spec.args[-1].name != "...":
        return [parse(part, item, load) for part, item in zip(parts, spec.args, strict=True)]
    return [parse(part, items[0], load) for part in parts]


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _wrong(spec: TypeSpec, value: Any, at: str = "") -> ParameterError:
    shown = repr(value)
    shown = shown if len(shown) <= 200 else shown[:197] + "..."
    wanted = f"one of {', '.join(spec.values)}" if spec.values and spec.name != "literal" else str(spec)
    return ParameterError(f"{at + ' ' if at else ''}must be {wanted}, but is {shown}")


class _Converter:
    """One conversion; `at` is the place inside the value, for messages: `[2]["rate"]`."""

    __slots__ = ("_load",)

    def __init__(self, load: Load) -> None:
        self._load = load

    def convert(self, value: Any, spec: TypeSpec, at: str) -> Any:
        name = spec.name
        if name == "any":
            return value
        if name in ("None", "bool", "str", "int", "float"):
            return self._atom(value, spec, at)
        if name == "union":
            return self._union(value, spec, at)
        if name == "literal":
            return self._literal(value, spec, at)
        if name in _SEQUENCES:
            return self._sequence(value, spec, at)
        if name in _MAPPINGS:
            return self._mapping(value, spec, at)
        return self._object(value, spec, at)

    def _atom(self, value: Any, spec: TypeSpec, at: str) -> Any:
        kind = type(value)
        if spec.name == ("None" if value is None else kind.__name__):
            return value
        if spec.name == "float":
            if isinstance(value, int | float) and kind is not bool:
                return float(value)
            if kind is str and value in _NOT_FINITE:
                return _NOT_FINITE[value]
        if spec.name == "int" and kind is not bool:
            if isinstance(value, int) and not isinstance(value, enum.Enum):
                return value
            if isinstance(value, float) and value.is_integer():
                return int(value)
        if spec.name == "str" and isinstance(value, str):
            return value
        raise _wrong(spec, value, at)

    def _union(self, value: Any, spec: TypeSpec, at: str) -> Any:
        names = {"None"} if value is None else {describe(base).name for base in type(value).__mro__}
        for exact in (True, False):
            for member in spec.args:
                if exact and member.name not in names:
                    continue
                try:
                    return self.convert(value, member, at)
                except ParameterError:
                    continue
        raise _wrong(spec, value, at)

    def _literal(self, value: Any, spec: TypeSpec, at: str) -> Any:
        for known in spec.values:
            same_kind = type(known) is type(value) or (type(value) is float and type(known) is int)
            if same_kind and known == value:
                return known
        raise _wrong(spec, value, at)

    def _sequence(self, value: Any, spec: TypeSpec, at: str) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise _wrong(spec, value, at)
        wanted = spec.args
        if spec.name == "tuple" and wanted and wanted[-1].name != "...":
            if len(wanted) != len(value):
                raise _wrong(spec, value, at)
        else:
            wanted = (wanted[0] if wanted else ANY,) * len(value)
        items = [
            self.convert(item, kind, f"{at}[{index}]")
            for index, (item, kind) in enumerate(zip(value, wanted, strict=True))
        ]
        return _SEQUENCES[spec.name](items)

    def _mapping(self, value: Any, spec: TypeSpec, at: str) -> Any:
        if not isinstance(value, Mapping):
            raise _wrong(spec, value, at)
        key_type, item_type = spec.args if len(spec.args) == 2 else (ANY, ANY)
        return {
            self._key(key, key_type, at): self.convert(item, item_type, f"{at}[{key!r}]") for key, item in value.items()
        }

    def _key(self, key: Any, spec: TypeSpec, at: str) -> Any:
        try:
            return self.convert(key, spec, f"{at} key")
        except ParameterError:
            if isinstance(key, str) and spec.name in ("int", "float", "bool", "None", "union"):
                return parse(key, spec, self._load)  # JSON's keys are texts
            raise

    def _object(self, value: Any, spec: TypeSpec, at: str) -> Any:
        if spec.name in (describe(base).name for base in type(value).__mro__):
            return value
        if spec.values:
            return self._enum(value, spec, at)
        if spec.name in _BY_TEXT:
            return self._from_text(value, spec, at)
        if "dict" in spec.bases and isinstance(value, dict):  # a TypedDict
            return value
        try:
            cls = self._load(spec.name)
        except (ImportError, AttributeError):
            cls = None
        if cls is not None and isinstance(value, Mapping):
            if dataclasses.is_dataclass(cls):
                return self._fields(value, cls, spec, at, [item.name for item in dataclasses.fields(cls) if item.init])
            if hasattr(cls, "_fields"):
                return self._fields(value, cls, spec, at, list(cls._fields))
        if cls is not None and hasattr(cls, "_fields") and isinstance(value, list | tuple):
            return self._fields(dict(zip(cls._fields, value, strict=False)), cls, spec, at, list(cls._fields))
        raise _wrong(spec, value, at)

    def _enum(self, value: Any, spec: TypeSpec, at: str) -> Any:
        cls = self._load(spec.name)
        if isinstance(value, str) and value in spec.values:
            return cls[value]
        for member in cls:
            if type(member.value) is type(value) and member.value == value:
                return member
        raise _wrong(spec, value, at)

    def _from_text(self, value: Any, spec: TypeSpec, at: str) -> Any:
        if type(value).__module__ == _FILES and spec.name.startswith("pathlib:"):
            return value  # a `File`: a path, with its content, by the time a task receives it
        if not isinstance(value, str):
            raise _wrong(spec, value, at)
        cls = load_class(spec.name)
        read = getattr(cls, _BY_TEXT[spec.name]) if _BY_TEXT[spec.name] else cls
        try:
            return read(value)
        except (ValueError, ArithmeticError):
            raise _wrong(spec, value, at) from None

    def _fields(self, value: Mapping[str, Any], cls: Any, spec: TypeSpec, at: str, names: list[str]) -> Any:
        unknown = [name for name in value if name not in names]
        if unknown:
            raise ParameterError(
                f"{at + ' ' if at else ''}has no field {unknown[0]!r}; {spec} has the fields {', '.join(names)}"
            )
        types = field_types(cls)
        given = {}
        for name, item in value.items():
            load = loader_of(types[name]) if name in types else self._load
            spec_of_field = describe(types[name]) if name in types else ANY
            given[name] = _Converter(load).convert(item, spec_of_field, f"{at}.{name}")
        try:
            return cls(**given)
        except TypeError as error:
            raise ParameterError(f"{at + ' ' if at else ''}is no {spec}: {error}") from None


def field_types(cls: type) -> dict[str, Any]:
    """The annotations of a class by field; one that cannot be evaluated is left out."""
    import sys

    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        names = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, annotation in vars(base).get("__annotations__", {}).items():
            if isinstance(annotation, str):
                try:
                    annotation = eval(annotation, dict(names), dict(vars(base)))
                except Exception:  # whatever the user's expression raises: this field is not converted
                    continue
            found[name] = annotation
    return found


def optional(spec: TypeSpec) -> TypeSpec:
    """The type or None: what a parameter with the default None means, whatever its annotation says."""
    if spec in (ANY, NONE) or (spec.name == "union" and NONE in spec.args):
        return spec
    return TypeSpec("union", (*(spec.args if spec.name == "union" else (spec,)), NONE))
