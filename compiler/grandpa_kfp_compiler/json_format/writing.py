"""From a graph to plain JSON data. `reading.py` holds the other direction, field by field the same."""

from __future__ import annotations

import base64
import json
from typing import Any

from grandpa_kfp_runtime.errors import CodecError, GraphError, ParameterError

from ..constants import default_json, handle_text, path_keys
from ..graph import (
    ANY,
    HANDLE,
    NO_OPTIONS,
    RESULT,
    Branch,
    Call,
    Code,
    Constant,
    ContainerNode,
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
    Signature,
    TaskOutput,
    Value,
)
from ..options import RULES
from ..verify.faults import place_of

FORMAT = "grandpa-graph"
VERSION = 1

Fields = dict[str, Json]
Nodes = dict[str, Node]


def to_json(graph: Graph) -> Fields:
    """The graph as the data of a graph file.

    Raises CodecError for a constant that cannot be encoded, GraphError for two nodes of one key.
    """
    nodes: Nodes = {}
    data: Fields = {"format": FORMAT, "version": VERSION, "graph": _graph(graph, nodes)}
    data["nodes"] = {key: _node(nodes[key]) for key in sorted(nodes)}
    if graph.code is not None:
        data["code"] = _code(graph.code)
    return data


def _graph(graph: Graph, nodes: Nodes) -> Fields:
    data: Fields = {"name": graph.name, **_set(description=graph.description, where=graph.where)}
    if graph.returns != ANY:
        data["returns"] = graph.returns.to_json()
    if graph.components:
        data["components"] = [{"path": list(item.path), "fuse": item.fuse} for item in graph.components]
    if graph.parameters:
        data["parameters"] = [_parameter(item) for item in graph.parameters]
    if graph.instances:
        data["instances"] = [_instance(item, nodes) for item in graph.instances]
    if graph.operations:
        data["operations"] = [_operation(item, nodes) for item in graph.operations]
    if graph.outputs:
        data["outputs"] = [[name, _value(value)] for name, value in graph.outputs]
    return data


def _set(**fields: Any) -> Fields:
    """The fields that hold something."""
    return {name: value for name, value in fields.items() if value}


def _parameter(parameter: Parameter) -> Fields:
    data: Fields = {"name": parameter.name}
    if parameter.type != ANY:
        data["type"] = parameter.type.to_json()
    if isinstance(parameter.default, Constant):
        data["default"] = _default(parameter, parameter.default)
    return {**data, **_set(description=parameter.description)}


def _default(parameter: Parameter, default: Constant) -> Fields:
    """As JSON that the type turns back, so that a reader needs none of the project's code for it."""
    if parameter.type in (ANY, HANDLE):
        return _constant(default)
    try:
        return {"json": default_json(parameter)}
    except ParameterError:
        return _constant(default)


def _instance(instance: Instance, nodes: Nodes) -> Fields:
    return {
        "id": instance.id,
        "node": _key(instance.node, nodes),
        **_arguments(instance),
        **_set(where=instance.where),
    }


def _operation(operation: Operation, nodes: Nodes) -> Fields:
    if not isinstance(operation, Call):
        return {
            "id": operation.id,
            **_inside(operation, nodes),
            **_set(
                arguments=[[name, _value(value)] for name, value in operation.arguments],
                after=list(operation.after),
                where=operation.where,
            ),
        }
    options = {} if operation.options is NO_OPTIONS else _options(operation.options)
    return {
        "id": operation.id,
        "node": _key(operation.node, nodes),
        **_set(instance=operation.instance, method=operation.method),
        **_arguments(operation),
        **_set(options=options, after=list(operation.after), needs=list(operation.needs)),
        **_set(scope=list(operation.scope), where=operation.where),
    }


def _inside(operation: Group | Branch | Loop, nodes: Nodes) -> Fields:
    """What makes it a group, a branch or a loop."""
    if isinstance(operation, Branch):
        return {
            "arms": [
                {
                    **({} if arm.predicate is None else {"when": _predicate(arm.predicate)}),
                    "body": _graph(arm.body, nodes),
                }
                for arm in operation.arms
            ]
        }
    data: Fields = {}
    if isinstance(operation, Loop):
        data = {"items": _value(operation.items), "item": operation.item, **_set(parallelism=operation.parallelism)}
    if isinstance(operation, Group):
        data = _set(fused=operation.fused, options=_options(operation.options))
    return {**data, "body": _graph(operation.body, nodes)}


def _predicate(predicate: Predicate) -> Fields:
    operands = [_predicate(item) if isinstance(item, Predicate) else _value(item) for item in predicate.operands]
    return {"test": predicate.operator, "operands": operands}


def _key(node: Node, nodes: Nodes) -> str:
    known = nodes.setdefault(node.key, node)
    if known is not node and known != node:
        raise GraphError([f"{node.where or node.name}: two different nodes are both known as {node.key}"])
    return node.key


def _arguments(item: Call | Instance) -> Fields:
    try:
        return _set(
            args=[_value(value) for value in item.args],
            kwargs=[[name, _value(value)] for name, value in item.kwargs],
        )
    except CodecError as error:
        raise CodecError(f"{place_of(item)}: {error}") from error


def _options(options: Options) -> Fields:
    return {name: RULES[name].json(value) for name, value in options.chosen()}


def _value(value: Value) -> Fields:
    if isinstance(value, Constant):
        return _constant(value)
    if isinstance(value, TaskOutput):
        data: Fields = {"task": value.task}
        if value.output != RESULT:
            data["output"] = value.output
        return {**data, **_path(value.path)}
    if isinstance(value, ParameterValue):
        return {"parameter": value.name, **_path(value.path)}
    if isinstance(value, InstanceValue):
        return {"instance": value.instance}
    if isinstance(value, Outcome):
        return {"outcome": "failure" if value.only_failed else "outcome"}
    holes = [[list(at), _value(inner)] for at, inner in value.holes]
    return {"skeleton": _constant(value.skeleton), "holes": holes}


def _path(path: tuple[Any, ...]) -> Fields:
    return {"path": list(path_keys(path))} if path else {}


def _constant(constant: Constant) -> Fields:
    value = constant.value
    if constant.handle is None and type(value) in (int, bool, type(None)) and -(2**53) < (value or 0) < 2**53:
        return {"json": value}
    handle = handle_text(constant)
    return {"handle": handle} if handle.startswith("@") else {"json": json.loads(handle)}


def _node(node: Node) -> Fields:
    if isinstance(node, ContainerNode):
        told = _set(where=node.where, description=node.description)
        return {"container": node.to_json(), **told}
    data: Fields = {"name": node.name}
    if node.is_class:
        data["class"] = True
    if node.signatures:
        data["signatures"] = {method: _signature(signature) for method, signature in node.signatures}
    if node.outputs != (RESULT,):
        data["outputs"] = list(node.outputs)
    if node.logs:
        data["logs"] = list(node.logs)
    return {**data, **_set(fingerprint=node.fingerprint, where=node.where, description=node.description)}


def _signature(signature: Signature) -> Fields:
    data: Fields = _set(parameters=[_node_parameter(item) for item in signature.parameters])
    if signature.returns != ANY:
        data["returns"] = signature.returns.to_json()
    return data


def _node_parameter(parameter: NodeParameter) -> Fields:
    data: Fields = {"name": parameter.name}
    if parameter.kind != "positional_or_keyword":
        data["kind"] = parameter.kind
    if parameter.type != ANY:
        data["type"] = parameter.type.to_json()
    if parameter.has_default:
        data["default"] = True
    return data


def _code(code: Code) -> Fields:
    return {"sha256": code.sha256, "python": code.python, "zip": base64.b64encode(code.zip).decode("ascii")}
