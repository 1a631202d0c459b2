"""A user's project in a folder of its own, and `grandpa` called in it, for tests.

`Project.grandpa` calls the command in this process, which is quick; `Project.process` starts a process, as a
shell does. Both give what a user sees: exit code, standard output, standard error.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

MARK = "# <-"
IMPORTS = "from grandpa_kfp import Component, Node, Ref, Static, Workflow, resolve\n"
CONSOLE = "from grandpa_kfp.cli import main; main()"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The messages behind `error:`, each with the lines that belong to it."""
        return re.split(r"^error: ", self.err, flags=re.MULTILINE)[1:]

    @property
    def value(self) -> Any:
        """The workflow's value, out of the last line."""
        import ast

        return ast.literal_eval(self.out.splitlines()[-1])


class Project:
    """A folder with a `grandpa.toml`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("grandpa.toml", "")

    def write(self, name: str, text: str) -> Path:
        """A file of the project; what the parts of a Python file share is not indented."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def flow(self, source: str, name: str = "flow.py") -> Path:
        """A Python file that imports the public names first."""
        return self.write(name, IMPORTS + textwrap.dedent(source))

    def line(self, name: str = "flow.py", mark: str = MARK) -> str:
        """`flow.py:12`, the line that bears the mark."""
        lines = (self.folder / name).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, 1) if mark in line]
        assert len(found) == 1, f"{name} has {len(found)} lines with {mark}"
        return f"{name}:{found[0]}"

    def graph_file(self, source: str = "flow.py", name: str = "flow.json") -> Path:
        """The graph file of a Python file, by Python's door: not every test is to hang on one verb."""
        from grandpa_kfp.compiling import packed
        from grandpa_kfp.loading import load_target
        from grandpa_kfp_compiler.json_format import dumps

        with here(self.folder):
            return self.write(name, dumps(packed(load_target(source))))

    def files(self) -> dict[str, bytes]:
        """Every file and its content, but for Python's own caches."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def objects(self) -> list[Path]:
        """What lies in the project's own store."""
        return sorted((self.folder / ".grandpa" / "store" / "objects").glob("*/*"))

    def grandpa(self, *args: str | Path) -> Ended:
        """The command in this process."""
        from grandpa_kfp.cli.failures import exit_code_of
        from grandpa_kfp.cli.lazy import cli

        out, err = io.StringIO(), io.StringIO()
        given = [str(arg) for arg in args]
        with here(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = exit_code_of(partial(cli.main, args=given, prog_name="grandpa", standalone_mode=False))
        return Ended(code, out.getvalue(), err.getvalue())

    def process(
        self, *args: str | Path, env: Mapping[str, str] | None = None, typed: str = "", **options: Any
    ) -> Ended:
        """The command in a process of its own. typed: what stands in its standard input."""
        done = subprocess.run(
            [sys.executable, "-c", CONSOLE, *map(str, args)],
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            input=typed.encode(),
            capture_output=True,
            timeout=180,
            **options,
        )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextlib.contextmanager
def here(folder: Path) -> Iterator[None]:
    """In a folder, with the modules that come out of it and their places in `sys.path` for this long only."""
    before, path = os.getcwd(), list(sys.path)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]


def says(ended: Ended, code: int, *parts: str) -> str:
    """Asserts one message with all the parts in it, the exit code, and no frame of ours; gives the message."""
    assert ended.code == code, f"exit code {ended.code}, not {code}:\n{ended.err}"
    assert len(ended.errors) == 1, ended.err
    (message,) = ended.errors
    for part in parts:
        assert part in message, f"{part!r} is not in:\n{message}"
    assert not ended.out
    for ours in ("/grandpa_kfp", "site-packages", "defect of grandpa-kfp"):
        assert ours not in ended.err, ended.err
    return message
