r"""A graph as readable text: `grandpa graph`, `--print-after`, the golden tests of the passes.

    graph      = "workflow" NAME "(" [ parameter { ", " parameter } ] ")" [ " -> " TYPE ] [ where ]
                 { "  " ( node | method | container | component | instance | task | group | branch | loop ) }
                 [ "  " return ]
    parameter  = NAME [ ": " TYPE ] [ " = " constant ]
    node       = ( "node" | "class" ) KEY signature [ " outputs " NAME { ", " NAME } ] [ where ]
    method     = "  def " NAME signature                        (below its class)
    container  = "container " KEY "(" { NAME ": " KFP-TYPE [ " = ..." ] } ") -> (" { NAME ": " KFP-TYPE } ")"
                 " image " IMAGE [ where ]
    signature  = "(" as in Python, "=..." for a default ")" [ " -> " TYPE ]
    component  = "component " ID " [fuse=" ( "True" | "False" ) "]"
    instance   = "&" ID " = " KEY arguments [ where ]
    task       = "%" ID " = " ( KEY | "&" ID "." METHOD ) arguments [ options ] [ after ]
                 [ " needs %" ID { ", %" ID } ] [ where ]
    group      = [ "fused " ] "group %" ID "(" [ NAME "=" value { ", " NAME "=" value } ] ")" [ options ] [ after ]
                 [ where ]; its body: "  " "takes (" parameter ... ")", then instances, operations, return
    branch     = "branch %" ID "(" [ NAME "=" value { ", " NAME "=" value } ] ")" [ after ] [ where ]
                 { "  " ( "when " predicate | "otherwise" ), below it a body as of a group }
    loop       = "loop %" ID "(" [ NAME "=" value { ", " NAME "=" value } ] ")" " over " value " as " NAME
                 [ " [parallelism=" INTEGER "]" ] [ after ] [ where ], below it a body as of a group
    predicate  = value | value ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" ) value
               | "(" predicate ")" { ( "&" | "|" ) "(" predicate ")" } | "~(" predicate ")"
    arguments  = "(" [ value { ", " value } { ", " NAME "=" value } ] ")"
    options    = " [" NAME "=" literal { ", " NAME "=" literal } "]"
    after      = " after %" ID { ", %" ID }
    return     = "return " ( value | NAME "=" value { ", " NAME "=" value } )
    value      = constant | "%" ID [ "." OUTPUT ] path | "$" NAME path | "&" ID | structure | "<outcome>" | "<failure>"
    path       = { "[" literal "]" }
    structure  = a literal with values in the places of its holes
               | "<" CODEC ", " SIZE ", " HASH ">" " with {" { "[0][1]: " value } "}"
    constant   = a Python literal, shortened with "…" and its hash where it is long
               | "<" CODEC ", " SIZE ", " HASH ">"
    where      = "  # " FILE ":" LINE

Ids and names that hold more than letters, digits, `_`, `-`, `/` are quoted. A fingerprint is printed
where the node has one, shortened. A graph and the same graph read from a graph file print the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from grandpa_kfp_runtime.errors import ParameterError
from grandpa_kfp_runtime.typespec import ANY

from .constants import PathKey, default_json, path_keys
from .graph import (
    HANDLE,
    RESULT,
    Branch,
    Call,
    Constant,
    ContainerNode,
    Graph,
    Group,
    Instance,
    InstanceValue,
    Loop,
    Options,
    Outcome,
    Parameter,
    ParameterValue,
    Predicate,
    PythonNode,
    Signature,
    TaskOutput,
    Value,
)
from .literals import constant_text, opaque_text, structure_text
from .options import RULES

_PLAIN = re.compile(r"[\w/-]+")
_STARS = {"var_positional": "*", "var_keyword": "**"}


def format_graph(graph: Graph) -> str:
    """The graph in the module's grammar, without a line break at the end.

    >>> from .graph import PythonNode
    >>> load = PythonNode("data:load", "load")
    >>> calls = (Call("load", load, (Constant("a.csv"),), where="train.py:9"),)
    >>> print(format_graph(Graph("train", operations=calls, outputs=(("result", TaskOutput("load")),))))
    workflow train()
      node data:load()
      %load = data:load('a.csv')  # train.py:9
      return %load
    """
    returns = "" if graph.returns == ANY else f" -> {graph.returns}"
    head = f"workflow {_id(graph.name)}{_parameters(graph)}{returns}{_where(graph.where)}"
    lines = [head]
    for node in graph.nodes().values():
        lines.extend(_node(node))
    lines.extend(map(_container, graph.containers().values()))
    lines.extend(_body(graph))
    return "\n  ".join(lines)


def _body(graph: Graph) -> Iterator[str]:
    for component in graph.components:
        yield f"component {_id('/'.join(component.path))} [fuse={component.fuse}]"
    for instance in graph.instances:
        yield f"&{_id(instance.id)} = {instance.node.key}{_arguments(instance)}{_where(instance.where)}"
    for operation in graph.operations:
        yield from [_call(operation)] if isinstance(operation, Call) else _nested(operation)
    if graph.outputs:
        plain = len(graph.outputs) == 1 and graph.outputs[0][0] == RESULT
        shown = [value_text(value) if plain else f"{name}={value_text(value)}" for name, value in graph.outputs]
        yield f"return {', '.join(shown)}"


def _nested(operation: Group | Branch | Loop) -> Iterator[str]:
    given = ", ".join(f"{_id(name)}={value_text(value)}" for name, value in operation.arguments)
    kind = type(operation).__name__.lower()
    over = ""
    if isinstance(operation, Group):
        kind = "fused group" if operation.fused else kind
        over = _options(operation.options)
    if isinstance(operation, Loop):
        at_once = "" if operation.parallelism is None else f" [parallelism={operation.parallelism}]"
        over = f" over {value_text(operation.items)} as {_id(operation.item)}{at_once}"
    yield f"{kind} %{_id(operation.id)}({given}){over}{_after(operation.after)}{_where(operation.where)}"
    if not isinstance(operation, Branch):
        yield from _inside(operation.body, "  ")
        return
    for arm in operation.arms:
        yield "  otherwise" if arm.predicate is None else f"  when {predicate_text(arm.predicate)}"
        yield from _inside(arm.body, "    ")


def _inside(body: Graph, indent: str) -> Iterator[str]:
    yield f"{indent}takes {_parameters(body)}"
    for line in _body(body):
        yield f"{indent}{line}"


def predicate_text(predicate: Predicate) -> str:
    """A predicate as the grammar writes it.

    >>> more = Predicate(">", (TaskOutput("score"), Constant(0.9)))
    >>> predicate_text(Predicate("&", (more, Predicate("true", (ParameterValue("deploy"),)))))
    '(%score > 0.9) & ($deploy)'
    """
    shown = [
        f"({predicate_text(item)})" if isinstance(item, Predicate) else value_text(item) for item in predicate.operands
    ]
    if predicate.operator == "~":
        return f"~{shown[0]}"
    return shown[0] if predicate.operator == "true" else f" {predicate.operator} ".join(shown)


def _call(call: Call) -> str:
    callee = f"&{_id(call.instance)}.{call.method or '__call__'}" if call.instance else call.node.key
    if call.method and not call.instance:
        callee += f".{call.method}"
    options = _options(call.options)
    needs = _after(call.needs, "needs")
    return f"%{_id(call.id)} = {callee}{_arguments(call)}{options}{_after(call.after)}{needs}{_where(call.where)}"


def value_text(value: Value) -> str:
    """One value as the grammar writes it.

    >>> from .graph import Filled
    >>> value_text(Filled(Constant([1, None]), (((1,), TaskOutput("split", "train", (0,))),)))
    '[1, %split.train[0]]'
    """
    if isinstance(value, Constant):
        return constant_text(value)
    if isinstance(value, TaskOutput):
        output = "" if value.output == RESULT else f".{_id(value.output)}"
        return f"%{_id(value.task)}{output}{_path(value.path)}"
    if isinstance(value, ParameterValue):
        return f"${_id(value.name)}{_path(value.path)}"
    if isinstance(value, InstanceValue):
        return f"&{_id(value.instance)}"
    if isinstance(value, Outcome):
        return "<failure>" if value.only_failed else "<outcome>"
    holes = [(at, value_text(inner)) for at, inner in value.holes]
    text = structure_text(value.skeleton, holes)
    if text is not None:
        return text
    inside = ", ".join(f"{''.join(f'[{index}]' for index in at)}: {shown}" for at, shown in holes)
    return f"{opaque_text(value.skeleton)} with {{{inside}}}"


def _path(path: tuple[Any, ...]) -> str:
    keys = (
        constant_text(Constant(handle=key["@"]) if isinstance(key, PathKey) else Constant(key))
        for key in path_keys(path)
    )
    return "".join(f"[{key}]" for key in keys)


def _arguments(item: Call | Instance) -> str:
    shown = [*map(value_text, item.args), *(f"{_id(name)}={value_text(value)}" for name, value in item.kwargs)]
    return f"({', '.join(shown)})"


def _options(options: Options) -> str:
    shown = [f"{name}={RULES[name].json(value)!r}" for name, value in options.chosen()]
    return f" [{', '.join(shown)}]" if shown else ""


def _after(after: Iterable[str], word: str = "after") -> str:
    names = [f"%{_id(task)}" for task in after]
    return f" {word} {', '.join(names)}" if names else ""


def _parameters(graph: Graph) -> str:
    return f"({', '.join(map(_parameter, graph.parameters))})"


def _parameter(parameter: Parameter) -> str:
    typed = "" if parameter.type == ANY else f": {parameter.type}"
    default = f" = {_default(parameter, parameter.default)}" if isinstance(parameter.default, Constant) else ""
    return f"{_id(parameter.name)}{typed}{default}"


def _default(parameter: Parameter, default: Constant) -> str:
    if parameter.type not in (ANY, HANDLE):
        try:
            return constant_text(Constant(default_json(parameter)))
        except ParameterError:  # a fault, which `verify` tells
            return constant_text(default)
    return constant_text(default)


def _node(node: PythonNode) -> Iterator[str]:
    outputs = "" if node.outputs == (RESULT,) else f" outputs {', '.join(map(_id, node.outputs))}"
    code = f" fingerprint {node.fingerprint[:16]}" if node.fingerprint else ""
    signatures = dict(node.signatures)
    own = signatures.pop("__init__" if node.is_class else "", Signature())
    kind = "class" if node.is_class else "node"
    yield f"{kind} {node.key}{_signature(own)}{outputs}{code}{_where(node.where)}"
    for method, signature in signatures.items():
        yield f"  def {method}{_signature(signature)}"


def _container(node: ContainerNode) -> str:
    returns = ", ".join(f"{port.name}: {port.type}" for port in node.gives)
    taken = ", ".join(f"{port.name}: {port.type}{' = ...' if port.optional else ''}" for port in node.inputs)
    return f"container {node.key}({taken}) -> ({returns}) image {node.image}{_where(node.where)}"


def _signature(signature: Signature) -> str:
    returns = "" if signature.returns == ANY else f" -> {signature.returns}"
    return f"({', '.join(signature_texts(signature))}){returns}"


def signature_texts(signature: Signature, *, types: bool = True) -> Iterator[str]:
    """Each parameter as Python writes it, with the `/` and `*` between them.

    >>> from .graph import NodeParameter
    >>> list(signature_texts(Signature((NodeParameter("a", "positional_only"), NodeParameter("b", "keyword_only")))))
    ['a', '/', '*', 'b']
    """
    before = ""
    for item in signature.parameters:
        if before == "positional_only" and item.kind != before:
            yield "/"
        if item.kind == "keyword_only" and before not in ("keyword_only", "var_positional"):
            yield "*"
        typed = "" if item.type == ANY or not types else f": {item.type}"
        default = "" if not item.has_default else " = ..." if typed else "=..."
        yield f"{_STARS.get(item.kind, '')}{item.name}{typed}{default}"
        before = item.kind
    if before == "positional_only":
        yield "/"


def _id(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{name}"'


def _where(where: str) -> str:
    return f"  # {where}" if where else ""
