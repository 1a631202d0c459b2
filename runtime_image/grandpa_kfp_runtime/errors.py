"""The error tree: every error this project raises on purpose, from one base.

    GrandpaError                 exit 1
    ├── TraceError               a workflow's body does what a graph cannot record
    │   └── RefAttributeError    ... by touching an attribute (is an AttributeError too)
    ├── GraphError               a graph is wrong; `faults` lists everything found
    ├── ParameterError           a workflow's parameter is unknown, missing or of the wrong type
    ├── LoadError                a file the user named cannot be imported or read
    ├── ConfigError              the project's configuration, or a GRANDPA_ variable, is wrong
    ├── CodecError               a value cannot be encoded or decoded
    ├── PayloadError             the code zip or a node in it is not what it should be
    ├── PackagesError            packages that a node asks for are not there and cannot be installed
    ├── StoreError               the object store failed
    │   ├── ObjectGone           an object that should be there is not
    │   ├── ObjectCorrupt        an object's bytes do not match its key
    │   ├── StoreDenied          the credentials are wrong or lack a right
    │   ├── StoreUnavailable     the server does not answer
    │   └── StoreFull            no space or quota left
    ├── CompileError             a graph that is right cannot become a KFP pipeline as asked
    ├── DeployError              a Kubeflow Pipelines server refused or failed
    ├── ContainerError           Docker is not there, or an image or container cannot be had
    └── TaskError                exit 3: a task failed
        ├── TaskTimeout          ... it ran longer than its timeout_s
        └── RunCancelled         ... it was stopped from outside

Messages say what was wrong, where (task, the user's file:line) and what to do. The command
line prints the message alone and exits with `exit_code`; anything that is not a GrandpaError
is a defect of ours and exits with 70.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GrandpaError(Exception):
    """Base of all errors of this project; `exit_code` is what the command line returns."""

    exit_code = 1


class TraceError(GrandpaError):
    """The body of a workflow or component does what a graph cannot record."""


class RefAttributeError(TraceError, AttributeError):
    """An attribute of a Ref or Instance was touched; an AttributeError for `hasattr` and `copy`."""


class GraphError(GrandpaError):
    """A graph is wrong. `faults` holds one line a fault, each with its file:line."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(str(fault) for fault in faults)
        super().__init__("\n".join(self.faults))

    def __reduce__(self) -> tuple[type[GraphError], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


class ParameterError(GrandpaError):
    """A workflow's parameter is unknown, missing or of the wrong type."""


class LoadError(GrandpaError):
    """A file the user named cannot be imported or read."""


class ConfigError(GrandpaError):
    """The project's configuration, or an environment variable in its place, is wrong."""


class CodecError(GrandpaError):
    """A value cannot be encoded or decoded."""


class PayloadError(GrandpaError):
    """The code zip, or a node in it, is not what it should be."""


class PackagesError(GrandpaError):
    """Packages that a node asks for are not installed where it runs, or cannot be."""


class StoreError(GrandpaError):
    """The object store failed."""


class ObjectGone(StoreError):
    """An object that should be in the store is not there."""


class ObjectCorrupt(StoreError):
    """An object's length or hash does not match its key."""


class StoreDenied(StoreError):
    """The store refused the credentials, or they lack a right."""


class StoreUnavailable(StoreError):
    """The store's server does not answer."""


class StoreFull(StoreError):
    """The store has no space left."""


class CompileError(GrandpaError):
    """A graph that is right cannot become a KFP pipeline as asked."""


class DeployError(GrandpaError):
    """A Kubeflow Pipelines server refused a request or failed.

    status: its HTTP status, 0 where it gave none; transient: asking again may help.
    """

    def __init__(self, message: str, *, status: int = 0, transient: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.transient = transient


class ContainerError(GrandpaError):
    """Docker is not there or does not answer, or an image or a container cannot be had."""


class TaskError(GrandpaError):
    """A task failed; the message is the whole report for a person, `task` its id.

    `run`: of an error that ended a local run, the `Run` as far as it came; else None.
    """

    exit_code = 3
    run: Any = None

    def __init__(self, message: str, *, task: str = "") -> None:
        super().__init__(message)
        self.task = task


class TaskTimeout(TaskError):
    """A task ran longer than its `timeout_s`."""


class RunCancelled(TaskError):
    """A run was stopped from outside."""
