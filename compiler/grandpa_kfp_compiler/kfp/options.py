"""What a user may choose when a workflow becomes a Kubeflow pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from grandpa_kfp_runtime.errors import CompileError

from ..passes.fuse import MODES as MODES

CODE_MODES = ("auto", "inline", "task", "store")
DEFAULT_STORE = "s3://mlpipeline/grandpa?endpoint=http://minio-service.kubeflow:9000"
DEFAULT_SECRET = "mlpipeline-minio-artifact"
RELEASED_IMAGE = "ghcr.io/grandpa-kfp/runtime"
"""Repository of the released runtime; its tag is the version and the Python minor."""


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Everything `compile` may be told.

    fuse: which tasks share a container: `none`; `chains`; `components`, each call of one; `auto` what
        `@Component(fuse=True)` asks for, and more where Kubeflow could not hold the pipeline otherwise.
    code: how the workflow's code reaches its tasks: `inline` in each task's environment, by a first
        `task` that stores it, or already in the `store`; `auto` takes inline while it fits.
    image: of every node that names none itself; by default the released runtime of this version.
    store: where values go, `s3://bucket/prefix?endpoint=...`; secret: the Kubernetes secret with its keys
        `accesskey` and `secretkey`, empty for a store that needs none.
    epoch: raised to make KFP forget what it has cached. bootstrap: `image` is any image with Python; the
        runtime and the nodes' packages are installed when a task starts.
    python: the minor version of the default image, `3.12`; by default the one that packed the code.
    name: the pipeline's name, by default the workflow's. pull_policy: `Always`, `IfNotPresent`, `Never`.
    outputs: `handle`, or `value` for a pipeline of the kfp SDK that is to use the result: a parameter of KFP's own type
        by the workflow's annotation, an artifact for a `Path`.
    print_after: write the graph after this pass, by `write` (standard error by default).
    """

    code: Literal["auto", "inline", "task", "store"] = "auto"
    image: str | None = None
    store: str = DEFAULT_STORE
    secret: str = DEFAULT_SECRET
    epoch: int = 0
    bootstrap: bool = False
    python: str | None = None
    name: str | None = None
    pull_policy: str | None = None
    outputs: Literal["handle", "value"] = "handle"
    fuse: str = "auto"
    print_after: str | None = None
    write: Callable[[str], object] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.code not in CODE_MODES:
            raise CompileError(f"code is one of {', '.join(CODE_MODES)}, not {self.code!r}")
        if self.fuse not in MODES:
            raise CompileError(f"fuse is one of {', '.join(MODES)}, not {self.fuse!r}")
        if self.pull_policy not in (None, "Always", "IfNotPresent", "Never"):
            raise CompileError(f"pull_policy is Always, IfNotPresent or Never, not {self.pull_policy!r}")
        if self.outputs not in ("handle", "value"):
            raise CompileError(f"outputs is handle or value, not {self.outputs!r}")
        if type(self.epoch) is not int or self.epoch < 0:
            raise CompileError(f"epoch is a whole number from 0 up, not {self.epoch!r}")
        if self.python is not None and not _PYTHON.fullmatch(self.python):
            raise CompileError(f"python is a minor version such as 3.12, not {self.python!r}")
        if self.bootstrap and self.image is None:
            raise CompileError("bootstrap installs into an image of yours: say which, say image='python:3.12-slim'")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise CompileError(f"image {self.image!r} is no image's name; write it as registry/name:tag")
        if self.secret and not _SECRET.fullmatch(self.secret):
            raise CompileError(f"secret {self.secret!r} is no name of a Kubernetes secret; write its name alone")
        _check_store(self.store)

    @classmethod
    def of(cls, options: dict[str, Any]) -> CompileOptions:
        """From keyword arguments. Raises CompileError for a name that does not exist."""
        known = [item.name for item in fields(cls)]
        for name in options:
            if name not in known:
                raise CompileError(f"compile has no option {name!r}; it takes {', '.join(known)}")
        return cls(**options)


_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")
_PYTHON = re.compile(r"\d+\.\d+")
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_CREDENTIALS = ("access_key", "secret_key", "accesskey", "secretkey", "password", "token")


def _check_store(store: str) -> None:
    if not store or store.startswith("memory:"):
        raise CompileError("a pipeline's tasks share no memory; store is an s3:// address or a folder they all mount")
    if "{{" in store or "}}" in store or "$" in store:
        raise CompileError(f"store {store!r} holds `{{{{`, `}}}}` or `$`, which the cluster would replace")
    parts = urlsplit(store)
    if parts.username or parts.password or any(name in parse_qs(parts.query) for name in _CREDENTIALS):
        raise CompileError(
            "store holds credentials, and they would be in the YAML for everyone to read; leave them out: "
            "tasks get them from the Kubernetes secret that `secret` names"
        )
