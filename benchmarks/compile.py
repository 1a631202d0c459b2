"""Tracing and compiling, beside the kfp SDK's compiler on the same graph, in the same run.

    python benchmarks/compile.py [--quick]

Every figure comes from a process of its own in which nothing was compiled before; imports are not
counted, of either side. Prints a table, writes benchmarks/results/compile.md and compile.json. Says what falls short of
its target, and never fails on time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def measure_ours(tasks: int) -> dict[str, float]:
    """Seconds for each step, and bytes. Nothing is fused, as the SDK fuses nothing: sizes.py has what comes of that."""
    from graphs import chain, unfused

    from grandpa_kfp.authoring.tracing import trace
    from grandpa_kfp.packing import pack

    start = time.perf_counter()
    graph = trace(chain, {"tasks": tasks})
    traced = time.perf_counter()
    packed = pack(graph)
    done_packing = time.perf_counter()
    text = unfused(packed)
    end = time.perf_counter()
    return {
        "trace_s": traced - start,
        "pack_s": done_packing - traced,
        "compile_s": end - done_packing,
        "total_s": end - start,
        "bytes": len(text.encode()),
    }


def measure_kfp(tasks: int) -> dict[str, float]:
    """The SDK builds its graph while the pipeline is defined, so that counts too."""
    import warnings

    warnings.simplefilter("ignore")
    from graphs import kfp_chain
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        start = time.perf_counter()
        compiler.Compiler().compile(kfp_chain(tasks), str(file))
        end = time.perf_counter()
        return {"total_s": end - start, "bytes": file.stat().st_size}


def in_process(what: str, tasks: int, times: int) -> dict[str, float]:
    """The median of several processes, figure by figure."""
    found = []
    for _ in range(times):
        command = [sys.executable, __file__, "--measure", what, str(tasks)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {name: statistics.median(item[name] for item in found) for name in found[0]}


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def measured(quick: bool) -> dict[str, Any]:
    times = 1 if quick else 3
    ours = {tasks: in_process("ours", tasks, times) for tasks in (100, 1000, 10_000)}
    sdk = {tasks: in_process("kfp", tasks, 1 if quick else 2) for tasks in (100, 1000)}
    return {"ours": ours, "kfp": sdk, "python": sys.version.split()[0]}


def figures_table(ours: dict[int, dict[str, float]], sdk: dict[int, dict[str, float]]) -> str:
    rows = [["tasks", "ours, ms", "trace", "pack", "compile", "bytes/task", "kfp SDK, ms", "its bytes/task", "faster"]]
    for tasks, figures in ours.items():
        peer = sdk.get(tasks)
        row = [f"{tasks:,}"]
        row += [f"{figures[name] * 1000:.0f}" for name in ("total_s", "trace_s", "pack_s", "compile_s")]
        row.append(f"{figures['bytes'] / tasks:.0f}")
        row.append(f"{peer['total_s'] * 1000:.0f}" if peer else "")
        row.append(f"{peer['bytes'] / tasks:.0f}" if peer else "")
        row.append(f"{peer['total_s'] / figures['total_s']:.0f}x" if peer else "")
        rows.append(row)
    return table(rows)


def targets_table(ours: dict[int, dict[str, float]], sdk: dict[int, dict[str, float]]) -> str:
    faster = sdk[1000]["total_s"] / ours[1000]["total_s"]
    growth = ours[10_000]["total_s"] / ours[1000]["total_s"]
    targets = [
        ("times faster than the kfp SDK, 1,000 tasks", "at least 20", faster, faster >= 20),
        ("time of 10,000 tasks over that of 1,000", "about 10", growth, growth <= 13),
    ]
    for tasks in (1000, 10_000):
        size = ours[tasks]["bytes"] / tasks
        targets.append((f"bytes of YAML a task, {tasks:,} tasks", "at most 700", size, size <= 700))
    rows = [[name, target, f"{value:.1f}", "" if met else "falls short"] for name, target, value, met in targets]
    return table([["what", "target", "measured", ""], *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each figure once; leaves the results as they are")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "TASKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, tasks = options.measure
        print(json.dumps((measure_ours if what == "ours" else measure_kfp)(int(tasks))))
        return
    found = measured(options.quick)
    text = f"{figures_table(found['ours'], found['kfp'])}\n\n{targets_table(found['ours'], found['kfp'])}\n"
    print(text)
    if options.quick:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "compile.md").write_text(text, encoding="utf-8")
    (RESULTS / "compile.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
