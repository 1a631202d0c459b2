"""The table in README.md, made of the results in benchmarks/results and of nothing else.

    python benchmarks/readme.py

`make bench` runs it last; a test holds README to it.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from compile import RESULTS, table
from engine import shown
from figures import FIGURES

README = RESULTS.parent.parent / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
ROWS = (
    ("1,000 independent tiny tasks, 2 worker processes", "independent, processes", "ours"),
    ("a chain of 1,000 tiny tasks, 2 worker processes", "chain, processes", "ours"),
    ("1,000 independent tiny tasks, 2 threads", "independent, threads", "ours"),
    ("100 MiB from one worker process to another", "array, again", "ours"),
    ("seven sleeps of 1 s, the longest path has four", "A..G", "ours, processes"),
    ("start of one task in a container", "container task", "ours"),
    ("import", "import", "ours"),
    ("one node of 100 tasks edited, compiled again", "recompile", "ours"),
)


def figures() -> str:
    """The section between the marks: medians, peers from fast to slow."""
    found = json.loads((RESULTS / "engine.json").read_text(encoding="utf-8"))
    rows = [["work", "grandpa-kfp", "others"]]
    for title, figure, own in ROWS:
        samples = found["seconds"].get(figure, {})
        if samples.get(own):
            rows.append([title, _shown(figure, samples[own]), _others(figure, samples)])
    rows.append(_compiling(json.loads((RESULTS / "compile.json").read_text(encoding="utf-8"))))
    about = found["machine"]
    where = f"Medians on {about['cores']} cores ({about['cpu']}, {about['python']}), all in one run"
    return f"{BEGIN}{table(rows)}\n\n{where}: [docs/benchmarks.md](docs/benchmarks.md).\n{END}"


def _shown(figure: str, seconds: list[float]) -> str:
    how = FIGURES[figure]
    return f"{shown(statistics.median(seconds) * how.scale)} {how.unit}"


def _others(figure: str, samples: dict[str, list[float]]) -> str:
    peers = {who: seconds for who, seconds in samples.items() if seconds and not who.startswith(("ours", "limit"))}
    ranked = sorted(peers.items(), key=lambda item: statistics.median(item[1]))
    return "; ".join(f"{who} {shown(statistics.median(seconds) * FIGURES[figure].scale)}" for who, seconds in ranked)


def _compiling(found: dict[str, Any]) -> list[str]:
    ours, peer = found["ours"]["1000"]["total_s"], found["kfp"]["1000"]["total_s"]
    return ["a workflow of 1,000 tasks compiled to a KFP YAML", f"{shown(ours * 1000)} ms", f"kfp {shown(peer * 1000)}"]


def filled(text: str) -> str:
    """README's text with the section as the results have it. Raises ValueError where the marks are gone."""
    before, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:before] + figures() + text[end:]


def main() -> None:
    README.write_text(filled(Path(README).read_text(encoding="utf-8")), encoding="utf-8")
    print(f"figures written to {README}", file=sys.stderr)


if __name__ == "__main__":
    main()
