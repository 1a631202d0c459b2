"""One cell of the table of conformance."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .engines import ENGINES, Machine
from .report import PROPERTY
from .rows import Row


def hold(row: Row, engine: str, machine: Machine, folder: Path, note: Callable[[str, object], None]) -> None:
    """Runs a row one way and asserts what came of it; notes the cell for the table.

    Where the row says that the engine refuses it, the refusal's message is asserted: a cell that has come to work is
    a failure, until the row says so.
    """
    refusal = row.refused.get(engine)
    if refusal is not None:
        note(PROPERTY, (row.name, engine, "refused" if refusal.says else "-", f"{engine}: {refusal.why}"))
        if refusal.says:
            with pytest.raises(Exception, match=refusal.says):
                ENGINES[engine](row, machine, folder)
        return
    ran, skipped = row.expected
    note(PROPERTY, (row.name, engine, "ok", ""))
    expected = ENGINES["python"](row, machine, folder)
    found = expected if engine == "python" else ENGINES[engine](row, machine, folder)
    if row.fails:
        assert re.search(row.fails, found.error), found.error
    else:
        assert not found.error
        assert found.value == expected.value
    if found.ran is not None:
        assert found.ran == ran
    if found.skipped is not None:
        assert found.skipped == skipped
        note(PROPERTY, (row.name, engine, "ok" + f" +{sum(skipped.values())}" * bool(skipped), ""))
