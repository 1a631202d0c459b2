"""From a task's options to its container: image, command, environment, resources, secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from grandpa_kfp_runtime.contract import (
    ENV_ACCESS_KEY,
    ENV_INDEX_URL,
    ENV_INLINE_BYTES,
    ENV_PACKAGES,
    ENV_PYTHON,
    ENV_REDACT,
    ENV_RUNTIME,
    ENV_SECRET_KEY,
    ENV_TIMEOUT_S,
    ENV_VERBOSE,
    INLINE_LIMIT_BYTES,
    TaskCall,
    json_for_args,
)
from grandpa_kfp_runtime.errors import CompileError

from ..graph import Call
from .bootstrap import BOOTSTRAP_COMMAND, runtime_requirement
from .options import RELEASED_IMAGE, CompileOptions
from .pipeline import Executor, SecretVariable

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
    """Makes the containers of one pipeline; `notes` holds what the user should know, each once."""

    options: CompileOptions
    image: str
    python: str
    version: str
    notes: dict[str, None] = field(default_factory=dict)

    def task(self, call: Call, args: TaskCall, inline_bytes: int) -> Executor:
        """The container of a task. Raises CompileError for options that Kubernetes would change or refuse."""
        chosen = call.options
        env = dict(chosen.env or ())
        where = f"{call.id} ({call.where})" if call.where else call.id
        for name, value in env.items():
            _check_env(where, name, value)
        user_secrets = _secrets(where, chosen.secrets or ())
        env.update(self._own_env(call, inline_bytes, [item.variable for item in user_secrets]))
        env.setdefault("TMPDIR", SCRATCH)
        return Executor(
            self._image(where, chosen.image),
            self.command(),
            tuple(args.argv()),
            tuple(sorted(env.items())),
            tuple(sorted((*user_secrets, *self.store_secrets()), key=lambda item: item.variable)),
            None if chosen.cpu is None else str(chosen.cpu),
            None if chosen.memory is None else str(chosen.memory),
            chosen.gpu or None,
            chosen.timeout_s,
            env["TMPDIR"] == SCRATCH,
            self.options.pull_policy,
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
            self.store_secrets(),
            pull_policy=self.options.pull_policy,
        )

    def command(self) -> tuple[str, ...]:
        return BOOTSTRAP_COMMAND if self.options.bootstrap else COMMAND

    def store_secrets(self) -> tuple[SecretVariable, ...]:
        if not self.options.secret or not self.options.store.startswith("s3:"):
            return ()
        secret = self.options.secret
        return (
            SecretVariable(ENV_ACCESS_KEY, secret, "accesskey"),
            SecretVariable(ENV_SECRET_KEY, secret, "secretkey"),
        )

    def _image(self, where: str, image: str | None) -> str:
        if image is None:
            return self.image
        if not _IMAGE.fullmatch(image):
            raise CompileError(f"{where}: image {image!r} is no image's name; write it as registry/name:tag")
        return image

    def _own_env(self, call: Call, inline_bytes: int, secrets: list[str]) -> dict[str, str]:
        chosen = call.options
        env = {ENV_PYTHON: self.python}
        if chosen.timeout_s is not None:
            env[ENV_TIMEOUT_S] = f"{float(chosen.timeout_s)!r}".removesuffix(".0")
        if inline_bytes != INLINE_LIMIT_BYTES:
            env[ENV_INLINE_BYTES] = str(inline_bytes)
        if secrets:
            env[ENV_REDACT] = ",".join(sorted(secrets))
        if chosen.verbose:
            env[ENV_VERBOSE] = "1"
        if self.options.bootstrap:
            env[ENV_RUNTIME] = runtime_requirement(self.version)
        if chosen.packages:
            env[ENV_PACKAGES] = json_for_args(sorted(chosen.packages))
        if chosen.index_url and (chosen.packages or self.options.bootstrap):
            env[ENV_INDEX_URL] = chosen.index_url
        return env


_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def _check_env(where: str, name: str, value: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise CompileError(f"{where}: env {name!r} is no name of an environment variable in Kubernetes")
    if "{{" in value or "}}" in value or "$(" in value:
        raise CompileError(
            f"{where}: env {name} holds `{{{{`, `}}}}` or `$(`, which Argo and Kubernetes replace: set it in the "
            "node's body, or keep it in a Kubernetes secret (secrets=)"
        )
    if "\0" in value:
        raise CompileError(f"{where}: env {name} holds a NUL character, which no environment can hold")


def _secrets(where: str, secrets: tuple[tuple[str, str], ...]) -> list[SecretVariable]:
    found = []
    for variable, source in secrets:
        secret, _, key = source.partition("/")
        if not secret or not key or not _VARIABLE.fullmatch(variable):
            raise CompileError(
                f"{where}: secrets {variable}={source!r} names no key of a secret; write {variable}='secret/key'"
            )
        found.append(SecretVariable(variable, secret, key))
    return found
