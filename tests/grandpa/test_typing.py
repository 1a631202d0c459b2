"""To type checkers a node keeps its own signature: mypy strict and pyright agree over the files in typing_cases."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "grandpa" / "typing_cases"
SOURCES = os.pathsep.join(str(ROOT / folder) for folder in ("", "compiler", "runtime_image"))


def marked_lines() -> set[int]:
    """The lines of wrong.py that are marked."""
    lines = (CASES / "wrong.py").read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def check(*command: str) -> str:
    environment = {**os.environ, "MYPYPATH": SOURCES}
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240).stdout


@pytest.mark.slow
def test_mypy_strict():
    """No fault in right.py, the marked lines of wrong.py alone."""
    pytest.importorskip("mypy")
    cache = str(ROOT / ".cache" / "mypy-cases")
    output = check("mypy", "--strict", "--config-file=", "--cache-dir", cache, *map(str, sorted(CASES.glob("*.py"))))
    assert not re.findall(r"^.*right\.py:.*error.*$", output, re.MULTILINE), output
    assert {int(line) for line in re.findall(r"wrong\.py:(\d+): error", output)} == marked_lines(), output


@pytest.mark.slow
def test_pyright():
    """The same."""
    pytest.importorskip("pyright")
    output = check("pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, sorted(CASES.glob("*.py"))))
    report = json.loads(output[output.index("{") :])
    assert report["summary"]["filesAnalyzed"] == 2
    errors = [item for item in report["generalDiagnostics"] if item["severity"] == "error"]
    assert [item for item in errors if item["file"].endswith("right.py")] == []
    assert {item["range"]["start"]["line"] + 1 for item in errors} == marked_lines()
