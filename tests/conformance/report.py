"""The table of conformance at the end of a test session: a plugin of pytest, read from the properties of tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("conformance.holding")

COLUMNS = ("python", "threads", "processes", "yaml", "kubeflow", "fused", "kfp.local", "docker")
PROPERTY = "conformance"
_NAME, _CELL = 36, 8
_LEGEND = """\
Each cell: the same value as plain Python, and the same tasks executed; +n: so many told as skipped;
nothing: another row of the same workflow was asked.
python: bodies called by hand. yaml: `grandpa run pipeline.yaml`. kubeflow: Kubeflow's rules, written
down in tests/kfp_by_hand.py; fused: the same with `--fuse chains`, where the cluster sees less.
kfp.local: the SDK's own conductor. docker: `grandpa run --engine docker`, in `make test-docker`."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[str, dict[str, str]] = {}
    reasons: dict[str, str] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == PROPERTY and report.when == "call":
                    row, engine, cell, reason = value
                    rows.setdefault(row, {})[engine] = cell if report.passed else "FAILED"
                    if reason:
                        reasons[reason] = cell
    if not rows:
        return
    engines = [name for name in COLUMNS if any(name in cells for cells in rows.values())]
    terminalreporter.section("conformance")
    terminalreporter.write_line("".join([" " * _NAME, *(f"{name:<{_width(name)}}" for name in engines)]).rstrip())
    for row, cells in rows.items():
        line = "".join(f"{cells.get(name, ''):<{_width(name)}}" for name in engines)
        terminalreporter.write_line(f"{row:<{_NAME}}{line}".rstrip(), red="FAILED" in line)
    terminalreporter.write_line(_LEGEND)
    for reason, cell in reasons.items():
        terminalreporter.write_line(f"{cell}: {reason}")


def _width(engine: str) -> int:
    return max(_CELL, len(engine) + 1)
