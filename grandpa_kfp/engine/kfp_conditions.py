"""The conditions of a compiled YAML: the part of CEL, the Common Expression Language, that stands in them.

expression = and ("||" and)*
and        = relation ("&&" relation)*
relation   = unary (("==" | "!=" | "<=" | ">=" | "<" | ">") unary)?
unary      = "!" unary | value
value      = "(" expression ")" | ("int" | "double") "(" expression ")" | literal
           | "inputs.parameter_values['name']"

Literals are texts, numbers, `true`, `false`, `null`. `kfp_reading.py` reads conditions, `yaml_table.py` asks them.

As Kubeflow's driver has it: a parameter is a protobuf Value, so that its number is a double whatever its type; values
of different kinds are unequal, and have no order; `&&` and `||` give what one side settles though the other cannot be
had.
"""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.typespec import Json

Evaluate: TypeAlias = "Callable[[Mapping[str, Json]], Any]"

_TOKEN = re.compile(
    r"""\s*(?:
      inputs\.parameter_values\[(?P<parameter>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")\]
    | (?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    | (?P<double>-?(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+))
    | (?P<integer>-?[0-9]+)(?![0-9a-zA-Z_.])
    | (?P<word>true|false|null|int|double)(?![0-9a-zA-Z_])
    | (?P<sign>\|\||&&|==|!=|<=|>=|[<>!()])
    )""",
    re.VERBOSE,
)
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"',
    "`": "`", "?": "?",
}  # fmt: skip
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[xX]([0-9a-fA-F]{2})|([0-3][0-7]{2})|(.))", re.DOTALL)
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Condition:
    """text: as it stands in the file; reads: the parameters that it names.

    >>> enough = read_condition("int(inputs.parameter_values['n']) >= 3 && inputs.parameter_values['s'] != ''")
    >>> enough.reads, enough.holds({"n": 3.9, "s": "x"}), enough.holds({"n": 2, "s": "x"})
    (('n', 's'), True, False)
    """

    text: str
    reads: tuple[str, ...]
    _evaluate: Evaluate

    @property
    def words(self) -> str:
        """The expression for people, who need not know where parameters are.

        >>> read_condition("inputs.parameter_values['chosen'] == '1'").words
        "chosen == '1'"
        """
        return re.sub(r"inputs\.parameter_values\[(['\"])(\w+)\1\]", r"\2", self.text)

    def holds(self, values: Mapping[str, Json]) -> bool:
        """values: of the parameters. Raises ParameterError where it cannot be decided by them."""
        found = self._evaluate(values)
        if isinstance(found, bool):
            return found
        raise ParameterError(f"it is neither true nor false, but {found!r}")


def read_condition(text: str) -> Condition:
    """Raises ValueError for what is no such expression."""
    parser = _Parser(text)
    try:
        evaluate = parser.expression()
    except RecursionError:
        raise ValueError(f"{text[:40]!r}..., which is nested too deep") from None
    parser.end()
    return Condition(text, tuple(dict.fromkeys(parser.reads)), evaluate)


class _Parser:
    """Goes through the tokens once; each method reads what it is called after."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0
        self.reads: list[str] = []

    def expression(self) -> Evaluate:
        return self._joined("||", lambda: self._joined("&&", self._relation))

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self._wrong()

    def _joined(self, sign: str, part: Callable[[], Evaluate]) -> Evaluate:
        parts = [part()]
        while self._takes(sign):
            parts.append(part())
        return parts[0] if len(parts) == 1 else _settled(parts, settles=sign == "||")

    def _relation(self) -> Evaluate:
        left = self._unary()
        for sign in ("==", "!=", *_ORDERS):
            if self._takes(sign):
                return _compared(sign, left, self._unary())
        return left

    def _unary(self) -> Evaluate:
        return _negated(self._unary()) if self._takes("!") else self._value()

    def _value(self) -> Evaluate:
        if self._takes("("):
            inner = self.expression()
            self._need(")")
            return inner
        for name, convert in (("int", _to_int), ("double", _to_double)):
            if self._takes(name):
                self._need("(")
                inner = self.expression()
                self._need(")")
                return _converted(convert, inner)
        if self._next == len(self._tokens):
            raise self._wrong()
        kind, token = self._tokens[self._next]
        self._next += 1
        if kind == "parameter":
            self.reads.append(_unquoted(token))
            return _parameter(self.reads[-1])
        if kind == "text":
            return _constant(_unquoted(token))
        if kind == "integer" and -_INT64 <= int(token) < _INT64:
            return _constant(int(token))
        if kind == "double":
            return _constant(float(token))
        if kind == "word" and token in _LITERALS:
            return _constant(_LITERALS[token])
        self._next -= 1
        raise self._wrong()

    def _takes(self, token: str) -> bool:
        found = self._next < len(self._tokens) and self._tokens[self._next] in (("sign", token), ("word", token))
        self._next += found
        return found

    def _need(self, token: str) -> None:
        if not self._takes(token):
            raise self._wrong()

    def _wrong(self) -> ValueError:
        at = f"at {self._tokens[self._next][1]!r}" if self._next < len(self._tokens) else "at its end"
        return ValueError(f"{self._text!r} {at}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} at {text[at:].lstrip()[:20]!r}")
        assert match.lastgroup is not None
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _unquoted(token: str) -> str:
    """The text that a literal stands for. Raises ValueError for an escape that CEL does not have."""

    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2] or match[3]
        if match[5] in _ESCAPES:
            return _ESCAPES[match[5]]
        number = int(code, 16) if code else int(match[4], 8) if match[4] else -1
        if not 0 <= number <= sys.maxunicode or 0xD800 <= number < 0xE000:
            raise ValueError(f"{token!r}, where {match[0]} stands for no character")
        return chr(number)

    return _ESCAPE.sub(character, token[1:-1])


# --- what the parts of an expression come to --------------------------------------------------------


def _constant(value: Any) -> Evaluate:
    return lambda values: value


def _parameter(name: str) -> Evaluate:
    def evaluate(values: Mapping[str, Json]) -> Any:
        if name not in values:
            raise ParameterError(f"there is no value of {name}")
        return _as_value(values[name])

    return evaluate


def _as_value(value: Json) -> Any:
    """As a protobuf Value has it: every number is a double."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, list):
        return [_as_value(item) for item in value]
    return {key: _as_value(item) for key, item in value.items()} if isinstance(value, dict) else value


def _settled(parts: list[Evaluate], *, settles: bool) -> Evaluate:
    """The first part that is `settles` decides, whatever becomes of the others."""

    def evaluate(values: Mapping[str, Json]) -> bool:
        failed: ParameterError | None = None
        for part in parts:
            try:
                if _truth(part(values)) is settles:
                    return settles
            except ParameterError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not settles

    return evaluate


def _negated(part: Evaluate) -> Evaluate:
    return lambda values: not _truth(part(values))


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ParameterError(f"{value!r} is neither true nor false")


def _compared(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    if sign in ("==", "!="):
        return lambda values: _equal(left(values), right(values)) is (sign == "==")
    order = _ORDERS[sign]

    def evaluate(values: Mapping[str, Json]) -> bool:
        one, other = left(values), right(values)
        if _kind(one) is not _kind(other) or _kind(one) not in (float, str, bool):
            raise ParameterError(f"{one!r} {sign} {other!r}: they have no order")
        return order(one, other)

    return evaluate


def _kind(value: Any) -> type:
    """Values of one kind can be equal: int and double are one, and a bool is no number."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _equal(one: Any, other: Any) -> bool:
    if _kind(one) is not _kind(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    return bool(one == other)


def _converted(convert: Callable[[Any], Any], part: Evaluate) -> Evaluate:
    return lambda values: convert(part(values))


def _to_int(value: Any) -> int:
    """A double loses its fraction; a text is read as decimal digits."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+", value):
        value = int(value)
    if _kind(value) is float and math.isfinite(value) and -_INT64 <= int(value) < _INT64:
        return int(value)
    raise ParameterError(f"int({value!r}): it is no whole number of 64 bits")


def _to_double(value: Any) -> float:
    if isinstance(value, str) and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value):
        return float(value)
    if _kind(value) is float:
        return float(value)
    raise ParameterError(f"double({value!r}): it is no number")
