"""The examples in the pages on caching, events, generators and shared state run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["caching.md", "events.md", "generators.md", "sync.md"])
def test_examples_run(page, tmp_path):
    """Each page's examples, one after the other, as a script."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    script = tmp_path / "examples.py"
    script.write_text("\n\n".join(blocks).replace("\nassert", "\nif __name__ == '__main__':\n    assert"))
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
