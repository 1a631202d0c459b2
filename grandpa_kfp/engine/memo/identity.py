"""One task's cache key: its code, how it is called, what it gets. Or in words why it has none.

The same parts that Kubeflow's own key has: the fingerprint with the options that count, the interface with the
declared outputs, and the handles of the inputs. The store's URI needs no part in it, since results lie in the store.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from grandpa_kfp_compiler.bind import Bound
from grandpa_kfp_compiler.graph import Call, Constant, TaskOutput
from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.stores.base import key_of
from grandpa_kfp_runtime.values.codecs import encode, is_json_exact, json_text
from grandpa_kfp_runtime.values.objects import pack
from grandpa_kfp_runtime.values.sharing import describing

from ..control import control_of
from .code import GraphCode

_PLAIN_INT = 2**53
_LONGEST_TEXT = 64
"""Characters of an input in a record: a hash stands for longer ones."""

Handle = Callable[[TaskOutput], "str | None"]
"""The handle of a task's output; None where it has none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """key: of the whole; node: the node's key; fingerprint: of its code and the options that count; inputs: by name."""

    key: str
    node: str
    fingerprint: str
    inputs: Mapping[str, str]


class Identities:
    """The cache keys of one graph's tasks. parameters: of the run, by name."""

    def __init__(self, code: GraphCode, parameters: Mapping[str, Constant]) -> None:
        self._code = code
        self._parameters = parameters
        self._interfaces: dict[Interface, str] = {}
        self._fingerprints: dict[tuple[Any, ...], tuple[str, Mapping[str, str]] | str] = {}
        self._constants: dict[int, tuple[Constant, str | None]] = {}

    def of(self, call: Call, bound: Bound, handle: Handle) -> Identity | str:
        """The task's key; in words why there is none."""
        if call.options.cache is False:
            return "cache=False"
        if control_of(call) is not None:
            return "what is in it is decided while the graph runs"
        code = self.code(call, bound)
        if isinstance(code, str):
            return code
        inputs: dict[str, str] = {}
        for name, leaf in bound.sources:
            text = self._text(leaf, handle)
            if text is None:
                return f"its input {name} cannot be told apart from another one"
            inputs[name] = text
        fingerprint = code[0]
        # names stand in the interface; no text in it, nor an input's, holds a zero byte
        text = "\0".join((fingerprint, self._interface(bound.interface), *inputs.values()))
        key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return Identity(key, call.node.key, fingerprint, inputs)

    def code(self, call: Call, bound: Bound) -> tuple[str, Mapping[str, str]] | str:
        """The fingerprint of a task's code, and what it consists of; in words why there is none."""
        options, instances = call.options, bound.interface.instances
        nodes = (call.node.key, *[item.node for item in instances]) if instances else (call.node.key,)
        asked = (nodes, options.version, options.env, options.packages, options.image)
        found = self._fingerprints.get(asked)
        if found is None:
            found = self._fingerprints[asked] = self._call_code(call, nodes)
        return found

    def _call_code(self, call: Call, nodes: tuple[str, ...]) -> tuple[str, Mapping[str, str]] | str:
        from grandpa_kfp_runtime.code.fingerprint import call_fingerprint

        prints: list[str] = []
        parts: dict[str, str] = {}
        for key in nodes:
            code = self._code.of(key)
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

    def _text(self, leaf: Any, handle: Handle) -> str | None:
        if type(leaf) is TaskOutput:
            found = handle(leaf)
            return found if found is None else _short(found)
        constant = leaf if isinstance(leaf, Constant) else self._parameters[leaf.name]
        value = constant.value
        if type(value) is int and -_PLAIN_INT < value < _PLAIN_INT:  # what tiny tasks get: the fast way there
            return str(value)
        known = self._constants.get(id(constant))
        if known is None:
            known = self._constants[id(constant)] = (constant, _constant_text(constant))
        return known[1]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"#{key_of(text.encode('utf-8', 'surrogatepass'))}"


def _constant_text(constant: Constant) -> str | None:
    """The same text for the same value and no other; None where there is no such text."""
    if constant.handle is not None:
        return _short(constant.handle)
    value = constant.value
    if is_json_exact(value):
        return _short(json_text(value))
    files = _files_text(value)
    if files is None:
        return None
    try:
        with describing("a task") as described:
            encoded = encode(value, files=False, here=True, class_fingerprint=class_fingerprint)
            return None if described.any else f"#{key_of(pack(encoded))}{files}"
    except Exception:  # the task that takes it will tell what is wrong with it
        return None


def _files_text(value: Any) -> str | None:
    """Size and time of change of the files that paths in it name; None for a folder, which is not looked through."""
    if isinstance(value, Path):
        try:
            at = os.stat(value)
        except OSError:
            return ""
        return None if stat.S_ISDIR(at.st_mode) else f" {at.st_size} {at.st_mtime_ns}"
    kind = type(value)
    items = value if kind in (list, tuple, set, frozenset) else value.values() if kind is dict else ()
    texts = [_files_text(item) for item in items]
    return None if None in texts else "".join(text for text in texts if text)
