"""Nodes that are containers of any image: what other people's components, and `@ContainerNode`, are in the IR.

A container speaks Kubeflow's own language: its inputs and outputs are parameters of KFP's types, and artifacts,
which are files. `PythonNode` in `graph.py` is the other kind of node; both answer to the same names.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.typespec import ANY, Json, TypeSpec, describe

from .signature import UNKNOWN, NodeParameter, Signature

if TYPE_CHECKING:
    from .graph import Call, Value

PARAMETERS = {
    "STRING": TypeSpec("str"),
    "NUMBER_INTEGER": TypeSpec("int"),
    "NUMBER_DOUBLE": TypeSpec("float"),
    "BOOLEAN": TypeSpec("bool"),
    "LIST": TypeSpec("list"),
    "STRUCT": TypeSpec("dict"),
}
"""KFP's types of parameters, and what values of them are in Python."""

KFP_WORDS = {
    "STRING": "a text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a dict",
}
"""KFP's types of parameters, for messages."""

ARTIFACTS = (
    "Artifact", "ClassificationMetrics", "Dataset", "HTML", "Markdown", "Metrics", "Model",
    "SlicedClassificationMetrics",
)  # fmt: skip
"""KFP's own types of artifacts, as users write them; others have a namespace, `google.VertexModel`."""

ARTIFACT = "system.Artifact"
"""The artifact type that fits every other one."""

KEY = "container:"
"""What the key of a container node begins with."""

FILE = describe(Path)


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a container.

    type: KFP's type of a parameter (`NUMBER_INTEGER`), or an artifact's schema title (`system.Dataset`).
    optional: an input that may be left out; default: its value then, as JSON text, empty for none.
    """

    name: str
    type: str
    optional: bool = False
    default: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is an artifact."""
        return not is_parameter(self.type)

    @property
    def spec(self) -> TypeSpec:
        """What it is in Python; an artifact is a path."""
        return PARAMETERS.get(self.type, FILE)

    def to_json(self) -> Json:
        found: dict[str, Json] = {"name": self.name, "type": self.type}
        if self.optional:
            found["optional"] = True
        if self.default:
            found["default"] = json.loads(self.default)
        return found

    @classmethod
    def from_json(cls, data: Json) -> Port:
        default = json.dumps(data["default"], sort_keys=True) if "default" in data else ""
        return cls(data["name"], data["type"], data.get("optional", False), default)


@dataclass(frozen=True, slots=True)
class ContainerNode:
    """A command in a container of any image.

    command, args: with KFP's own placeholders, `{{$.inputs.parameters['name']}}` and the like. env: by name; resources:
    of the container as KFP's spec has them, as JSON text, empty for none. by_name: its inputs are given by name alone.
    The key tells all of it but name, place and description: what runs is the same where the key is.
    """

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    inputs: tuple[Port, ...] = ()
    gives: tuple[Port, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    resources: str = ""
    by_name: bool = False
    where: str = field(default="", compare=False)
    description: str = field(default="", compare=False)
    key: str = field(init=False)
    signatures: tuple[tuple[str, Signature], ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "key", f"{KEY}{self.name}-{digest[:16]}")
        object.__setattr__(self, "signatures", (("", self._signature()),))

    def _signature(self) -> Signature:
        kind = "keyword_only" if self.by_name else "positional_or_keyword"
        taken = [
            NodeParameter(port.name, kind, ANY if port.is_file else port.spec, port.optional) for port in self.inputs
        ]
        specs = tuple(port.spec for port in self.gives)
        return Signature(tuple(taken), specs[0] if len(specs) == 1 else TypeSpec("tuple", specs))

    # --- as a `PythonNode` answers -----------------------------------------------------------------

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple([port.name for port in self.gives])

    @property
    def is_class(self) -> bool:
        return False

    @property
    def fingerprint(self) -> str:
        return self.key.rpartition("-")[2]

    @property
    def logs(self) -> tuple[str, ...]:
        return ()

    @property
    def target(self) -> Any:
        """Nothing of it is alive."""
        return None

    def signature(self, method: str = "") -> Signature:
        return UNKNOWN if method else self.signatures[0][1]

    # --- both directions of its form in files ------------------------------------------------------

    def to_json(self) -> Json:
        """What runs, and what goes in and out."""
        data: dict[str, Json] = {"name": self.name, "image": self.image}
        data |= {"command": list(self.command), "args": list(self.args)}
        data["takes"] = [port.to_json() for port in self.inputs]
        data["gives"] = [port.to_json() for port in self.gives]
        if self.env:
            data["env"] = dict(self.env)
        if self.resources:
            data["resources"] = json.loads(self.resources)
        if self.by_name:
            data["by_name"] = True
        return data

    @classmethod
    def from_json(cls, data: Json, where: str = "", description: str = "") -> ContainerNode:
        """The node that `to_json` told of.

        >>> node = ContainerNode("count", "alpine:3", ("wc",), gives=(Port("lines", "NUMBER_INTEGER"),))
        >>> ContainerNode.from_json(node.to_json()) == node
        True
        """
        resources = json.dumps(data["resources"], sort_keys=True) if data.get("resources") else ""
        return cls(
            data["name"],
            data["image"],
            tuple(data.get("command", ())),
            tuple(data.get("args", ())),
            tuple(Port.from_json(item) for item in data.get("takes", ())),
            tuple(Port.from_json(item) for item in data.get("gives", ())),
            tuple(sorted(data.get("env", {}).items())),
            resources,
            data.get("by_name", False),
            where,
            description,
        )

    def port(self, name: str) -> Port | None:
        """The output of that name."""
        return next((port for port in self.gives if port.name == name), None)


def is_parameter(type_: str) -> bool:
    """Whether a port's type is one of parameters, else it is an artifact's.

    >>> is_parameter("STRING"), is_parameter("system.Model")
    (True, False)
    """
    return type_ in PARAMETERS


def title_of(artifact: str) -> str:
    """The schema title of an artifact type as users write it.

    >>> title_of("Model"), title_of("system.Dataset")
    ('system.Model', 'system.Dataset')
    """
    return artifact if "." in artifact else f"system.{artifact}"


def feeds(given: str, wanted: str) -> bool:
    """Whether a port of one type may be fed by one of another, as the kfp SDK has it.

    >>> feeds("NUMBER_INTEGER", "NUMBER_DOUBLE"), feeds("system.Model", "system.Artifact"), feeds("STRING", "LIST")
    (True, True, False)
    """
    if given == wanted or (given, wanted) == ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
        return True
    both_files = not is_parameter(given) and not is_parameter(wanted)
    return both_files and ARTIFACT in (given, wanted)


def arguments_of(node: ContainerNode, call: Call) -> list[tuple[Port, Value]]:
    """What a call gives to which input, in the order of the inputs; an input that is left out is not in it."""
    given = {port.name: value for port, value in zip(node.inputs, call.args, strict=False)} | dict(call.kwargs)
    return [(port, given[port.name]) for port in node.inputs if port.name in given]
