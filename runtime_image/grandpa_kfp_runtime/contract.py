"""What compiler, local engine and container agree on: a task's call, its interface, its environment.

The compiler writes a `TaskCall` into a container's args; the launcher reads it back. The local
engine binds the same `Interface` without the detour. Both directions of each form stand side by side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from .errors import PayloadError
from .typespec import Json, TypeSpec

CONTRACT = 1
"""Version of everything in this module; args carry it and the image checks it."""

ENV_CODE = "GRANDPA_CODE"  # base64 of the zstd of the code zip, or `@key,@key` of its parts in the store
ENV_CODE_SHA256 = "GRANDPA_CODE_SHA256"  # hex, over the code zip itself
ENV_PYTHON = "GRANDPA_PYTHON"  # the Python minor that the code was packed by, `3.12`
ENV_TIMEOUT_S = "GRANDPA_TIMEOUT_S"
ENV_STORE = "GRANDPA_STORE"  # takes the place of --store, so that one YAML runs against any store
ENV_ACCESS_KEY = "GRANDPA_STORE_ACCESS_KEY"
ENV_SECRET_KEY = "GRANDPA_STORE_SECRET_KEY"
ENV_SESSION_TOKEN = "GRANDPA_STORE_SESSION_TOKEN"  # temporary credentials have one, others none
ENV_STORE_PATIENCE_S = "GRANDPA_STORE_PATIENCE_S"  # how long a request is repeated while the server is gone
ENV_INLINE_BYTES = "GRANDPA_INLINE_BYTES"  # largest handle that may be the value itself
ENV_INTERFACE = "GRANDPA_INTERFACE"  # of a container of another image: a hash of what goes in and out
ENV_REDACT = "GRANDPA_REDACT"  # names of environment variables whose values are secrets, `A,B`
ENV_PACKAGES = "GRANDPA_PACKAGES"  # JSON list of the node's requirements, installed when its task starts
ENV_INDEX_URL = "GRANDPA_INDEX_URL"  # the package index they come from, `${NAME}` standing for a variable
ENV_FALLBACK = "GRANDPA_FALLBACK"  # JSON: `value`, the handle of a fallback; `attempts`, after how many it counts
ENV_RUNTIME = "GRANDPA_RUNTIME"  # the requirement of the runtime itself, which `--bootstrap` installs first
ENV_GUARDED = "GRANDPA_GUARDED"  # JSON list of tasks: whose failure an exit handler is told of, all where it is unset
ENV_WHERE = "GRANDPA_WHERE"  # file:line of the branch or loop that a builtin task decides for
ENV_VERBOSE = "GRANDPA_VERBOSE"  # `1`: the task says more on standard error
ENV_CALLBACKS = "GRANDPA_CALLBACKS"  # JSON list of handles: whom the task tells of its events
ENV_TASK_NAME = "GRANDPA_TASK_NAME"  # set by local engines; KFP's comes from the output URI
ENV_PARENT = "GRANDPA_PARENT_FD"  # set by local engines: a pipe that ends when the engine's process does
ENV_TELL = "GRANDPA_TELL"  # set by local engines, `record`: the engine shows the report of a failure, the task does not
ENV_ATTEMPT = "GRANDPA_ATTEMPT"  # set by local engines; elsewhere time and pod name the attempt

INLINE_LIMIT_BYTES = 2048
"""A value whose JSON is longer goes to the store."""
FAN_IN_BUDGET_BYTES = 48 * 1024
"""All inline inputs of one task together stay below this."""
INPUTS_LIMIT_BYTES = 96 * 1024
"""All inputs of one task together; above it gather tasks come in."""

ROUNDS_LIMIT = 1_300
"""Rounds of a loop: what Kubeflow keeps of more would not fit the one object that holds the whole run. A tenth more
than what fits where nothing else is in it, since the figure is an estimate."""

VALUE = "value:"
"""What the key of a node begins with that travels by value; all others are `module:qualname`."""

RESULT = "result"
"""Name of the only output of a node that declares none."""

LOGGED_METRICS = "logged-metrics"
LOGGED_ARTIFACTS = "logged-artifacts"
"""Artifacts of a task whose code reaches `log_metric` or `log_params`, and `log_artifact`."""

FUSED = "grandpa_kfp.engine.fused:"
"""What the key of a fused step begins with, whose container runs a graph; the fingerprint of the graph follows."""

FUSED_TASKS = "fused-tasks"
"""Artifact of a fused step: which tasks ran in it, how long, and what they gave."""


def fused_member(fingerprint: str) -> str:
    """Where the code zip holds the graph of a fused step."""
    return f"__grandpa__/fused/{fingerprint}.json"


EXECUTOR_INPUT = "{{$}}"
"""KFP's placeholder for the whole ExecutorInput as JSON."""


ABSENT = "@absent"
"""The handle of an output that was not made. Kubeflow gives an empty text for that of a task that has failed."""


@runtime_checkable
class NodeLike(Protocol):
    """What the runtime knows of a node: the callable below it. The class lives upstairs."""

    __grandpa_node__: Any


@runtime_checkable
class RefLike(Protocol):
    """What the runtime knows of a Ref that a body returned: it can run itself."""

    def __grandpa_resolve__(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Input:
    """One input parameter of a component.

    kind `raw`: the value itself in KFP's own type, converted by `type`; never parsed as a handle.
    kind `handle`: a handle's text. `json` (a workflow parameter of a type KFP lacks): JSON text, which
        `type` turns into the value. `path` is applied after decoding. `file`: no parameter but an artifact, which
        KFP's launcher has downloaded; its value is the local path, and `type` names the artifact's schema title.
        `outcome`: None, or a FailureInfo of what the task waits for; `failure`: without one the task does nothing.
    """

    name: str
    kind: Literal["raw", "handle", "json", "file", "outcome", "failure"] = "handle"
    type: TypeSpec | None = None
    path: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        if self.kind == "handle" and not self.path:
            return self.name
        parts: dict[str, Json] = {"name": self.name, "kind": self.kind}
        if self.type is not None:
            parts["type"] = self.type.to_json()
        if self.path:
            parts["path"] = list(self.path)
        return parts

    @classmethod
    def from_json(cls, data: Json) -> Input:
        if isinstance(data, str):
            return cls(data)
        type_json = data.get("type")
        return cls(
            data["name"],
            data["kind"],
            None if type_json is None else TypeSpec.from_json(type_json),
            tuple(data.get("path", ())),
        )


@dataclass(frozen=True, slots=True)
class Hole:
    """A place inside an argument's skeleton that is filled when the task runs.

    at: positions from the root down; the position in a list or tuple, of the entry in a dict, of the
        field in a dataclass.
    source: an input's name, or `#2` for the interface's instance 2.
    """

    at: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: the value of `source` (an input's name or `#n`), its holes filled."""

    source: str
    holes: tuple[Hole, ...] = ()

    def to_json(self) -> Json:
        return [self.source, *([list(hole.at), hole.source] for hole in self.holes)] if self.holes else self.source

    @classmethod
    def from_json(cls, data: Json) -> Argument:
        if isinstance(data, str):
            return cls(data)
        return cls(data[0], tuple(Hole(tuple(at), source) for at, source in data[1:]))


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call; order and names exactly as the user wrote them."""

    positional: tuple[Argument, ...] = ()
    named: tuple[tuple[str, Argument], ...] = ()

    def to_json(self) -> Json:
        return [[arg.to_json() for arg in self.positional], {name: arg.to_json() for name, arg in self.named}]

    @classmethod
    def from_json(cls, data: Json) -> Arguments:
        positional, named = data
        return cls(
            tuple(Argument.from_json(arg) for arg in positional),
            tuple((name, Argument.from_json(arg)) for name, arg in named.items()),
        )


@dataclass(frozen=True, slots=True)
class InstanceCall:
    """An instance to construct for the task: the class node's key and the arguments of its __init__."""

    node: str
    arguments: Arguments

    def to_json(self) -> Json:
        return [self.node, self.arguments.to_json()]

    @classmethod
    def from_json(cls, data: Json) -> InstanceCall:
        return cls(data[0], Arguments.from_json(data[1]))


@dataclass(frozen=True, slots=True)
class Export:
    """An output, or a part of one, once more in Kubeflow's own form, for containers that know no handles.

    type: KFP's type of an output parameter (`NUMBER_INTEGER`), or the schema title of an artifact (`system.Model`),
    whose file is then the value; name: of that parameter or artifact; path: applied to the output.
    """

    name: str
    output: str
    type: str
    path: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        return [self.name, self.output, self.type, *([list(self.path)] if self.path else ())]

    @classmethod
    def from_json(cls, data: Json) -> Export:
        name, output, type_, *path = data
        return cls(name, output, type_, tuple(path[0]) if path else ())


@dataclass(frozen=True, slots=True)
class Interface:
    """How a task's inputs become a call, and what it leaves behind.

    instances: constructed in order, later ones may use earlier ones.
    receiver: the source of the instance that is called (`#0`), empty for a function node.
    method: the method that is called on the receiver, empty for `__call__`.
    exports: outputs that other people's containers read.
    """

    inputs: tuple[Input, ...] = ()
    call: Arguments = field(default_factory=Arguments)
    instances: tuple[InstanceCall, ...] = ()
    receiver: str = ""
    method: str = ""
    outputs: tuple[str, ...] = (RESULT,)
    exports: tuple[Export, ...] = ()

    def to_json(self) -> Json:
        parts: dict[str, Json] = {}
        if self.inputs:
            parts["inputs"] = [item.to_json() for item in self.inputs]
        if self.call != Arguments():
            parts["call"] = self.call.to_json()
        if self.instances:
            parts["instances"] = [instance.to_json() for instance in self.instances]
        if self.receiver:
            parts["receiver"] = self.receiver
        if self.method:
            parts["method"] = self.method
        if self.outputs != (RESULT,):
            parts["outputs"] = list(self.outputs)
        if self.exports:
            parts["exports"] = [item.to_json() for item in self.exports]
        return parts

    @classmethod
    def from_json(cls, data: Json) -> Interface:
        return cls(
            tuple(Input.from_json(item) for item in data.get("inputs", ())),
            Arguments.from_json(data["call"]) if "call" in data else Arguments(),
            tuple(InstanceCall.from_json(item) for item in data.get("instances", ())),
            data.get("receiver", ""),
            data.get("method", ""),
            tuple(data.get("outputs", (RESULT,))),
            tuple(Export.from_json(item) for item in data.get("exports", ())),
        )


@dataclass(frozen=True, slots=True)
class TaskCall:
    """One task as a container's args. The executor input is KFP's placeholder until KFP fills it in."""

    node: str
    fingerprint: str
    interface: Interface
    store: str
    epoch: int = 0
    contract: int = CONTRACT

    def argv(self) -> list[str]:
        """The args: what KFP's cache key covers, so no code, no run id, no time in them."""
        return [
            "task",
            *("--contract", str(self.contract)),
            *("--node", self.node),
            *("--fingerprint", self.fingerprint),
            *("--interface", json_for_args(self.interface.to_json())),
            *("--store", self.store),
            *("--epoch", str(self.epoch)),
            *("--executor-input", EXECUTOR_INPUT),
        ]

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> tuple[TaskCall, str]:
        """The call and the executor input's text. Raises PayloadError for another contract or bad args."""
        options = parse_args(argv, "task")
        contract = options.get("--contract", "")
        if contract != str(CONTRACT):
            raise PayloadError(
                f"this image speaks contract {CONTRACT}, the pipeline was compiled for contract {contract or 'none'}; "
                "compile again with the image's version of grandpa-kfp, or use the image of the compiler's version"
            )
        try:
            call = cls(
                options["--node"],
                options["--fingerprint"],
                Interface.from_json(json.loads(options["--interface"])),
                options["--store"],
                int(options["--epoch"]),
            )
            return call, options["--executor-input"]
        except (KeyError, ValueError, TypeError) as error:
            raise PayloadError(f"args of the task are not what the compiler writes: {error!r}") from error


@dataclass(frozen=True, slots=True)
class CodeCall:
    """A task that puts one part of the code into the store, as a container's args.

    The zip, compressed with zstd, is cut into `parts` slices; GRANDPA_CODE of the task of part n holds
    the base64 of slice n. The task writes the slice as the handle of a `bytes` value is written, so that
    its key is known to the compiler, which puts `@key,@key` into the other tasks' GRANDPA_CODE.

    sha256: hex, over the whole zip; part counts from 1.
    """

    sha256: str
    part: int
    parts: int
    store: str
    contract: int = CONTRACT

    def argv(self) -> list[str]:
        return [
            "code",
            *("--contract", str(self.contract)),
            *("--sha256", self.sha256),
            *("--part", f"{self.part}/{self.parts}"),
            *("--store", self.store),
            *("--executor-input", EXECUTOR_INPUT),
        ]

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> tuple[CodeCall, str]:
        """The call and the executor input's text. Raises PayloadError for another contract or bad args."""
        options = parse_args(argv, "code")
        if options.get("--contract") != str(CONTRACT):
            raise PayloadError(f"this image speaks contract {CONTRACT}, not {options.get('--contract', 'none')}")
        try:
            part, _, parts = options["--part"].partition("/")
            call = cls(options["--sha256"], int(part), int(parts), options["--store"])
            return call, options["--executor-input"]
        except (KeyError, ValueError) as error:
            raise PayloadError(f"args of the task are not what the compiler writes: {error!r}") from error


def parse_args(argv: Sequence[str], verb: str) -> dict[str, str]:
    """`verb --name value ...` as a dict. Raises PayloadError for anything else."""
    if not argv or argv[0] != verb or len(argv) % 2 == 0:
        raise PayloadError(f"args of the task are not what the compiler writes: expected `{verb} --name value ...`")
    return dict(zip(argv[1::2], argv[2::2], strict=True))


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPES = {"{": "\\u007b", "}": "\\u007d", "$": "\\u0024"}


def json_for_args(value: Json) -> str:
    """JSON that neither KFP nor Argo nor Kubernetes rewrites: no `{{`, no `}}`, no `$` anywhere.

    >>> json_for_args({"a": {"b": "{{x}}"}})
    '{"a":{"b":"\\\\u007b\\\\u007bx\\\\u007d\\\\u007d"} }'
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    parts: list[str] = []
    end = 0
    for match in _STRING.finditer(text):
        parts.append(text[end : match.start()])
        parts.append(re.sub(r"[{}$]", lambda found: _ESCAPES[found.group()], match.group()))
        end = match.end()
    parts.append(text[end:])
    joined = "".join(parts)
    while "}}" in joined:
        joined = joined.replace("}}", "} }")
    return joined
