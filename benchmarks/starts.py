"""What a person waits for: one task's start in a container, a command's help, imports, a recompile after an edit.

All of them are whole processes, one of each in turn, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timing import Found

_PIPELINE = """
from grandpa_kfp import Node, Static, Workflow
{nodes}

@Workflow
def flow(start: int = 1) -> int:
    value = start
    for node in ({names}):
        for _ in range(10):
            value = node(value)
    return value
"""
_NODE = """

@Node
def step_{number}(x: int) -> int:
    return x + {addend}
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One process to start, and what it is started with."""

    args: Sequence[str]
    folder: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def seconds(self) -> float:
        """How long it runs. It must succeed."""
        env = {**os.environ, **self.env}
        begun = time.perf_counter()
        done = subprocess.run(self.args, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - begun
        assert not done.returncode, f"{' '.join(self.args)[:80]} failed: {(done.stdout + done.stderr)[-400:]}"
        return taken


def in_turn(commands: Mapping[str, Callable[[], Command]], times: int) -> dict[str, list[float]]:
    """Seconds of each, one round to warm the disk's caches not counted."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for count in range(times + 1):
        for name, make in commands.items():
            taken = make().seconds()
            if count:
                found[name].append(taken)
    return found


def _python(*args: str) -> Callable[[], Command]:
    return lambda: Command([sys.executable, *args])


def imports(times: int) -> Found:
    commands = {
        "ours": _python("-c", "import grandpa_kfp"),
        "ours, Node and Workflow used": _python("-c", "from grandpa_kfp import Node, Workflow"),
        "kfp": _python("-W", "ignore", "-c", "import kfp"),
        "limit: python -c pass": _python("-c", "pass"),
    }
    return {"import": in_turn(commands, times)}


def command_help(times: int) -> Found:
    commands = {
        "ours": lambda: Command([str(Path(sys.executable).with_name("grandpa")), "--help"]),
        "kfp --help": lambda: Command([str(Path(sys.executable).with_name("kfp")), "--help"]),
        "limit: python -c pass": _python("-c", "pass"),
    }
    return {"help": in_turn(commands, times)}


def container_task(times: int) -> Found:
    """One task by the commands that containers run, without the container; the kfp SDK as in an image that has it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {
            "ours": _Container(folder).command,
            "kfp lightweight component": _lightweight(folder),
            "limit: python -c pass": _python("-c", "pass"),
        }
        return {"container task": in_turn(commands, times)}


class _Container:
    """The command of a compiled task, with the input that Kubeflow would give it, a folder of outputs each time."""

    def __init__(self, folder: Path) -> None:
        import yaml
        from flows import inc

        import grandpa_kfp
        from grandpa_kfp_runtime.contract import ENV_STORE, EXECUTOR_INPUT

        text = grandpa_kfp.compile(inc).text
        executor = next(iter(next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()))
        self._container, self._placeholder = executor["container"], EXECUTOR_INPUT
        self._env = {item["name"]: item["value"] for item in self._container["env"]}
        self._env |= {ENV_STORE: str(folder / "store"), "TMPDIR": str(folder)}
        self._folder = folder
        self._count = 0

    def command(self) -> Command:
        self._count += 1
        run = self._folder / "runs" / f"{self._count:04}"
        given = json.dumps(_executor_input(run, "result"))
        args = [given if item == self._placeholder else item for item in self._container["args"]]
        return Command([sys.executable, "-m", "grandpa_kfp_runtime", *args], env=self._env)


def _executor_input(folder: Path, output: str) -> dict[str, object]:
    """What Kubeflow would give a task with the input x and one output."""
    return {
        "inputs": {"parameterValues": {"x": 1}},
        "outputs": {
            "parameters": {output: {"outputFile": str(folder / output)}},
            "outputFile": str(folder / "executor_output.json"),
        },
    }


def _lightweight(folder: Path) -> Callable[[], Command]:
    """The whole command that kfp compiles: pip finds the SDK there, so that nothing is fetched."""
    import warnings

    import yaml

    warnings.simplefilter("ignore")
    import graphs
    from kfp import compiler, dsl

    compiler.Compiler().compile(dsl.component(graphs.inc), str(folder / "component.yaml"))
    text = (folder / "component.yaml").read_text(encoding="utf-8")
    container = yaml.safe_load(text)["deploymentSpec"]["executors"]["exec-inc"]["container"]
    given = json.dumps(_executor_input(folder / "kfp", "Output"))
    args = [given if item == "{{$}}" else item for item in container["args"]]
    env = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    return lambda: Command([*container["command"], *args], env=env)


def recompile(times: int) -> Found:
    """100 tasks of ten nodes; each time the body of one is another, and the YAML has to be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pyproject.toml").write_text('[project]\nname = "edited"\n', encoding="utf-8")
        grandpa = str(Path(sys.executable).with_name("grandpa"))
        edits = iter(range(1, 1000))
        seen: set[str] = set()

        def edited() -> Command:
            edit = next(edits)
            nodes = "".join(_NODE.format(number=number, addend=edit if number == 5 else 1) for number in range(10))
            names = ", ".join(f"step_{number}" for number in range(10))
            (folder / "pipeline.py").write_text(_PIPELINE.format(nodes=nodes, names=names), encoding="utf-8")
            if edit > 1:
                seen.add((folder / "pipeline.yaml").read_text(encoding="utf-8"))
            return Command([grandpa, "compile", "pipeline.py"], folder)

        found = in_turn({"ours": edited}, times)
        assert len(seen) == times, "the YAML stayed as it was after an edit"
        return {"recompile": found}


PARTS: dict[str, Callable[[int], Found]] = {
    "a container's task": container_task,
    "grandpa --help": command_help,
    "import": imports,
    "edit and recompile": recompile,
}
