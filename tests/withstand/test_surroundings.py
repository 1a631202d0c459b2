"""Worker processes wherever a run may stand: scripts, notebooks, threads, nodes of other engines, Python's flags."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from command_line import Project
from process_flows import inner as inner_flow
from process_flows import nested_on

from grandpa_kfp import Node, TemplateParser, Workflow, run
from grandpa_kfp.loading import load_target


def python(folder: Path, *command: str, before: str = "", **environ: str) -> str:
    """What a script prints; it must end well and say nothing on standard error. before: a line of shell."""
    done = subprocess.run(
        ["bash", "-c", f'{before}\nexec "$@"', "bash", sys.executable, *command],
        cwd=folder, env=os.environ | environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


MAIN = """
    from dataclasses import dataclass
    from enum import Enum
    from grandpa_kfp import TemplateParser, run
    from grandpa_kfp_runtime.errors import TaskError

    class Colour(Enum):
        RED = 1

    @dataclass
    class Point:
        x: int
        colour: Colour = Colour.RED

    class Refused(Exception):
        def __init__(self, point):
            super().__init__(point)
            self.point = point

    @Node
    def move(point: Point, by: int) -> Point:
        assert type(point) is Point and point.colour is Colour.RED
        if by < 0:
            raise Refused(point)
        return Point(point.x + by)

    @Workflow
    def flow(by: int = 1):
        return move(move(Point(1), by), by)

    def main():
        for processes in (0, 2):
            value = run(flow, processes=processes, record=False).value
            assert type(value) is Point and value.colour is Colour.RED and value == Point(3), value
            try:
                run(flow, {"by": -1}, processes=processes, record=False)
            except TaskError as error:
                assert isinstance(error.__cause__, Refused), repr(error.__cause__)
                assert error.__cause__.point == Point(1)
            else:
                raise AssertionError
        print("good")

"""


def test_classes_of_a_script_are_the_same_in_workers(tmp_path: Path) -> None:
    """In arguments, results and exceptions of `python pipeline.py`."""
    project = Project(tmp_path)
    guard = 'if __name__ == "__main__":\n    main()'
    project.write("pipeline.py", "from grandpa_kfp import Node, Workflow\n" + textwrap.dedent(MAIN) + guard)
    assert python(tmp_path, "pipeline.py") == "good\n"


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Worker processes load it, and must not run it again, without end; on threads it needs no guard."""
    project = Project(tmp_path)
    flow = """
        from grandpa_kfp import run

        @Node
        def inc(x: int) -> int:
            return x + 1

        @Workflow
        def flow():
            return inc(1)

        print(run(flow, processes={processes}, record=False).value)
    """
    project.flow(flow.format(processes=0))
    assert python(tmp_path, "flow.py") == "2\n"
    project.flow(flow.format(processes=2))
    done = subprocess.run([sys.executable, "flow.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert 'put the call under `if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize("flags", [["-W", "error"], ["-O"], ["-OO"], ["-X", "dev"], ["-I"], ["-B", "-u"]], ids=" ".join)
def test_flags_of_python(tmp_path: Path, flags: list[str]) -> None:
    """They hold in workers as well, and nothing is warned of."""
    project = Project(tmp_path)
    project.flow("""
        import sys
        from grandpa_kfp import run

        @Node
        def flags(x: int) -> list:
            return [x, sys.flags.optimize, bool(sys.flags.dev_mode), sys.warnoptions]

        @Workflow
        def flow():
            return flags(1)

        if __name__ == "__main__":
            assert run(flow, processes=2, record=False).value == flags.fn(1)
            print("good")
    """)
    assert python(tmp_path, *flags, "flow.py") == "good\n"


def test_a_path_that_the_script_has_added(tmp_path: Path) -> None:
    """By sys.path or by PYTHONPATH: nodes find there what the script finds."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    for name in ("added", "named"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"module_{name}.py").write_text(f"WORD = {name!r}\n")
    project.flow(f"""
        import sys
        from grandpa_kfp import run
        sys.path.append({str(tmp_path / "added")!r})
        import module_added, module_named

        @Node
        def words() -> list:
            import module_added as again
            return [module_added.WORD, module_named.WORD, again.WORD]

        @Workflow
        def flow():
            return words()

        if __name__ == "__main__":
            print(run(flow, processes=1, record=False).value)
    """)
    said = python(project.folder, "flow.py", PYTHONPATH=str(tmp_path / "named"))
    assert said == "['added', 'named', 'added']\n"


def test_few_open_files_are_enough_for_many_big_values(tmp_path: Path) -> None:
    """A hundred arrays that are alive at once, in a process that may have 128 files open."""
    project = Project(tmp_path)
    project.flow("""
        from grandpa_kfp import run

        @Node
        def data(number: int) -> bytes:
            return bytes([number]) * 300_000

        @Node
        def firsts(items: list) -> list:
            return [item[0] for item in items]

        @Workflow
        def flow():
            made = [data(number) for number in range(100)]
            return [firsts(made), firsts(made)]

        if __name__ == "__main__":
            assert run(flow, processes=2, record=False).value == [list(range(100))] * 2
            print("good")
    """)
    assert python(tmp_path, "flow.py", before="ulimit -n 128") == "good\n"


def test_a_thread_that_is_not_the_main_one() -> None:
    """Two of them at once, each with workers of its own."""
    values: list[Any] = []
    threads = [
        threading.Thread(target=lambda: values.append(run(inner_flow, {"n": 3}, processes=2, record=False).value))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert values == [5, 5]


@pytest.mark.parametrize("outer", [0, 1])
def test_a_node_of_another_engine(outer: int) -> None:
    """A run with worker processes inside a node, on a thread or in a worker."""

    @Workflow
    def flow() -> Any:
        return [nested_on(2), nested_on(0)]

    assert run(flow, processes=outer, record=False).value == [5, 5]


@pytest.mark.slow
def test_under_pytest_xdist(tmp_path: Path) -> None:
    """Each of its processes has a crew, and their ends are waited for."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            import pytest
            from grandpa_kfp import Node, Workflow, run

            @Node
            def inc(x: int) -> int:
                return x + 1

            @Workflow
            def flow(n: int = 1):
                return inc(inc(n))

            @pytest.mark.parametrize("n", range(4))
            def test_it(n):
                assert run(flow, {"n": n}, processes=2, record=False).value == n + 2
        """)
    )
    said = python(tmp_path, "-W", "ignore", "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_it.py")
    assert "4 passed" in said


def test_code_that_changes_between_two_runs(tmp_path: Path) -> None:
    """One parser, the file edited and loaded anew: the new code runs, in workers that know it."""
    (tmp_path / "pyproject.toml").write_text("")
    source = "from grandpa_kfp import Node, Workflow\n"
    source += "@Node\ndef f(x: int) -> int:\n    return x + {}\n@Workflow\ndef flow():\n    return f(1)\n"
    with TemplateParser(process_count=2, record=False) as parser:
        for number in (1, 100, 1):
            file = tmp_path / "changing.py"
            file.write_text(source.format(number))
            assert parser(load_target(f"{file}:flow")) == 1 + number
            sys.modules.pop("changing", None)


def test_captured_values_that_change_between_two_runs() -> None:
    """One parser, one node that is a closure: it sees its variables as they are when the run begins."""
    by, names = 1, ["a"]

    @Node
    def more(x: int) -> list[Any]:
        return [x + by, list(names)]

    @Workflow
    def flow() -> Any:
        return more(1)

    with TemplateParser(process_count=2, record=False) as parser:
        assert parser(flow) == [2, ["a"]]
        by = 10
        names.append("b")
        assert parser(flow) == [11, ["a", "b"]]


NOTEBOOK = [
    """
    from dataclasses import dataclass
    from grandpa_kfp import Node, TemplateParser, Workflow
    from grandpa_kfp_runtime.errors import TaskError
    parser = TemplateParser(process_count=2, record=False)

    @dataclass
    class Point:
        x: int

    class Refused(Exception):
        pass

    FACTOR = 2

    @Node
    def scale(point: Point) -> Point:
        if point.x < 0:
            raise Refused("below zero")
        return Point(point.x * FACTOR)

    @Workflow
    def flow(x: int = 1):
        return scale(scale(Point(x)))
    """,
    """
    value = parser(flow, x=3)
    print(value, type(value) is Point, isinstance(value, Point))
    """,
    """
    FACTOR = 10
    print(parser(flow, x=3))
    """,
    """
    try:
        parser(flow, x=-1)
    except TaskError as error:
        print("Refused: below zero" in str(error))
    """,
    """
    import asyncio
    await asyncio.sleep(0)
    print(parser(flow, x=1))
    parser.close()
    """,
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_inside_a_notebook(tmp_path: Path) -> None:
    """A real kernel: its nodes travel by value, cell by cell as they are; its classes come back as themselves."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in NOTEBOOK]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = ["".join(item.get("text", "") for item in cell.outputs) for cell in book.cells]
    assert said == ["", "Point(x=12) True True\n", "Point(x=300)\n", "True\n", "Point(x=100)\n"]
