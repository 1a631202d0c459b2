"""What the user names is loaded, or told in one message with the user's own file and line."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import grandpa_kfp
from grandpa_kfp import loading
from grandpa_kfp.loading import find_workflow, is_loading, load_file, load_target, split_spec
from grandpa_kfp.packing import pack
from grandpa_kfp_compiler.graph import Graph
from grandpa_kfp_runtime.errors import GraphError, LoadError, TraceError

CALC = """
from grandpa_kfp import Node, Workflow, Component

@Node
def subtract(a: int, b: int) -> int:
    return a - b

@Component
def twice(a: int) -> int:
    return subtract(subtract(a, 1), 1)

@Workflow
def main(a: int = 7) -> int:
    return twice(a)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project; path and modules are as before at the end."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    yield project
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    loading._loaded.clear()


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def test_a_file_is_loaded_under_its_name_in_the_project(folder: Path) -> None:
    """Dotted from the root, not `__main__`; names that hide others or are illegal get one of ours."""
    workflow = load_target(str(write(folder / "flows" / "calc.py", CALC)))
    assert workflow.__module__ == "flows.calc"
    assert sys.modules["flows.calc"].main is workflow
    assert load_file(write(folder / "my-calc.py", CALC)).__name__ == "grandpa_main_my_calc"
    assert load_file(write(folder / "types.py", CALC)).__name__ == "grandpa_main_types"
    assert sys.modules["types"].__file__ != str(folder / "types.py")


def test_imports_work_as_for_python_file_and_from_the_root(folder: Path) -> None:
    """Neighbours of the script, packages of the root, relative imports inside a package."""
    write(folder / "zz_tools" / "sums.py", "ONE = 1\n")
    write(folder / "flows" / "zz_beside.py", "TWO = 2\n")
    file = write(folder / "flows" / "calc.py", "import zz_beside\nfrom zz_tools.sums import ONE\n" + CALC)
    assert load_file(file).ONE == 1
    write(folder / "zz_pkg" / "__init__.py", "")
    write(folder / "zz_pkg" / "near.py", "THREE = 3\n")
    assert load_file(write(folder / "zz_pkg" / "calc.py", "from .near import THREE\n")).THREE == 3


def test_a_file_is_run_again_only_when_something_changed(folder: Path) -> None:
    """Its own text, also within one second and with one size, or a module that came with it."""
    helper = write(folder / "zz_helper.py", "X = 1\n")
    file = write(folder / "calc.py", "import zz_helper\nY = 1\nX = zz_helper.X\n")
    first = load_file(file)
    assert load_file(file) is first
    write(file, "import zz_helper\nY = 2\nX = zz_helper.X\n")
    assert load_file(file).Y == 2
    write(helper, "X = 10\n")
    os.utime(helper, (1, 1))
    assert load_file(file).X == 10


def test_two_projects_in_one_process_do_not_mix(folder: Path, tmp_path: Path) -> None:
    """Modules of one name in both."""
    write(folder / "zz_same.py", "X = 1\n")
    write(tmp_path / "other" / "zz_same.py", "X = 2\n")
    text = "import zz_same\nX = zz_same.X\n"
    one, two = write(folder / "calc.py", text), write(tmp_path / "other" / "calc.py", text)
    assert [load_file(one).X, load_file(two).X, load_file(one).X] == [1, 2, 1]


def test_workflows_components_and_nodes_can_be_named(folder: Path) -> None:
    """The only workflow needs no name; an alias of it is no second one."""
    file = write(folder / "calc.py", CALC + "again = main\n")
    assert repr(load_target(str(file))).startswith("<Workflow main")
    assert load_target(f"{file}:twice").__grandpa_traced__ == "component"
    assert load_target(f"{file}:subtract").fn(3, 1) == 2


@pytest.mark.parametrize(
    ("added", "name", "said"),
    [
        ("", ":mian", r"calc\.py has no workflow, component or node mian; did you mean main\?"),
        ("", ":zzz", r"there are subtract, twice, main"),
        ("number = 3\n", ":number", r"number is no workflow, component or node; mark it"),
        (
            "@Workflow\ndef other(): return subtract(1, 2)\n",
            "",
            r"several workflows: main \(.*calc\.py:\d+\), other \(.*say which: calc\.py:main",
        ),
        ("del main\n", "", r"calc\.py has no workflow; name a component or node to take it alone: subtract, twice"),
        ("del main, twice, subtract\n", "", r"calc\.py has no workflow; mark a function with @Workflow"),
    ],
)
def test_a_name_that_is_not_there_suggests_what_is(folder: Path, added: str, name: str, said: str) -> None:
    """The nearest name, or all."""
    file = write(folder / "calc.py", CALC + added)
    with pytest.raises(LoadError, match=said):
        load_target(f"{file}{name}")


def test_imported_workflows_count_where_the_file_has_none_of_its_own(folder: Path) -> None:
    """A file of one's own workflow may import others."""
    write(folder / "zz_base.py", CALC)
    assert find_workflow(load_file(write(folder / "a.py", "from zz_base import main\n"))) is not None
    both = write(folder / "b.py", CALC + "from zz_base import main as imported\n")
    assert find_workflow(load_file(both)).__module__ == "b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import os\nimport zz_gone\n",
            r"calc\.py:2: ModuleNotFoundError: No module named 'zz_gone'\n    import zz_gone",
        ),
        ("x = 1\ndef f(:\n", r"calc\.py:2: SyntaxError: .*\n    def f\(:"),
        (
            "def f():\n    1 / 0\nf()\n",
            r"calc\.py:2: ZeroDivisionError: division by zero\n    1 / 0\n  from .*calc\.py:3: f\(\)",
        ),
        (
            "import zz_broken\n",
            r"zz_broken\.py:1: ValueError: no\n    raise ValueError\('no'\)\n  from .*calc\.py:1: import zz_broken",
        ),
        ("import json\njson.loads('{')\n", r"calc\.py:2: JSONDecodeError"),
        ("import sys\nsys.exit(3)\n", r"calc\.py:2: the file ends the program while it is loaded \(exit 3\)"),
    ],
)
def test_a_file_that_fails_to_import_shows_the_users_lines(folder: Path, text: str, said: str) -> None:
    """Innermost first, no frame of ours or of a library; the module is not left behind half-made."""
    write(folder / "zz_broken.py", "raise ValueError('no')\n")
    file = write(folder / "calc.py", text)
    with pytest.raises(LoadError, match=said) as caught:
        load_target(str(file))
    assert "loading.py" not in str(caught.value)
    assert "json" not in str(caught.value).partition("\n")[0].replace("JSON", "")
    assert "calc" not in sys.modules


def test_errors_of_ours_pass_as_they_are(folder: Path) -> None:
    """They say the place already."""
    file = write(folder / "calc.py", "from grandpa_kfp import Node\n@Node(retry=3)\ndef f(): pass\n")
    with pytest.raises(TraceError, match=r"calc\.py:2"):
        load_target(str(file))


def test_a_path_that_is_not_there_suggests_the_nearest(folder: Path) -> None:
    """A folder names the files in it; another suffix what is expected."""
    write(folder / "pipeline.py", CALC)
    with pytest.raises(LoadError, match=r"pipelin\.py: there is no such file; did you mean .*pipeline\.py\?"):
        load_target(str(folder / "pipelin.py"))
    with pytest.raises(LoadError, match=r"is a folder; name a file in it: pipeline\.py"):
        load_target(str(folder))
    with pytest.raises(LoadError, match=r"expected a Python file"):
        load_target(str(write(folder / "x.txt", "")))


def test_the_colon_before_a_name_is_the_last_one() -> None:
    """A drive's colon, and a colon in a folder's name, are none."""
    assert split_spec("a/b.py:main") == (Path("a/b.py"), "main")
    assert split_spec("a/b.py:Model.train") == (Path("a/b.py"), "Model.train")
    assert split_spec("a/b.py") == (Path("a/b.py"), "")
    assert split_spec(r"C:\a\b.py") == (Path(r"C:\a\b.py"), "")
    assert split_spec(r"C:\a\b.py:main") == (Path(r"C:\a\b.py"), "main")
    assert split_spec("C:b") == (Path("C:b"), "")


@pytest.mark.parametrize(
    "call", ["grandpa_kfp.run(main)", "grandpa_kfp.compile(main, 'x.yaml')", "grandpa_kfp.TemplateParser()(main)"]
)
def test_a_run_at_the_top_level_of_a_file_says_where_to_put_it(
    folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is run or written."""
    monkeypatch.chdir(folder)
    file = write(folder / "calc.py", "import grandpa_kfp\n" + CALC + call + "\n")
    with pytest.raises(LoadError, match=r'calc\.py:\d+: .* at the top level .*`if __name__ == "__main__":`'):
        load_target(str(file))
    assert not is_loading()
    assert sorted(item.name for item in folder.iterdir()) == ["calc.py", "pyproject.toml"]


def test_refusing_names_the_verb_and_the_place(folder: Path) -> None:
    """What `run`, `compile` and `deploy` call first."""
    loading.refuse_while_loading("run")
    text = "from grandpa_kfp import loading\nassert loading.is_loading()\nloading.refuse_while_loading('run')\n"
    with pytest.raises(LoadError, match=r'calc\.py:3: run is called at the top level .*`if __name__ == "__main__":`'):
        load_file(write(folder / "calc.py", text))
    assert not is_loading()


def test_a_graph_file_stands_in_for_its_python_file(folder: Path) -> None:
    """The graph with its code, equal to what was written."""
    from grandpa_kfp_compiler import json_format

    graph = pack(grandpa_kfp.trace(load_target(str(write(folder / "calc.py", CALC)))))
    file = folder / "calc.json"
    file.write_text(json_format.dumps(graph))
    loaded = load_target(str(file))
    assert isinstance(loaded, Graph)
    assert loaded.code == graph.code
    assert {key: node.fingerprint for key, node in loaded.nodes().items()} == {
        key: node.fingerprint for key, node in graph.nodes().items()
    }
    with pytest.raises(LoadError, match="no name follows it"):
        load_target(f"{file}:main")
    with pytest.raises((LoadError, GraphError), match=r"broken\.json|graph"):
        load_target(str(write(folder / "broken.json", "{")))


MAIN = (
    CALC
    + """
helper = [lambda x: x]

if __name__ == "__main__":
    import sys
    from grandpa_kfp import loading, trace
    from grandpa_kfp.packing import pack
    print("once")
    copy = loading.reload_main(main)
    again = loading.reload_main(main)
    packed, direct = pack(trace(copy)), pack(trace(main))
    keys = [sorted(item.nodes()) for item in (packed, direct)]
    same = packed.code == direct.code and packed.nodes() == direct.nodes()
    print(copy is main, again is copy, copy.__module__, keys, same)
    only_here = lambda: 1
    print(loading.reload_main(3))
"""
)


@pytest.mark.parametrize(("file", "module"), [("calc.py", "calc"), ("my-calc.py", "grandpa_main_my_calc")])
def test_a_script_is_loaded_again_under_its_name(folder: Path, file: str, module: str) -> None:
    """Its main block does not run again; packed as `__main__` or as the copy, keys and code are the same."""
    script = write(folder / file, MAIN)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    keys = [[f"{module}:subtract"]] * 2
    assert done.stdout.splitlines() == ["once", f"False True {module} {keys} True", "3"]
