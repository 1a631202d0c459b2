"""Where a pod may run: tolerations, in Kubernetes' form or as `kubectl taint` writes a taint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .names import is_label_key, is_label_value, nearest
from .rules import Json, Rule, Wrong

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAINT = re.compile(r"(?P<key>[^=:\s]+)(=(?P<value>[^:\s]*))?(:(?P<effect>\w+))?")
_FIELDS = {"key": "key", "operator": "operator", "value": "value", "effect": "effect", "tolerationSeconds": "seconds"}


@dataclass(frozen=True, slots=True)
class Toleration:
    """One taint that a pod tolerates, by Kubernetes' rules; seconds: for how long, None without end."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    seconds: int | None = None


def read_toleration(value: Any) -> Toleration:
    """Kubernetes' dict, or `key=value:effect`, `key:effect`, `key`. Raises Wrong.

    >>> read_toleration("gpu=true:NoSchedule")
    Toleration(key='gpu', operator='Equal', value='true', effect='NoSchedule', seconds=None)
    >>> read_toleration("spot").operator
    'Exists'
    """
    if isinstance(value, Toleration):
        return value
    if isinstance(value, str):
        match = _TAINT.fullmatch(value.strip())
        if match is None:
            raise Wrong(f"must write a taint as 'key=value:effect', but has {value!r}")
        operator = "Exists" if match["value"] is None else "Equal"
        return Toleration(match["key"], operator, match["value"] or "", match["effect"] or "")
    if not isinstance(value, Mapping):
        raise Wrong(f"must hold dicts or texts such as 'gpu=true:NoSchedule', but has {value!r}")
    for name, item in value.items():
        if name not in _FIELDS:
            raise Wrong(f"has {name!r}, which a toleration has not{nearest(str(name), _FIELDS)}")
        if not isinstance(item, int if name == "tolerationSeconds" else str) or isinstance(item, bool):
            raise Wrong(f"has {name}={item!r} in a toleration")
    return Toleration(**{_FIELDS[name]: item for name, item in value.items()})


def toleration_json(toleration: Toleration) -> Json:
    """Kubernetes' dict."""
    found = {name: getattr(toleration, field) for name, field in _FIELDS.items()}
    return {name: value for name, value in found.items() if value not in ("", None)}


def _mistakes(item: Toleration) -> Iterator[str]:
    shown = toleration_json(item)
    if item.operator not in ("", "Exists", "Equal"):
        yield f"has the operator {item.operator!r} in {shown}; there are Exists, Equal"
    if item.effect and item.effect not in EFFECTS:
        yield f"has the effect {item.effect!r}{nearest(item.effect, EFFECTS)}"
    if item.operator == "Exists" and item.value:
        yield f"has both the operator Exists and a value in {shown}; drop one"
    if not item.key and item.operator != "Exists":
        yield f"has no key in {shown}; to tolerate every taint write {{'operator': 'Exists'}}"
    if (item.key and not is_label_key(item.key)) or not is_label_value(item.value):
        yield f"has {shown}, which is no taint of Kubernetes"


def _read(value: Any) -> tuple[Toleration, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, list | tuple):
        raise Wrong(f"must be a list of tolerations, but is {value!r}")
    return tuple(map(read_toleration, value))


TOLERATIONS = Rule(
    _read,
    lambda value: [text for item in value for text in _mistakes(item)],
    lambda value: [toleration_json(item) for item in value],
)
