"""README quotes the committed benchmark results and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_figures_in_the_readme_are_those_of_the_results() -> None:
    """`python benchmarks/readme.py` would change nothing in README.md."""
    if not BENCHMARKS.is_dir():
        pytest.skip("the tests run without the checkout's benchmarks")
    code = (
        "import readme, pathlib; text = readme.README.read_text(encoding='utf-8'); print(readme.filled(text) == text)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
