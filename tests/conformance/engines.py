"""The columns of the table of conformance: ways of running a row, and what came of it."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from by_hand import CALLED
from kfp_by_hand import WARM, TaskFailed, cluster

from grandpa_kfp import compile, run, trace
from grandpa_kfp.engine.processes.crew import Crew
from grandpa_kfp.engine.run import Run
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores.file import FileStore
from grandpa_kfp_runtime.values.handles import from_handle

from .names import Spec, node_of, of_run, of_yaml_run
from .rows import Row


@dataclass(frozen=True)
class Outcome:
    """ran, skipped: how often tasks of each node; None where the engine does not tell. error: the message of a run that
    has failed, which has no value."""

    value: Any
    ran: Counter[str] | None
    skipped: Counter[str] | None
    error: str = ""


@dataclass
class Machine:
    """What the ways of running share: worker processes, and one store, so that no value is written twice."""

    folder: Path
    crew: Crew
    image: str = ""
    texts: dict[tuple[int, str], str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def compiled(self, row: Row, fuse: str = "auto") -> str:
        """The YAML, compiled once for all rows and engines that run it."""
        key = id(row.workflow), fuse
        if key not in self.texts:
            options = {"image": self.image, "fuse": fuse} if self.image else {"fuse": fuse}
            self.texts[key] = compile(row.workflow, self.folder / "pipeline.yaml", **options).text
        return self.texts[key]


def python(row: Row, machine: Machine, folder: Path) -> Outcome:
    """Plain Python calls the bodies."""
    CALLED.clear()
    try:
        return Outcome(row.plain(**row.params), Counter(CALLED), None)
    except Exception as error:
        if not row.fails:
            raise
        return Outcome(None, Counter(CALLED), None, str(error))


def threads(row: Row, machine: Machine, folder: Path) -> Outcome:
    return _locally(row)


def processes(row: Row, machine: Machine, folder: Path) -> Outcome:
    return _locally(row, processes=machine.crew)


def _locally(row: Row, **options: Any) -> Outcome:
    graph = trace(row.workflow)
    try:
        done = run(row.workflow, row.params, record=False, **options)
    except TaskError as failed:
        return Outcome(None, *of_run(_told(failed), graph), str(failed))
    return Outcome(done.value, *of_run(done, graph))


def _told(error: TaskError) -> Run:
    assert error.run is not None
    return error.run


def kubeflow(row: Row, machine: Machine, folder: Path) -> Outcome:
    """The compiled YAML by the rules that Kubeflow's own source gives (`kfp_by_hand`)."""
    return _by_hand(row, machine, folder, machine.compiled(row))


def fused(row: Row, machine: Machine, folder: Path) -> Outcome:
    """The same with `--fuse chains`: fewer containers, in which the local engine runs the tasks."""
    return _by_hand(row, machine, folder, machine.compiled(row, "chains"))


def _by_hand(row: Row, machine: Machine, folder: Path, text: str) -> Outcome:
    found = cluster(text, folder, machine.store)
    spec = Spec(next(yaml.safe_load_all(text)))
    try:
        value, error = found.run(row.params), ""
    except TaskFailed as failed:
        value, error = None, str(failed)
    if spec.has_steps:
        return Outcome(value, None, None, error)
    return Outcome(value, spec.ran(found.ran), spec.skipped(found.skipped), error)


def subprocesses(row: Row, machine: Machine, folder: Path) -> Outcome:
    """`grandpa run pipeline.yaml`."""
    return _yaml(row, machine, folder)


def docker(row: Row, machine: Machine, folder: Path) -> Outcome:
    """`grandpa run pipeline.yaml --engine docker`."""
    return _yaml(row, machine, folder, engine="docker")


def _yaml(row: Row, machine: Machine, folder: Path, **options: Any) -> Outcome:
    from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml

    text = machine.compiled(row)
    spec = Spec(next(yaml.safe_load_all(text)))
    try:
        done, error = run_pipeline_yaml(text, row.params, root=folder, store=machine.store, **options), ""
    except TaskError as failed:
        done, error = _told(failed), str(failed)
    return Outcome(done.value, *of_yaml_run(done, trace(row.workflow), spec), error)


def kfp_local(row: Row, machine: Machine, folder: Path) -> Outcome:
    """kfp.local conducts the compiled YAML: its own DAGs, conditions and iterators.

    Its Docker runner needs Docker and Docker's Python client, its subprocess runner refuses every component that is a
    container: so the container's command is a process here.
    """
    from google.protobuf.json_format import ParseDict
    from kfp import local
    from kfp.local import pipeline_orchestrator
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

    document = next(yaml.safe_load_all(machine.compiled(row)))
    spec = ParseDict(document, PipelineSpec())
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"))
    ran: Counter[str] = Counter()
    failed: list[str] = []
    value, told = None, ""
    with _containers_as_processes(machine.store, folder, ran, failed):
        try:
            outputs = pipeline_orchestrator.run_local_pipeline(spec, dict(row.params))
            value = from_handle(outputs["result"], FileStore(machine.store)) if "result" in outputs else None
        except RuntimeError as error:
            told = f"{error}\n{failed}"
    return Outcome(value, None if Spec(document).has_steps else ran, None, told)


@contextlib.contextmanager
def _containers_as_processes(store: Path, folder: Path, ran: Counter[str], failed: list[str]) -> Iterator[None]:
    """ran: takes the nodes of containers; failed: what those said that have failed."""
    from kfp.local import status
    from kfp.local.subprocess_task_handler import SubprocessTaskHandler

    count = iter(range(1_000_000))

    def handle(self: Any) -> status.Status:
        ran.update(node_of(self.full_command))
        place = folder / f"container-{next(count)}"
        place.mkdir()
        if self.full_command[2] != "grandpa_kfp_runtime":
            return status.Status.FAILURE if subprocess.run(self.full_command).returncode else status.Status.SUCCESS
        ended = WARM.run(self.full_command[3:], {**self.env_vars, "GRANDPA_STORE": str(store)}, place)
        failed.extend([ended.text] * (ended.code != 0))
        return status.Status.FAILURE if ended.code else status.Status.SUCCESS

    refusals = ("validate_image", "validate_not_container_component", "validate_not_containerized_python_component")
    with contextlib.ExitStack() as stack:
        for name in refusals:
            stack.enter_context(mock.patch.object(SubprocessTaskHandler, name, return_value=None))
        stack.enter_context(mock.patch.object(SubprocessTaskHandler, "run", handle))
        yield


Engine = Callable[[Row, Machine, Path], Outcome]

ENGINES: dict[str, Engine] = {
    "python": python,
    "threads": threads,
    "processes": processes,
    "yaml": subprocesses,
    "kubeflow": kubeflow,
    "fused": fused,
    "kfp.local": kfp_local,
    "docker": docker,
}
HERE = tuple(name for name in ENGINES if name != "docker")
"""What runs wherever the tests run; `docker` in tests/docker."""
