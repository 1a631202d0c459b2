"""One task's cache key: its code, how it is called, what it gets. Or in words why it has none.

The same parts that Kubeflow's own key has: the fingerprint with the options that count, the interface with the
declared outputs, and the handles of the inputs. The store's URI needs no part in it, since results lie in the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from grandpa_kfp_compiler.bind import Bound
from grandpa_kfp_compiler.graph import Call, Constant, TaskOutput
from grandpa_kfp_runtime.contract import Interface

from ..control import control_of
from ..processes.parcels import Parceled
from .code import GraphCode
from .constants import ValueTexts, constant_text, short

_PLAIN_INT = 2**53

Handle = Callable[[str, str], "str | None"]
"""The handle of a task's output, by the task's id and the output's name; None where it has none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """key: of the whole; node: the node's key; fingerprint: of its code and the options that count; inputs: by name."""

    key: str
    node: str
    fingerprint: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task stands. prefix: of the ids of the tasks beside it; targets: as of `GraphCode.of`."""

    prefix: str = ""
    targets: Mapping[str, Any] | None = None


_TOP = Place()


class Identities:
    """The cache keys of one run's tasks. parameters: of the run, by name."""

    def __init__(self, code: GraphCode, parameters: Mapping[str, Constant]) -> None:
        self._code = code
        self._parameters = parameters
        self._interfaces: dict[Interface, str] = {}
        self._fingerprints: dict[tuple[Any, ...], tuple[str, Mapping[str, str]] | str] = {}
        self._constants: dict[int, tuple[Constant, str | None]] = {}
        self._values = ValueTexts()

    def of(self, call: Call, bound: Bound, handle: Handle, place: Place = _TOP) -> Identity | str:
        """The task's key; in words why there is none."""
        if call.options.cache is False:
            return "cache=False"
        if call.options.always:
            return "it always runs"
        if control_of(call) is not None:
            return "what is in it is decided while the graph runs"
        code = self.code(call, bound, place.targets)
        if isinstance(code, str):
            return code
        inputs: dict[str, str] = {}
        for name, leaf in bound.sources:
            text = self._text(leaf, handle, place)
            if text is None:
                return f"its input {name} cannot be told apart from another one"
            inputs[name] = text
        fingerprint = code[0]
        # names stand in the interface; no text in it, nor an input's, holds a zero byte
        text = "\0".join((fingerprint, self._interface(bound.interface), *inputs.values()))
        key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Identity(key, call.node.key, fingerprint, inputs)

    def code(
        self, call: Call, bound: Bound, targets: Mapping[str, Any] | None = None
    ) -> tuple[str, Mapping[str, str]] | str:
        """The fingerprint of a task's code, and what it consists of; in words why there is none."""
        options, instances = call.options, bound.interface.instances
        nodes = (call.node.key, *[item.node for item in instances]) if instances else (call.node.key,)
        by_value = targets is not None and any(key.startswith("value:") for key in nodes)
        objects = tuple([id(targets.get(key)) for key in nodes]) if by_value and targets is not None else ()
        asked = (nodes, objects, options.version, options.env, options.packages, options.image)
        found = self._fingerprints.get(asked)
        if found is None:
            found = self._call_code(call, nodes, targets)
            if not (by_value and isinstance(found, str)):  # the object may be gone, and another have its id
                self._fingerprints[asked] = found
        return found

    def _call_code(
        self, call: Call, nodes: tuple[str, ...], targets: Mapping[str, Any] | None
    ) -> tuple[str, Mapping[str, str]] | str:
        from grandpa_kfp_runtime.code.fingerprint import call_fingerprint

        prints: list[str] = []
        parts: dict[str, str] = {}
        for key in nodes:
            code = self._code.of(key, targets)
            if isinstance(code, str):
                return code
            prints.append(code.fingerprint)
            parts.update(code.parts)
        options = call.options
        chosen = {name: getattr(options, name) for name in ("version", "env", "packages", "image")}
        parts.update({f"the option {name}": repr(value) for name, value in chosen.items() if value})
        return call_fingerprint(prints[0], options, prints[1:]), parts

    def _interface(self, interface: Interface) -> str:
        text = self._interfaces.get(interface)
        if text is None:
            text = self._interfaces[interface] = json.dumps(interface.to_json(), separators=(",", ":"))
        return text

    def _text(self, leaf: Any, handle: Handle, place: Place) -> str | None:
        if type(leaf) is TaskOutput:
            found = handle(place.prefix + leaf.task, leaf.output)
            return found if found is None else short(found)
        if isinstance(leaf, Parceled):
            return leaf.text
        constant = leaf if isinstance(leaf, Constant) else self._parameters[leaf.name]
        value = constant.value
        if type(value) is int and -_PLAIN_INT < value < _PLAIN_INT:  # what tiny tasks get: the fast way there
            return str(value)
        if place.targets is not None and isinstance(leaf, Constant):  # of a body: there may be very many
            return self._values.text(constant)
        known = self._constants.get(id(constant))
        if known is None:
            known = self._constants[id(constant)] = (constant, constant_text(constant))
        return known[1]
