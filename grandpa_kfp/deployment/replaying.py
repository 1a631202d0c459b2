"""One task of a run once more, in this process, with the inputs that it had: for `InspectedTask.replay`.

`recorded.py` finds how the task was made. Nothing is written but the replay's own folder,
`.grandpa/replays/<run>/<task>/`, which holds what the task reads and leaves as files, until its next replay.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from grandpa_kfp_runtime.contract import FUSED, VALUE, Input, Interface
from grandpa_kfp_runtime.errors import GrandpaError, LoadError, ObjectGone, ParameterError

Load = Callable[[str], Any]


class OpenCode(Protocol):
    """Code whose nodes can be loaded, until it is closed."""

    def load(self, key: str) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Made:
    """How a task of a run was made.

    node: its key. read: decodes inputs, of files into a folder. open_code: the code that the run had, unpacked
    into a folder. root: the project on this machine.
    """

    run: str
    task: str
    node: str
    interface: Interface
    env: Mapping[str, str]
    root: Path
    read: Callable[[Sequence[Input], Load, Path], dict[str, Any]]
    open_code: Callable[[Path], OpenCode]


def replay(made: Made, given: Mapping[str, Any], code: Literal["current", "run"]) -> Any:
    """The task's value, of a task with several outputs a dict. given: inputs that take the place of the run's.

    Raises TaskError with the report, what the node raised as its `__cause__`; ParameterError for an input that the
    task has not; LoadError or PayloadError where the code is gone; StoreError and CodecError for an input.
    """
    from grandpa_kfp_runtime.builtins import BY_HANDLE

    if made.node in BY_HANDLE:
        raise LoadError(f"{made.task} only collects other tasks' results: no code of yours runs in it")
    interface = _overridden(made, given)
    folder = made.root / ".grandpa" / "replays" / made.run / made.task
    shutil.rmtree(folder, ignore_errors=True)
    _make(folder, made.root)
    fused = made.node.startswith(FUSED)
    opened: OpenCode = CurrentCode(made.root)
    if fused or code == "run":  # the run's own code holds the graph of a step
        opened = made.open_code(folder / "code")
        if code == "current":
            opened.close()
            opened = CurrentCode(made.root)
    try:
        return (_run_step if fused else _run)(made, interface, given, opened, folder)
    finally:
        opened.close()


def _run(made: Made, interface: Interface, given: Mapping[str, Any], code: OpenCode, folder: Path) -> Any:
    from grandpa_kfp_runtime.context import TaskContext, activate
    from grandpa_kfp_runtime.launch.task_code import where_of
    from grandpa_kfp_runtime.task import perform

    from ..engine import environment
    from ..engine.reports import Failing, failure

    target = code.load(interface.instances[int(interface.receiver[1:])].node if interface.receiver else made.node)
    root = str(folder / "code") if (folder / "code").exists() else str(made.root)
    values = {**_inputs(made, interface, given, code.load, folder), **given}
    context = TaskContext(made.run, made.task, folder=folder / "scratch")
    setting = tuple(sorted(made.env.items()))
    environment.enter(setting)
    try:
        with activate(context):
            return _stored(perform(made.node, interface, dict(values), code.load), folder)
    except (Exception, SystemExit) as error:
        task = Failing(made.task, made.node, where_of(target, root))
        raise failure(task, made.run, 1, error, inputs=values, handles={}, root=root) from error
    finally:
        environment.leave(setting)
        context.close()


def _run_step(made: Made, interface: Interface, given: Mapping[str, Any], code: OpenCode, folder: Path) -> Any:
    """All tasks of a fused step, in memory. Raises StepFailed, a TaskError, with the report of the one that failed."""
    from grandpa_kfp_runtime.launch.step import Room, open_step
    from grandpa_kfp_runtime.redaction import NOTHING_SECRET
    from grandpa_kfp_runtime.stores.memory import MemoryStore

    values = {**_inputs(made, interface, given, code.load, folder), **given}
    results: dict[str, Any] = {}

    def leave(name: str, value: Any) -> str:
        results[name] = value
        return ""

    step = open_step(
        made.node,
        Room(
            made.run, made.task, "1", folder, MemoryStore(), code.load, NOTHING_SECRET, lambda value: None, leave,
            lambda name, value: ("", {}), lambda event: None, lambda text: None, lambda text: None,
        ),
    )  # fmt: skip
    before = {name: os.environ.get(name) for name in made.env}
    os.environ.update(made.env)  # as a container has it: `engine.environment` would have tasks with their own wait
    try:
        step.run([(None, values[item.source]) for item in interface.call.positional])
        return _stored({name: results[name] for name in interface.outputs}, folder)
    finally:
        step.close()
        for name, text in before.items():
            os.environ.pop(name, None)
            if text is not None:
                os.environ[name] = text


def _inputs(made: Made, interface: Interface, given: Mapping[str, Any], load: Load, folder: Path) -> dict[str, Any]:
    (folder / "inputs").mkdir()
    try:
        return made.read([item for item in interface.inputs if item.name not in given], load, folder / "inputs")
    except ObjectGone as error:
        raise ObjectGone(
            f"{made.task}: {error}. Give the input another value, --set NAME=VALUE, or run anew"
        ) from error
    except GrandpaError as error:
        raise type(error)(f"{made.task}: {error}") from error


def _overridden(made: Made, given: Mapping[str, Any]) -> Interface:
    """The interface, its given inputs taken whole: what they are given is the part that a `ref[key]` asks for."""
    known = [item.name for item in made.interface.inputs]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ParameterError(
                f"{made.task} has no input {name}"
                + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known) or 'none'}")
            )
    inputs = tuple(Input(item.name) if item.name in given else item for item in made.interface.inputs)
    return replace(made.interface, inputs=inputs)


def _stored(results: dict[str, Any], folder: Path) -> Any:
    """The task's value as its consumers would get it. Raises CodecError for what no run could hand on."""
    from grandpa_kfp_runtime.values.codecs import decode, encode

    from ..engine.values import is_plain

    for name, value in results.items():
        encoded = encode(value, name=name)
        if not is_plain(encoded):  # files: the task's own go with its scratch folder
            (folder / "outputs").mkdir(exist_ok=True)
            results[name] = decode(encoded, scratch=folder / "outputs")
    return next(iter(results.values())) if len(results) == 1 else results or None


def _make(folder: Path, root: Path) -> None:
    from ..engine.record import home

    try:
        home(root)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoadError(f"the replay has no place for its files: {folder}: {error.strerror}") from error


class CurrentCode:
    """The project's code as it stands on this machine: a breakpoint in it holds, a change counts."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self, key: str) -> Any:
        """The callable of a node's key. Raises LoadError where the project has it no more."""
        from grandpa_kfp_runtime.code.marks import unmarked

        module, _, qualname = key.partition(":")
        if key.startswith(VALUE) or not qualname:
            name = key.removeprefix(VALUE)
            raise LoadError(f"the node {name} is no module's, so it has no current code: replay it by --code run")
        found = self._module(module)
        for name in qualname.split("."):
            if not hasattr(found, name):
                near = difflib.get_close_matches(name, dir(found), 1)
                raise LoadError(
                    f"{module} has no {qualname} any more" + (f"; did {near[0]} take its place?" if near else "")
                    + "; the run's own code is replayed by --code run"
                )  # fmt: skip
            found = getattr(found, name)
        return unmarked(found)

    def close(self) -> None:
        """The project's modules stay: they are this process's own."""

    def _module(self, name: str) -> Any:
        from ..loading import load_file

        file = self._file(name)
        if file is not None:
            return load_file(file)
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise LoadError(f"{name} cannot be imported: {error}") from error
            raise LoadError(
                f"the project in {self._root} has no module {name}: go into the project of the run, "
                "or replay the run's own code by --code run"
            ) from error

    def _file(self, name: str) -> Path | None:
        """The project's file of a module's name; a name that we made up is looked for in the whole project."""
        from grandpa_kfp_runtime.code.project import SCRIPT_PREFIX, module_name_for

        path = self._root.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
        if name.startswith(SCRIPT_PREFIX):
            for folder, folders, files in os.walk(self._root):
                folders[:] = sorted(item for item in folders if not item.startswith((".", "__")))
                for item in sorted(files):
                    if item.endswith(".py") and module_name_for(Path(folder) / item, self._root) == name:
                        return Path(folder) / item
        return None
