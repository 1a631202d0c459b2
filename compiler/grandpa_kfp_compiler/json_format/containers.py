"""A container node from plain JSON data; `ContainerNode.to_json` is the other direction."""

from __future__ import annotations

import json

from ..graph import ContainerNode, Json, Port
from .fields import Broken, Fields, flag, mapping_of, text, texts, tuple_of, wrong


def read_container(value: Json) -> ContainerNode:
    """The node, without its place and description, which stand beside it. Raises Broken."""
    fields = Fields(value)
    fields.need("name", text)
    fields.need("image", text)
    fields.need("command", texts)
    fields.need("args", texts)
    takes: tuple[Port, ...] = fields.get("takes", tuple_of(_port), ())
    gives: tuple[Port, ...] = fields.get("gives", tuple_of(_port), ())
    fields.get("env", mapping_of(text), ())
    fields.get("resources", _plain_object, None)
    fields.get("by_name", flag, False)
    fields.end("name", "image", "command", "args", "takes", "gives", "env", "resources", "by_name")
    for ports in (takes, gives):
        if len({port.name for port in ports}) < len(ports):
            raise Broken("two of its inputs, or two of its outputs, have one name")
    return ContainerNode.from_json(value)


def _port(value: Json) -> Port:
    fields = Fields(value)
    fields.need("name", text)
    type_ = fields.need("type", text)
    fields.get("optional", flag, False)
    fields.get("default", _plain, None)
    fields.end("name", "type", "optional", "default")
    port = Port.from_json(value)
    if port.is_file and "." not in type_:
        raise Broken(
            f'"{type_}" is neither a type of parameters, such as STRING, nor of artifacts, such as system.Model'
        )
    return port


def _plain(value: Json) -> Json:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise Broken("must be finite numbers") from None
    return value


def _plain_object(value: Json) -> Json:
    if type(value) is not dict:
        wrong(value, "an object")
    return _plain(value)
