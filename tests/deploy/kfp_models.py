"""KFP's published API models (package kfp-server-api) as a checker of JSON: what a request or an answer may hold."""

from __future__ import annotations

import datetime
import re
from typing import Any

import kfp_server_api.models as models

_PLAIN = {"str": str, "bool": bool, "int": int, "float": (int, float)}


def faults(data: Any, kind: str, at: str = "body") -> list[str]:
    """Everything in `data` that the model of this name does not allow: fields, types, enum values."""
    if data is None:
        return []
    if kind == "object":
        return []
    if kind == "datetime":
        return [] if _is_time(data) else [f"{at}: {data!r} is no time"]
    if kind in _PLAIN:
        right = isinstance(data, _PLAIN[kind]) and not (kind == "int" and isinstance(data, bool))
        return [] if right else [f"{at}: {data!r} is no {kind}"]
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(data, list):
            return [f"{at} is no list"]
        return [fault for number, item in enumerate(data) for fault in faults(item, found[1], f"{at}[{number}]")]
    if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
        if not isinstance(data, dict):
            return [f"{at} is no object"]
        return [fault for name, item in data.items() for fault in faults(item, found[1], f"{at}.{name}")]
    return _of_model(data, getattr(models, kind), at)


def _of_model(data: Any, model: Any, at: str) -> list[str]:
    allowed = getattr(model, "allowable_values", None)
    if allowed is not None:
        return [] if data in allowed else [f"{at}: {data!r} is none of {allowed}"]
    if not isinstance(data, dict):
        return [f"{at} is no {model.__name__}"]
    kinds = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    wrong = [f"{at}.{name} is no field of {model.__name__}" for name in data if name not in kinds]
    return wrong + [
        fault for name, item in data.items() if name in kinds for fault in faults(item, kinds[name], f"{at}.{name}")
    ]


def _is_time(data: Any) -> bool:
    try:
        datetime.datetime.fromisoformat(str(data).replace("Z", "+00:00"))
    except ValueError:
        return False
    return isinstance(data, str)
