"""From a task's options to its container: image, command, environment, resources, and what Kubernetes adds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from grandpa_kfp_runtime.contract import (
    ENV_ACCESS_KEY,
    ENV_CALLBACKS,
    ENV_FALLBACK,
    ENV_GUARDED,
    ENV_INDEX_URL,
    ENV_INLINE_BYTES,
    ENV_INTERFACE,
    ENV_PACKAGES,
    ENV_PYTHON,
    ENV_REDACT,
    ENV_RUNTIME,
    ENV_SECRET_KEY,
    ENV_TIMEOUT_S,
    ENV_VERBOSE,
    ENV_WHERE,
    INLINE_LIMIT_BYTES,
    TaskCall,
    json_for_args,
)
from grandpa_kfp_runtime.errors import CompileError

from ..executor_config import Entry, executor_config, scratch_entry, secret_entry, secret_variables
from ..graph import NO_OPTIONS, Call, ContainerNode, Json, Options
from ..passes.builtins import DECIDING
from ..verify.faults import place_of
from .bootstrap import BOOTSTRAP_COMMAND, runtime_requirement
from .options import RELEASED_IMAGE, CompileOptions
from .pipeline import GPU, Amount, Executor

COMMAND = ("python", "-m", "grandpa_kfp_runtime")
SCRATCH = "/scratch"
"""Where the emptyDir is mounted, and `$TMPDIR` points to."""


def default_image(version: str, python: str) -> str:
    """The released runtime's image.

    >>> default_image("0.1.0", "3.12")
    'ghcr.io/grandpa-kfp/runtime:0.1.0-py3.12'
    """
    return f"{RELEASED_IMAGE}:{version}-py{python}"


@dataclass(slots=True)
class Executors:
    """Makes the containers of one pipeline; `notes` holds what the user should know, each once.

    callbacks: of the workflow, as `callbacks.py` writes them.
    """

    options: CompileOptions
    image: str
    python: str
    version: str
    notes: dict[str, None] = field(default_factory=dict)
    callbacks: str = ""

    def task(self, call: Call, args: TaskCall, inline_bytes: int, guarded: tuple[str, ...] | None = None) -> Executor:
        """The container of a task. guarded: of an exit handler that asks how they have ended, the tasks before it.

        Raises CompileError for options that Kubernetes would change.
        """
        chosen = call.options
        env = dict(chosen.env or ())
        where = f"{call.id} ({call.where})" if call.where else call.id
        for name, value in env.items():
            _check_env(where, name, value)
        own = self._everywhere()
        given = {name for pairs in (chosen.env, chosen.secrets, chosen.config_maps) for name, _ in pairs or ()}
        if "TMPDIR" not in given:
            own.append(scratch_entry(_OWN, SCRATCH, chosen.disk))
        config = executor_config(chosen, own)
        _check_texts(where, config)
        env.update(self._own_env(call, inline_bytes, secret_variables(config)))
        if guarded is not None and len(names := json_for_args(list(guarded))) <= _MOST_GUARDED_BYTES:
            env[ENV_GUARDED] = names
        if "TMPDIR" not in given:
            env["TMPDIR"] = SCRATCH
        self._note(where, chosen, config)
        return Executor(
            chosen.image or self.image,
            self.command(),
            tuple(args.argv()),
            tuple(sorted(env.items())),
            _amount(chosen.cpu),
            _amount(chosen.memory),
            _accelerator(chosen),
            config,
        )

    def container(self, call: Call, node: ContainerNode) -> Executor:
        """The container of somebody else's image and command. Raises CompileError as `task` does."""
        chosen = call.options
        where = f"{call.id} ({call.where})" if call.where else call.id
        env = {**dict(node.env), **dict(chosen.env or ())}
        for name, value in env.items():
            _check_env(where, name, value)
        if not node.by_name:  # the server tells components apart by their containers alone, not by what goes in and out
            env[ENV_INTERFACE] = node.fingerprint
        pulled = [Entry(_OWN, "imagePullPolicy", self.options.pull_policy)] if self.options.pull_policy else []
        config = executor_config(chosen, pulled)
        _check_texts(where, config)
        self._note(where, chosen, config)
        return Executor(
            node.image,
            node.command,
            node.args,
            tuple(sorted(env.items())),
            _amount(chosen.cpu),
            _amount(chosen.memory),
            _accelerator(chosen),
            config,
            json.loads(node.resources) if node.resources else {},
        )

    def code_task(self, argv: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> Executor:
        """The container of a task that puts a part of the code into the store."""
        own = {ENV_PYTHON: self.python, **dict(env)}
        if self.options.bootstrap:
            own[ENV_RUNTIME] = runtime_requirement(self.version)
        return Executor(
            self.image,
            self.command(),
            argv,
            tuple(sorted(own.items())),
            kubernetes=executor_config(NO_OPTIONS, self._everywhere()),
        )

    def command(self) -> tuple[str, ...]:
        return BOOTSTRAP_COMMAND if self.options.bootstrap else COMMAND

    def _everywhere(self) -> list[Entry]:
        """What every container has: the store's credentials, when its image is pulled."""
        own = []
        secret = self.options.secret
        if secret and self.options.store.startswith("s3:"):
            own.append(secret_entry(_OWN, ENV_ACCESS_KEY, secret, "accesskey"))
            own.append(secret_entry(_OWN, ENV_SECRET_KEY, secret, "secretkey"))
        if self.options.pull_policy:
            own.append(Entry(_OWN, "imagePullPolicy", self.options.pull_policy))
        return own

    def _note(self, where: str, options: Options, config: dict[str, Json]) -> None:
        if options.disk and options.gpu:
            self.notes[
                f"{where}: disk={options.disk!r} bounds {SCRATCH} but reserves nothing: KFP has one place for a "
                "further resource, and the GPU takes it"
            ] = None
        for field_, instead in _UNREAD.items():
            if field_ in config:
                self.notes[f"{where}: KFP's servers up to 2.17 take {field_} and do nothing with it{instead}"] = None

    def _own_env(self, call: Call, inline_bytes: int, secrets: list[str]) -> dict[str, str]:
        chosen = call.options
        env = {ENV_PYTHON: self.python}
        if chosen.timeout_s is not None:
            env[ENV_TIMEOUT_S] = f"{float(chosen.timeout_s)!r}".removesuffix(".0")
        if inline_bytes != INLINE_LIMIT_BYTES:
            env[ENV_INLINE_BYTES] = str(inline_bytes)
        if secrets:
            env[ENV_REDACT] = ",".join(sorted(secrets))
        if chosen.fallback is not None:
            attempts = (chosen.retries or 0) + 1
            env[ENV_FALLBACK] = json_for_args({"attempts": attempts, "value": chosen.fallback})
        if call.where and call.node in DECIDING:
            env[ENV_WHERE] = call.where
        if chosen.verbose:
            env[ENV_VERBOSE] = "1"
        if self.callbacks:
            env[ENV_CALLBACKS] = self.callbacks
        if self.options.bootstrap:
            env[ENV_RUNTIME] = runtime_requirement(self.version)
        if chosen.packages:
            env[ENV_PACKAGES] = _packages_text(call, chosen.packages)
        if chosen.index_url and (chosen.packages or self.options.bootstrap):
            env[ENV_INDEX_URL] = chosen.index_url
        return env


def _packages_text(call: Call, packages: tuple[str, ...]) -> str:
    text = json_for_args(sorted(packages))
    if len(text) > _MOST_PACKAGES_BYTES:
        raise CompileError(
            f"{place_of(call)}: its {len(packages)} requirements take {len(text):,} bytes, and every task's container "
            f"holds them, at most {_MOST_PACKAGES_BYTES:,}: build an image with them by `grandpa image build "
            "--requirements`"
        )
    return text


_MOST_GUARDED_BYTES = 4 * 1024
_MOST_PACKAGES_BYTES = 32 * 1024
_OWN = "grandpa-kfp"
_UNREAD = {"podAffinity": "", "enabledSharedMemory": "; set shm="}
EPHEMERAL_STORAGE = "ephemeral-storage"


def _amount(value: str | tuple[str | None, str | None] | None) -> Amount:
    return Amount(*value) if isinstance(value, tuple) else Amount(limit=value)


def _accelerator(options: Options) -> tuple[str, str] | None:
    """The one further resource that KFP knows a field for, and how much of it: GPUs, else disk."""
    if options.gpu:
        return options.gpu_type or GPU, str(options.gpu)
    return (EPHEMERAL_STORAGE, options.disk) if options.disk else None


def _check_env(where: str, name: str, value: str) -> None:
    if "{{" in value or "}}" in value or "$(" in value:
        raise CompileError(
            f"{where}: env {name} holds `{{{{`, `}}}}` or `$(`, which Argo and Kubernetes replace: set it in the "
            "node's body, or keep it in a Kubernetes secret (secrets=)"
        )
    if "\0" in value:
        raise CompileError(f"{where}: env {name} holds a NUL character, which no environment can hold")


def _check_texts(where: str, config: Json) -> None:
    """Argo replaces what stands in double braces in whatever it is handed."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((*value, *value.values()))
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and ("{{" in value or "}}" in value or "\0" in value):
            raise CompileError(
                f"{where}: an option for Kubernetes holds `{{{{`, `}}}}` or a NUL character, which Argo would "
                f"replace or refuse: {value!r}"
            )
