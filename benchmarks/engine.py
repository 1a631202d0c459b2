"""The local engine beside its peers, and what a person waits for, all in one run on one machine.

    python benchmarks/engine.py [--quick] [--only WORD]

Every part (one who is measured, for some figures) runs in a process of its own. Prints tables, writes
benchmarks/results/engine.md and engine.json. Says what falls short of its target, and never fails on time; who is
not installed, or fails, is listed with the reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from compile import RESULTS, table
from figures import FIGURES, TARGETS, Target
from machine import machine, sentence
from timing import Found

MODULES = ("tiny_tasks", "arrays", "shapes", "starts")
PEERS = ("grandpa-kfp", "joblib", "loky", "dask", "distributed", "ray", "kfp", "numpy")
NOT_INSTALLABLE = {
    "TinyComputationGraph": "in no package registry",
    "GrandPa": "what is released of it is an older version, of JSON templates",
    "kfp lightweight component with packages_to_install": "fetches packages at every start",
}
SLOW = {
    "distributed", "Ray", "dask, processes", "ProcessPool, spawn", "loky", "ours, A..G, threads", "dask, A..G, threads",
}  # fmt: skip
"""Parts that --quick leaves out."""
_PART_AT_MOST_S = 300
_BYTECODE = Path(__file__).resolve().parent.parent / "build" / "bytecode"
"""Installed packages have theirs, and so must a checkout, whatever the caller's setting."""


def measure(module: str, part: str, times: int) -> dict[str, Any]:
    """One part, in this process: `found`, or why there is nothing."""
    try:
        return {"found": importlib.import_module(module).PARTS[part](times)}
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return {"missing": f"{type(error).__name__}: {lines[0]}"}


def in_process(module: str, part: str, times: int) -> dict[str, Any]:
    """One part in a process of its own, ended with all its children when it takes too long."""
    command = [sys.executable, __file__, "--measure", module, part, str(times)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(_BYTECODE)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env=env, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=_PART_AT_MOST_S)
        except subprocess.TimeoutExpired:
            return {"missing": f"not done after {_PART_AT_MOST_S} s"}
        finally:
            _end_group(process.pid)
    try:
        return dict(json.loads(out.decode().splitlines()[-1]))
    except (ValueError, IndexError):
        last = err.decode(errors="replace").strip().splitlines()[-1:] or [""]
        return {"missing": f"ended with {process.returncode}: {last[0]}"}


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # it left nobody behind


def measured(quick: bool, only: str) -> dict[str, Any]:
    """All parts whose name holds `only`, most of them in several processes, whose samples stand together."""
    times, runs = (1, 1) if quick else (10, 3)
    found: Found = {}
    missing: dict[str, str] = {}
    about = machine(PEERS)
    for module in MODULES:
        for part in importlib.import_module(module).PARTS:
            if only not in f"{module}: {part}":
                continue
            if quick and part in SLOW:
                missing[part] = "takes long, left out of the quick run"
                continue
            begun = time.perf_counter()
            for _ in range(1 if module in ("shapes", "starts") else runs):
                one = in_process(module, part, times)
                if "missing" in one:
                    missing[part] = one["missing"]
                for figure, samples in one.get("found", {}).items():
                    for who, seconds in samples.items():
                        found.setdefault(figure, {}).setdefault(who, []).extend(seconds)
            print(f"{module}: {part}: {missing.get(part) or f'{time.perf_counter() - begun:.1f} s'}", file=sys.stderr)
    return {"machine": about, "seconds": found, "missing": missing}


# --- tables --------------------------------------------------------------------------------------


def shown(value: float) -> str:
    """Three figures, and no more than two behind the point.

    >>> shown(1234.5), shown(56.78), shown(3.14159), shown(0.0049)
    ('1,234', '56.8', '3.14', '0.00')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figures_table(found: Found) -> str:
    rows = [["what", "who", "median", "least", "unit", "over ours"]]
    for name, figure in FIGURES.items():
        samples = {who: seconds for who, seconds in found.get(name, {}).items() if seconds}
        own = [statistics.median(seconds) for who, seconds in samples.items() if who.startswith("ours")]
        for number, (who, seconds) in enumerate(sorted(samples.items(), key=_order)):
            middle = statistics.median(seconds)
            row = [figure.title if not number else "", who, shown(middle * figure.scale)]
            row += [shown(min(seconds) * figure.scale), figure.unit]
            rows.append([*row, "" if who.startswith("ours") or not own else f"{shown(middle / min(own))}x"])
    return table(rows)


def _order(item: tuple[str, list[float]]) -> tuple[int, float]:
    """Ours first, then from fast to slow, the limit last."""
    who, seconds = item
    return (0 if who.startswith("ours") else 2 if who.startswith("limit") else 1), statistics.median(seconds)


def targets_table(found: Found) -> str:
    rows = [["what", "target", "measured", "limit", ""]]
    for target in TARGETS:
        value = _value(target, found)
        verdict = "not measured" if value is None else "falls short" if value > target.at_most else ""
        rows.append([target.what, target.wanted, "" if value is None else shown(value), _limit(target, found), verdict])
    return table(rows)


def _median(found: Found, place: tuple[str, str]) -> float | None:
    seconds = found.get(place[0], {}).get(place[1])
    return statistics.median(seconds) if seconds else None


def _value(target: Target, found: Found) -> float | None:
    value = _median(found, target.place)
    for other, combined in ((target.less, lambda a, b: a - b), (target.over, lambda a, b: a / b)):
        if value is not None and other is not None:
            by = _median(found, other)
            value = None if by is None else combined(value, by)
    scale = 1.0 if target.over else FIGURES[target.place[0]].scale
    return None if value is None else value * scale


def _limit(target: Target, found: Found) -> str:
    """The limit, or for a ratio the figure that it is a ratio to, in that figure's own unit."""
    place = target.limit or target.over
    value = None if place is None else _median(found, place)
    if place is None or value is None:
        return ""
    figure = FIGURES[place[0]]
    return f"{place[1].removeprefix('limit: ')}: {shown(value * figure.scale)} {figure.unit}"


def missing_list(missing: dict[str, str]) -> str:
    return "\n".join(f"- {who}: {why}" for who, why in {**missing, **NOT_INSTALLABLE}.items())


def report(found: dict[str, Any]) -> str:
    parts = [sentence(found["machine"]), figures_table(found["seconds"]), targets_table(found["seconds"])]
    return "\n\n".join([*parts, f"Not measured:\n\n{missing_list(found['missing'])}"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each figure a few times; leaves the results as they are")
    parser.add_argument("--only", default="", metavar="WORD", help="parts whose name holds it; results are not written")
    parser.add_argument("--measure", nargs=3, metavar=("MODULE", "PART", "TIMES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        module, part, times = options.measure
        print(json.dumps(measure(module, part, int(times))))
        return
    found = measured(options.quick, options.only)
    text = report(found)
    print(text)
    if not options.quick and not options.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "engine.md").write_text(text, encoding="utf-8")
        (RESULTS / "engine.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
