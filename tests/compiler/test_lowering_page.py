"""The examples in docs/kfp-lowering.md are real: each is compiled, and the YAML beside it stands in what comes out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Project
from kfp_rules import broken_rules

PAGE = Path(__file__).parents[2] / "docs" / "kfp-lowering.md"
ANYTHING = "..."
"""Stands in the page for what is not shown."""

SOURCES = {
    "A task": """
        @Node
        def square(x: int) -> int:
            return x * x

        @Node(retries=2, timeout_s=600, memory="2Gi")
        def add(a: int, b: int) -> int:
            return a + b

        @Workflow
        def flow(x: int = 3):
            return add(square(x), 5)
    """,
    "Containers of other images": """
        from pathlib import Path
        from typing import Annotated
        from grandpa_kfp import ContainerNode

        @ContainerNode(image="alpine:3", command=["sh", "-ec", 'head -n "$0" "$1" > "$2"'],
                       args=["{most}", "{text}", "{first}"], outputs=("first",))
        def head(text: Path, most: int) -> Path: ...

        @ContainerNode(image="alpine:3", command=["sh", "-ec", 'wc -l < "$0" > "$1"'], args=["{text}", "{result}"])
        def count_lines(text: Path) -> int: ...

        @Node
        def words(n: int) -> Path:
            path = Path("words.txt")
            path.write_text("word " * n)
            return path

        @Workflow
        def flow(n: int = 5, most: int = 3):
            return count_lines(head(words(n), most))
    """,
    "Workflow parameters": """
        from datetime import date

        @Node
        def fit(epochs: int, rate: float, day: date) -> float:
            return rate * epochs

        @Workflow
        def train(epochs: int = 5, rate: float = 0.1, day: date = date(2024, 2, 29)):
            return fit(epochs, rate, day)
    """,
    "Branches and loops": """
        from typing import Any
        from grandpa_kfp import collect, each, either, otherwise, when

        @Node
        def evaluate() -> Any:
            return {"f1": 0.95}

        @Node
        def publish(score: Any) -> str:
            return "published"

        @Node
        def tune(score: Any) -> str:
            return "tuned"

        @Node
        def names() -> list[str]:
            return ["a", "b"]

        @Node
        def load(name: str) -> str:
            return name

        @Workflow
        def flow():
            score = evaluate.options(name="score")()
            with when(score["f1"] > 0.9):
                model = publish(score)
            with otherwise():
                other = tune(score)
            best = either(model, other)
            with each(names(), parallelism=4) as name:
                table = load(name)
            tables = collect(table)
            return best, tables
    """,
    "Exit handlers": """
        from grandpa_kfp import FailureInfo, on_exit

        @Node
        def query(connection: str) -> list[int]:
            return [1]

        @Node
        def close(connection: str, failure: FailureInfo | None) -> None:
            print(connection, failure)

        @Node
        def connect() -> str:
            return "to the database"

        @Workflow
        def flow():
            connection = connect.options(name="connection")()
            with on_exit(close, connection):  # close(connection, failure: FailureInfo | None)
                rows = query(connection)
            return rows
    """,
}
SOURCES["Workflows in workflows"] = """
    @Node
    def fit(rate: float) -> float:
        return 2 * rate

    @Node
    def report(value: float) -> str:
        return str(value)

    @Workflow
    def train(rate: float = 0.1):
        return fit(rate)

    @Workflow
    def flow():
        return report(train(rate=0.2))
"""
SOURCES["Maps and generators"] = """
    from grandpa_kfp import GeneratorNode

    @GeneratorNode("lines")
    def lines(path: str):
        yield path

    @Node
    def count(items) -> int:
        return sum(1 for _ in items)

    @Node
    def numbers() -> list[int]:
        return [4, 5]

    @Node
    def square(x: int) -> int:
        return x * x

    @Workflow
    def flow(path: str = "a.txt"):
        return [
            count(lines(path)),
            square.map([1, 2, 3]),
            square.map(numbers(), parallelism=10),
        ]
"""
SOURCES["Fused steps"] = """
    @Node
    def double(x: int) -> int:
        return 2 * x

    @Component(fuse=True)
    def prepare(x: int) -> int:
        return double(double(x))

    @Workflow
    def flow(x: int = 3):
        return double(prepare(x))
"""
SOURCES["A component and its executor"] = SOURCES["A task"]
SOURCES["Code"] = SOURCES["A task"]
SOURCES["Credentials, scratch space, deadlines: the second document"] = SOURCES["A task"]
NAMES = {"Workflow parameters": "train"}
OPTIONS = {"Code": ["--code", "task"]}


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_section_with_yaml_is_held_to_the_compiler() -> None:
    assert {title for title, text in sections().items() if blocks(text, "yaml")} == SOURCES.keys()


@pytest.mark.parametrize("title", SOURCES)
def test_the_page_shows_what_the_compiler_writes(title: str, project: Project) -> None:
    """The Python of the page is the example's, its YAML is in the file, at the places that its comments name."""
    source = SOURCES[title]
    for block in blocks(sections()[title], "python"):
        for line in filter(None, (line.removesuffix(": ...").strip() for line in block.splitlines())):
            assert line.partition("  # ")[0] in source, f"{line!r} is not in the example"
    project.flow(source, "calc.py")
    done = project.grandpa("compile", f"calc.py:{NAMES.get(title, 'flow')}", "-o", "calc.yaml", *OPTIONS.get(title, ()))
    assert done.code == 0, done.err
    spec, platform = yaml.safe_load_all((project.folder / "calc.yaml").read_text("utf-8"))
    assert broken_rules(spec, platform) == []
    for block in blocks(sections()[title], "yaml"):
        for place, shown in shown_at(block):
            whole = platform if place == "" and "platforms" in shown else spec
            for key in filter(None, place.split(".")):
                assert key in whole, f"there is no {place}"
                whole = whole[key]
            assert not missing(shown, whole, place), missing(shown, whole, place)


def shown_at(block: str) -> list[tuple[str, Any]]:
    """What a block shows, by the places that comments of its own lines name: `# root.dag.tasks: what it is`."""
    parts = re.split(r"^# ([\w.-]+).*$", block, flags=re.MULTILINE)
    minor = f"py3.{sys.version_info.minor}"
    first = [("", parts[0])] if parts[0].strip() else []
    return [
        (place, yaml.safe_load(text.replace("py3.12", minor)))
        for place, text in (*first, *zip(parts[1::2], parts[2::2], strict=True))
    ]


def missing(shown: Any, whole: Any, at: str) -> str:
    """Where something that is shown is not in the whole; empty where all of it is."""
    if shown == ANYTHING:
        return ""
    if isinstance(shown, dict):
        if not isinstance(whole, dict):
            return f"{at} is {whole!r}"
        keys = [key for key in shown if key != ANYTHING]
        gone = [key for key in keys if key not in whole]
        if gone:
            return f"{at} has no {gone[0]}, but {sorted(whole)}"
        return next(filter(None, (missing(shown[key], whole[key], f"{at}.{key}") for key in keys)), "")
    if isinstance(shown, list) and isinstance(whole, list) and any(isinstance(item, dict) for item in shown):
        left = [item for item in shown if item != ANYTHING and all(missing(item, one, at) for one in whole)]
        return f"{at} has no {left[0]}" if left else ""
    if isinstance(shown, list) and isinstance(whole, list) and shown[-1:] == [ANYTHING]:
        shown, whole = shown[:-1], whole[: len(shown) - 1]
    if isinstance(shown, list):
        if not isinstance(whole, list) or len(shown) != len(whole):
            return f"{at} is {whole!r}"
        pairs = enumerate(zip(shown, whole, strict=True))
        return next(filter(None, (missing(one, other, f"{at}[{place}]") for place, (one, other) in pairs)), "")
    if isinstance(shown, str) and ANYTHING in shown and isinstance(whole, str):
        pattern = ".*".join(map(re.escape, shown.split(ANYTHING)))
        return "" if re.fullmatch(pattern, whole, re.DOTALL) else f"{at} is {whole!r}"
    return "" if shown == whole else f"{at} is {whole!r}, not {shown!r}"
