"""What Kubeflow has to hold: containers, pods, the predicted Argo Workflow of graphs of 100, 1,000 and 10,000 tasks.

    python benchmarks/sizes.py [--quick]

Beside each stands the kfp SDK's compiler on the same graph, in the same run; where it takes longer than a minute it is
given up, which is said, and not tried on graphs as large. The Workflow of both is predicted by the same reckoning
(compiler/grandpa_kfp_compiler/kfp/sizes.py), out of the YAML. Every figure comes from a process of its own; imports are
not counted, of either side. Prints a table, writes benchmarks/results/sizes.md and sizes.json. Says where something
does not fit Kubeflow, and never fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from compile import RESULTS, table
from engine import shown
from machine import machine, sentence
from size_graphs import SHAPES, kfp_pipeline, shape

PATIENCE_S = 60
SIZES = (100, 1000, 10_000)
LIMIT_KIB = 1024


def measure_ours(name: str, tasks: int) -> dict[str, Any]:
    """Seconds from the workflow to the YAML, and what is in that."""
    from grandpa_kfp.authoring.tracing import trace
    from grandpa_kfp.packing import pack
    from grandpa_kfp_compiler.kfp import compile_graph

    start = time.perf_counter()
    graph = trace(shape, {"name": name, "tasks": tasks})
    compiled = compile_graph(pack(graph))
    seconds = time.perf_counter() - start
    path = next((note for note in compiled.notes if note.startswith("critical path")), "")
    return {"tasks": sum(1 for _ in graph.calls()), "seconds": seconds, "path": path, **contents(compiled.text)}


def measure_kfp(name: str, tasks: int) -> dict[str, Any]:
    """The SDK builds its graph while the pipeline is defined, so that counts too."""
    import warnings

    warnings.simplefilter("ignore")
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        start = time.perf_counter()
        compiler.Compiler().compile(kfp_pipeline(name, tasks), str(file))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, **contents(file.read_text())}


def contents(text: str) -> dict[str, Any]:
    """What Kubeflow makes of a pipeline's YAML: containers, the largest DAG, the Workflow."""
    import yaml

    from grandpa_kfp_compiler.kfp.sizes import count_tasks, predict_workflow

    spec = next(yaml.load_all(text, yaml.CSafeLoader))
    pipeline = as_pipeline(spec)
    return {
        "containers": count_tasks(pipeline),
        "largest_dag": max(len(dag.tasks) for dag in pipeline.dags()),
        "workflow_kib": predict_workflow(pipeline).total / 1024,
        "yaml_bytes": len(text.encode()),
    }


def as_pipeline(spec: dict[str, Any]) -> Any:
    """The YAML as the compiler's own data, as far as its size goes."""
    from grandpa_kfp_compiler.kfp.pipeline import Dag, Executor, Leaf, Pipeline, Task

    executors = spec["deploymentSpec"]["executors"]
    components: list[Any] = []
    for key, found in spec["components"].items():
        if "dag" in found:
            components.append(_dag(key, found, Dag, Task))
            continue
        container = executors[found["executorLabel"]]["container"]
        outputs = found.get("outputDefinitions", {}).get("parameters", {})
        env = tuple([(item["name"], str(item["value"])) for item in container.get("env", ())])
        executor = Executor(
            container["image"], tuple(map(str, container.get("command", ()))), tuple(map(str, container["args"])), env
        )
        components.append(Leaf(key, (), tuple(outputs), (), executor))
    return Pipeline("p", "", _dag("root", spec["root"], Dag, Task), tuple(components))


def _dag(key: str, found: dict[str, Any], dag: Any, task: Any) -> Any:
    from grandpa_kfp_compiler.kfp.pipeline import FromConstant, FromParameter

    tasks = []
    for name, item in found["dag"]["tasks"].items():
        given = item.get("inputs", {}).get("parameters", {})
        inputs = tuple([
            (key, FromConstant("") if "runtimeValue" in source else FromParameter(key)) for key, source in given.items()
        ])  # fmt: skip
        tasks.append(task(name, item["componentRef"]["name"], inputs))
    return dag(key, (), tuple(tasks))


def in_process(who: str, name: str, tasks: int) -> dict[str, Any] | None:
    """None where it takes too long."""
    command = [sys.executable, __file__, "--measure", who, name, str(tasks)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(quick: bool) -> dict[str, Any]:
    about = machine(["kfp"])
    rows = []
    for name in SHAPES:
        for tasks in SIZES:
            ours = in_process("ours", name, tasks)
            tried = tasks <= 100 if quick else tasks <= 1000 or all(row["kfp"] for row in rows)
            peer = in_process("kfp", name, tasks) if tried else None
            rows.append({"shape": name, "size": tasks, "ours": ours, "kfp": peer, "tried": tried})
    return {"machine": about, "rows": rows}


def figures_table(rows: list[dict[str, Any]]) -> str:
    head = ["graph", "tasks", "ours, s", "containers", "pods", "largest DAG", "Workflow, KiB", "critical path, tasks"]
    lines = [[*head, "kfp SDK, s", "its pods", "its largest DAG", "its Workflow, KiB"]]
    for row in rows:
        ours, peer = row["ours"], row["kfp"]
        line = [row["shape"], f"{row['size']:,}", *["given up"] * 6]
        if ours:
            path = ours["path"].partition(":")[2].partition(" tasks")[0].strip() or "as it is"
            line = [row["shape"], f"{ours['tasks']:,}", shown(ours["seconds"]), f"{ours['containers']:,}"]
            line += [f"{2 * ours['containers']:,}", f"{ours['largest_dag']:,}", _kib(ours["workflow_kib"]), path]
        if peer:
            line += [shown(peer["seconds"]), f"{2 * peer['containers']:,}", f"{peer['largest_dag']:,}"]
            line.append(_kib(peer["workflow_kib"]))
        else:
            line += [f"over {PATIENCE_S}" if row["tried"] else "not tried", "", "", ""]
        lines.append(line)
    return table(lines)


def _kib(kib: float) -> str:
    return f"{kib:,.0f}{'' if kib <= LIMIT_KIB else ': too large'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="the SDK on small graphs only; leaves the results as they are"
    )
    parser.add_argument("--measure", nargs=3, metavar=("WHO", "GRAPH", "TASKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        who, name, tasks = options.measure
        print(json.dumps((measure_ours if who == "ours" else measure_kfp)(name, int(tasks))))
        return
    found = measured(options.quick)
    text = f"{sentence(found['machine'])}\n\n{figures_table(found['rows'])}\n"
    print(text)
    if options.quick:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sizes.md").write_text(text, encoding="utf-8")
    (RESULTS / "sizes.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}", file=sys.stderr)


if __name__ == "__main__":
    main()
