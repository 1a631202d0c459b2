"""From plain JSON data to a graph. `writing.py` holds the other direction, field by field the same.

Everything is looked at: a field of the wrong type, a missing one, an unknown one is a LoadError that
tells its place in the file (`graph.operations[3].args[0].task`). Whether the graph makes sense, its
references and types, is for `verify`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import replace
from functools import partial
from typing import Any

from grandpa_kfp_runtime.errors import LoadError, PayloadError

from ..constants import INLINE, PathKey, handle_text
from ..control import OPERATORS
from ..graph import (
    ANY,
    MISSING,
    NO_OPTIONS,
    OPTION_NAMES,
    RESULT,
    Arm,
    Branch,
    Call,
    Code,
    ComponentCall,
    Constant,
    Filled,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Json,
    Loop,
    Node,
    NodeParameter,
    Operation,
    Options,
    Outcome,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    Signature,
    TaskOutput,
    TypeSpec,
    Value,
)
from ..options import RULES, Wrong
from .containers import read_container
from .fields import Broken, Fields, each, flag, mapping_of, pairs_of, text, texts, tuple_of, wrong
from .writing import FORMAT, VERSION

Nodes = dict[str, Node]

KINDS = ("positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword")


def from_json(data: Json, *, source: str = "the graph file") -> Graph:
    """The graph that the data describe.

    source: the file, for messages. Raises LoadError, and PayloadError for a damaged code zip.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise LoadError(
            f'{source}: it is no graph file (its "format" is not "{FORMAT}"); `grandpa graph --format json` writes one'
        )
    version = data.get("version")
    if type(version) is int and version > VERSION:
        raise LoadError(
            f"{source}: it was written by a newer version of grandpa-kfp (format version {version}, this one reads "
            f"up to {VERSION}); upgrade grandpa-kfp here, or write the file again with this one"
        )
    try:
        return _file(data)
    except Broken as broken:
        place = "".join(broken.path).lstrip(".") or "the whole"
        raise LoadError(f"{source}: {place}: {broken.message}") from None
    except RecursionError:
        raise LoadError(f"{source}: it is nested too deeply for a graph file") from None
    except PayloadError as error:
        raise PayloadError(f"{source}: {error}") from None


# --- the file ------------------------------------------------------------------------------------


def _file(data: Json) -> Graph:
    fields = Fields(data)
    fields.need("format", text)
    fields.need("version", _version)
    nodes: tuple[tuple[str, Node], ...] = fields.get("nodes", mapping_of(_node), ())
    known = {key: _keyed(key, node) for key, node in nodes}
    code = fields.get("code", _code, None)
    graph = fields.need("graph", lambda value: _graph(value, known, code))
    fields.end("format", "version", "graph", "nodes", "code")
    return graph


def _version(value: Json) -> int:
    if type(value) is not int or value < 1:
        raise Broken("must be a whole number from 1 on")
    return value


def _code(value: Json) -> Code | None:
    fields = Fields(value)
    sha256, python = fields.need("sha256", text), fields.need("python", text)
    content = fields.need("zip", _base64)
    fields.end("sha256", "python", "zip")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PayloadError(
            f"its code zip was changed or damaged: its SHA-256 is {found}, but should be {sha256}; write the file again"
        )
    return Code(sha256, content, python)


def _base64(value: Json) -> bytes:
    try:
        return base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        raise Broken("must be base64") from None


def _keyed(key: str, node: Node) -> Node:
    if isinstance(node, PythonNode):
        return replace(node, key=key)
    if node.key != key:
        raise Broken(f'nodes: "{key}" is not the key of what stands there, which is "{node.key}"')
    return node


def _node(value: Json) -> Node:
    """A Python node still without its key, which stands in front of it; a container's follows from what it is."""
    fields = Fields(value)
    if "container" in fields:
        container = fields.need("container", read_container)
        where, description = fields.get("where", text, ""), fields.get("description", text, "")
        fields.end("container", "where", "description")
        return replace(container, where=where, description=description)
    node = PythonNode(
        "",
        fields.need("name", text),
        fields.get("class", flag, False),
        fields.get("signatures", mapping_of(_signature), ()),
        fields.get("outputs", texts, (RESULT,)),
        fields.get("fingerprint", text, ""),
        fields.get("where", text, ""),
        fields.get("description", text, ""),
        fields.get("logs", texts, ()),
    )
    fields.end("name", "class", "signatures", "outputs", "fingerprint", "where", "description", "logs")
    return node


def _signature(value: Json) -> Signature:
    fields = Fields(value)
    signature = Signature(fields.get("parameters", tuple_of(_node_parameter), ()), fields.get("returns", _type, ANY))
    fields.end("parameters", "returns")
    return signature


def _node_parameter(value: Json) -> NodeParameter:
    fields = Fields(value)
    parameter = NodeParameter(
        fields.need("name", text),
        fields.get("kind", _kind, "positional_or_keyword"),
        fields.get("type", _type, ANY),
        fields.get("default", flag, False),
    )
    fields.end("name", "kind", "type", "default")
    return parameter


def _kind(value: Json) -> str:
    if value not in KINDS:
        raise Broken(f"must be one of {', '.join(KINDS)}")
    return str(value)


def _type(value: Json) -> TypeSpec:
    if type(value) is str:
        return ANY if value == ANY.name else TypeSpec(value)
    fields = Fields(value)
    spec = TypeSpec(
        fields.need("name", text),
        fields.get("args", tuple_of(_type), ()),
        fields.get("bases", texts, ()),
        fields.get("values", tuple_of(_literal), ()),
    )
    fields.end("name", "args", "bases", "values")
    return spec


def _literal(value: Json) -> Json:
    if isinstance(value, dict | list):
        wrong(value, "a text, a number, true, false or null")
    return value


# --- the graph -----------------------------------------------------------------------------------


def _graph(value: Json, nodes: Nodes, code: Code | None = None) -> Graph:
    fields = Fields(value)
    graph = Graph(
        fields.need("name", text),
        fields.get("parameters", tuple_of(_parameter), ()),
        fields.get("instances", tuple_of(lambda item: _instance(item, nodes)), ()),
        fields.get("operations", tuple_of(lambda item: _operation(item, nodes)), ()),
        fields.get("outputs", pairs_of(_value), ()),
        fields.get("description", text, ""),
        fields.get("where", text, ""),
        fields.get("returns", _type, ANY),
        code,
        components=fields.get("components", tuple_of(_component), ()),
    )
    fields.end(
        "name", "parameters", "instances", "operations", "outputs", "description", "where", "returns", "components"
    )
    return graph


def _component(value: Json) -> ComponentCall:
    fields = Fields(value)
    component = ComponentCall(fields.need("path", texts), fields.need("fuse", flag))
    fields.end("path", "fuse")
    return component


def _parameter(value: Json) -> Parameter:
    fields = Fields(value)
    parameter = Parameter(
        fields.need("name", text),
        fields.get("type", _type, ANY),
        fields.need("default", _constant) if "default" in fields else MISSING,
        fields.get("description", text, ""),
    )
    fields.end("name", "type", "default", "description")
    return parameter


def _instance(value: Json, nodes: Nodes) -> Instance:
    fields = Fields(value)
    instance = Instance(
        fields.need("id", text),
        fields.need("node", lambda key: _class_of(key, nodes)),
        fields.get("args", _values, ()),
        fields.get("kwargs", _named_values, ()),
        fields.get("where", text, ""),
    )
    fields.end("id", "node", "args", "kwargs", "where")
    return instance


def _node_of(key: Json, nodes: Nodes) -> Node:
    node = nodes.get(text(key))
    if node is None:
        raise Broken(f'"{key}" is not in the table of nodes')
    return node


def _class_of(key: Json, nodes: Nodes) -> PythonNode:
    node = _node_of(key, nodes)
    if not isinstance(node, PythonNode):
        raise Broken(f'"{key}" is a container, and has no instances')
    return node


def _operation(value: Json, nodes: Nodes) -> Operation:
    fields = Fields(value)
    if "arms" in fields:
        branch = Branch(
            fields.need("id", text),
            fields.need("arms", tuple_of(lambda arm: _arm(arm, nodes))),
            fields.get("arguments", _named_values, ()),
            fields.get("after", texts, ()),
            fields.get("where", text, ""),
        )
        fields.end("id", "arms", "arguments", "after", "where")
        return branch
    if "items" in fields:
        loop = Loop(
            fields.need("id", text),
            fields.need("items", _value),
            fields.need("item", text),
            fields.need("body", lambda body: _graph(body, nodes)),
            fields.get("arguments", _named_values, ()),
            fields.get("parallelism", _count, None),
            fields.get("after", texts, ()),
            fields.get("where", text, ""),
        )
        fields.end("id", "items", "item", "body", "arguments", "parallelism", "after", "where")
        return loop
    if "body" in fields:
        group = Group(
            fields.need("id", text),
            fields.need("body", lambda body: _graph(body, nodes)),
            fields.get("arguments", _named_values, ()),
            fields.get("after", texts, ()),
            fields.get("where", text, ""),
            fields.get("fused", flag, False),
            fields.get("options", _options, NO_OPTIONS),
        )
        fields.end("id", "body", "arguments", "after", "where", "fused", "options")
        return group
    call = Call(
        fields.need("id", text),
        fields.need("node", lambda key: _node_of(key, nodes)),
        fields.get("args", _values, ()),
        fields.get("kwargs", _named_values, ()),
        fields.get("options", _options, NO_OPTIONS),
        fields.get("after", texts, ()),
        fields.get("scope", texts, ()),
        fields.get("where", text, ""),
        fields.get("instance", text, ""),
        fields.get("method", text, ""),
        fields.get("needs", texts, ()),
    )
    fields.end("id", "node", "args", "kwargs", "options", "after", "scope", "where", "instance", "method", "needs")
    return call


def _arm(value: Json, nodes: Nodes) -> Arm:
    fields = Fields(value)
    arm = Arm(fields.get("when", _predicate, None), fields.need("body", lambda body: _graph(body, nodes)))
    fields.end("when", "body")
    return arm


def _predicate(value: Json) -> Predicate:
    fields = Fields(value)
    predicate = Predicate(fields.need("test", _operator), fields.need("operands", tuple_of(_operand)))
    fields.end("test", "operands")
    return predicate


def _operator(value: Json) -> str:
    if value not in OPERATORS:
        raise Broken(f"must be one of {', '.join(OPERATORS)}")
    return str(value)


def _operand(value: Json) -> Predicate | Value:
    return _predicate(value) if isinstance(value, dict) and "test" in value else _value(value)


def _options(value: Json) -> Options:
    fields = Fields(value)
    chosen = {name: fields.need(name, partial(_option, name)) for name in OPTION_NAMES if name in fields}
    fields.end(*OPTION_NAMES)
    return Options(**chosen)


def _option(name: str, value: Json) -> Any:
    try:
        return RULES[name].read(value)
    except Wrong as error:
        raise Broken(str(error)) from None


def _count(value: Json) -> int:
    if type(value) is not int:
        wrong(value, "a whole number")
    return value


# --- values --------------------------------------------------------------------------------------


def _value(value: Json) -> Value:
    fields = Fields(value)
    made: Value
    if "task" in fields:
        made = TaskOutput(fields.need("task", text), fields.get("output", text, RESULT), fields.get("path", _path, ()))
        fields.end("task", "output", "path")
    elif "json" in fields or "handle" in fields:
        return _constant(value)
    elif "parameter" in fields:
        made = ParameterValue(fields.need("parameter", text), fields.get("path", _path, ()))
        fields.end("parameter", "path")
    elif "outcome" in fields:
        made = Outcome(fields.need("outcome", text) == "failure")
        fields.end("outcome")
    elif "instance" in fields:
        made = InstanceValue(fields.need("instance", text))
        fields.end("instance")
    elif "skeleton" in fields:
        made = Filled(fields.need("skeleton", _constant), fields.need("holes", tuple_of(_hole)))
        fields.end("skeleton", "holes")
    else:
        raise Broken(
            'must have one of the fields "json", "handle", "task", "parameter", "instance", "outcome", "skeleton"'
        )
    return made


_values = tuple_of(_value)
_named_values = pairs_of(_value)


def _constant(value: Json) -> Constant:
    fields = Fields(value)
    if "json" in fields:
        constant = fields.need("json", lambda item: Constant(handle=handle_text(Constant(item))))
        fields.end("json")
    else:
        constant = Constant(handle=fields.need("handle", _handle))
        fields.end("handle")
    return constant


def _handle(value: Json) -> str:
    handle = text(value)
    if not handle.startswith(INLINE) or handle.count(":") < 2:
        raise Broken(f'must be a constant\'s handle, "{INLINE}codec:base64"')
    return handle


def _hole(value: Json) -> tuple[tuple[int, ...], Value]:
    if type(value) is not list or len(value) != 2:
        raise Broken("must be a list of a position and a value")
    (at,) = each((("[0]", value[0]),), tuple_of(_count))
    (inner,) = each((("[1]", value[1]),), _value)
    return at, inner


def _path(value: Json) -> tuple[Any, ...]:
    return tuple_of(_path_key)(value)


def _path_key(value: Json) -> Any:
    if type(value) in (str, int):
        return value
    fields = Fields(value)
    handle = fields.need("@", text)
    fields.end("@")
    if not handle.startswith(INLINE):
        try:
            json.loads(handle)
        except ValueError:
            raise Broken("must be a handle: JSON text, or @inline:codec:base64", '["@"]') from None
    return PathKey({"@": handle})
