"""`Condition`: what comparing a Ref gives, a test that is made when the graph runs.

Comparisons build it, `&`, `|` and `~` combine it. It has no truth value while tracing: `if ref > 3`
would decide once, at the wrong time.
"""

from __future__ import annotations

from typing import Any, NoReturn

from grandpa_kfp_runtime.errors import RefAttributeError, TraceError

from .where import here


class Condition:
    """A comparison of Refs, or several joined by `&`, `|`, `~`.

    operator: one of `==  !=  <  <=  >  >=  in  &  |  ~`; operands: Refs, values (of `in` a Ref and a list), and for the
    last three Conditions or booleans (`~` has one operand).
    """

    __slots__ = ("operands", "operator", "where")
    __array_ufunc__ = None

    def __init__(self, operator: str, operands: tuple[Any, ...], where: str) -> None:
        self.operator = operator
        self.operands = operands
        self.where = where

    def __and__(self, other: Any) -> Condition:
        return self._join("&", other)

    def __or__(self, other: Any) -> Condition:
        return self._join("|", other)

    def __rand__(self, other: Any) -> Condition:
        return self._join("&", other)

    def __ror__(self, other: Any) -> Condition:
        return self._join("|", other)

    def __invert__(self) -> Condition:
        return Condition("~", (self,), here())

    def _join(self, operator: str, other: Any) -> Condition:
        if not isinstance(other, Condition | bool):  # a component may be given a constant to compare
            raise TraceError(
                f"{here()}: `{operator}` joins a comparison with {other!r}, which is none; write it as one, "
                "say `(ref > 3) & (other == 1)` with the parentheses"
            )
        return Condition(operator, (self, other), here())

    def __bool__(self) -> NoReturn:
        raise TraceError(
            f"{here()}: the truth value of the comparison {self!r} was asked for (`if`, `while`, `and`, `or`, `not`, "
            "`in`, a chained comparison), but its operands exist only when the graph runs; write `with when(...):` for "
            "`if`, `&`, `|`, `~` for `and`, `or`, `not`, is_in(ref, [...]) for `in`, decide inside a node, or fix the "
            "value while tracing with a `Static[...]` parameter"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise RefAttributeError(f"{here()}: a comparison of Refs has no attribute {name!r}; it is only a test")

    def __repr__(self) -> str:
        if self.operator == "~":
            return f"~{_operand(self.operands[0])}"
        left, right = self.operands
        return f"{_operand(left)} {self.operator} {_operand(right)}"


def _operand(value: Any) -> str:
    return f"({value!r})" if isinstance(value, Condition) else repr(value)
