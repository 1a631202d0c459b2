"""The fingerprint, clause by clause: what changes it, and what does not."""

from __future__ import annotations

import functools
import importlib
import linecache
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.code.fingerprint import Fingerprints, call_fingerprint, fingerprint
from grandpa_kfp_runtime.code.imports import Locator

RUNTIME = Path(__file__).parents[2] / "runtime_image"


class Project:
    """A folder of modules that is written anew, and imported anew, for each state that is compared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, str] = {}

    def write(self, **files: str) -> None:
        """Writes modules; `pkg__mod` is `pkg/mod.py`, `pkg____init__` is `pkg/__init__.py`."""
        for name, text in files.items():
            relative = name.replace("____", "/__", 1).replace("__", "/", 0 if "____" in name else 1)
            path = self.folder / f"{relative}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
            stamp = time.time_ns() + len(self.written) * 1_000_000
            os.utime(path, ns=(stamp, stamp))
            self.written[f"{name}{len(self.written)}"] = text

    def load(self, module: str) -> Any:
        self.forget()
        importlib.invalidate_caches()
        return importlib.import_module(module)

    def forget(self) -> None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self.folder)) or _is_below(
                getattr(module, "__path__", None), self.folder
            ):
                del sys.modules[name]

    def of(self, *names: str, module: str = "nodes") -> list[str]:
        loaded = self.load(module)
        made = Fingerprints()
        return [made.code(functools.reduce(getattr, name.split("."), loaded)) for name in names]

    def reaches(self, name: str, module: str = "nodes") -> set[str]:
        return {entry for entry, _ in Fingerprints().explain(getattr(self.load(module), name))}


def _is_below(path: Any, folder: Path) -> bool:
    return path is not None and any(str(item).startswith(str(folder)) for item in path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(tmp_path)
    yield made
    made.forget()


NODES = """
    import math

    LIMIT = 3
    OTHER = 4

    def shared(x):
        return x + 1

    def only_first(x):
        return shared(x) * LIMIT

    def first(x):
        return only_first(x)

    def second(x):
        return shared(x) + OTHER

    def third(x):
        return math.sin(x)
"""


def changed(project: Project, before: str, after: str, *names: str, module: str = "nodes") -> list[str]:
    """The names whose fingerprint differs between two texts of the module `nodes`."""
    project.write(nodes=before)
    old = project.of(*names, module=module)
    project.write(nodes=after)
    new = project.of(*names, module=module)
    return [name for name, one, other in zip(names, old, new, strict=True) if one != other]


ALL = ("first", "second", "third")


def test_another_body_changes_that_node_alone(project: Project) -> None:
    """Though all three live in one file."""
    assert changed(project, NODES, NODES.replace("return math.sin(x)", "return math.sin(2 * x)"), *ALL) == ["third"]


def test_a_helper_that_one_node_uses_changes_that_node_alone(project: Project) -> None:
    """Also where the node uses it through nothing but its name."""
    assert changed(project, NODES, NODES.replace("shared(x) * LIMIT", "LIMIT * shared(x)"), *ALL) == ["first"]


def test_a_helper_that_two_nodes_use_changes_both(project: Project) -> None:
    """One of them uses it by way of another helper."""
    assert changed(project, NODES, NODES.replace("return x + 1", "return x + 2"), *ALL) == ["first", "second"]


def test_comments_blank_lines_docstrings_and_moves_change_nothing(project: Project) -> None:
    """Nor do other functions that nobody uses."""
    moved = """
        '''A docstring.'''
        import math
        # a comment
        OTHER = 4


        def third(x):
            '''Sine.'''
            # of x
            return math.sin(x)   # here

        def unused():
            return 7

        def second(x):
            return (shared(x) +

                OTHER)

        def first(x): return only_first(x)

        def only_first(x):
            return shared(x) * LIMIT

        def shared(x):
            "Adds one."
            return x + 1

        LIMIT = 3
    """
    assert changed(project, NODES, moved, *ALL) == []


def test_a_module_constant_counts_where_it_is_used(project: Project) -> None:
    """By the statement that binds it, and by every statement that changes it."""
    assert changed(project, NODES, NODES.replace("LIMIT = 3", "LIMIT = 5"), *ALL) == ["first"]
    assert changed(project, NODES, NODES.replace("OTHER = 4", "OTHER = 4\n    OTHER += 1"), *ALL) == ["second"]
    table = NODES.replace("OTHER = 4", "OTHER = {}\n    OTHER['a'] = 1")
    assert changed(project, table, table.replace("['a'] = 1", "['a'] = 2"), *ALL) == ["second"]


def test_what_a_constant_is_made_from_counts(project: Project) -> None:
    """The functions called in the statement that binds it."""
    before = NODES.replace("LIMIT = 3", "def limit(): return 3\n    LIMIT = limit()")
    assert changed(project, before, before.replace("return 3", "return 4"), *ALL) == ["first"]


def test_arguments_and_locals_that_are_called_like_globals_reach_nothing(project: Project) -> None:
    """`def g(f, c)` uses no node f."""
    text = """
        def f(x): return x
        def g(f, *c, **d): return f + len(c)
        def h(x):
            f = x
            return [f for f in range(f)] + [c for c in x]
        def k():
            import os as f
            def c(): return f
            return c
        c = 1
        d = lambda: 2
    """
    project.write(nodes=text)
    for name in ("g", "h", "k"):
        assert project.reaches(name) == {f"nodes:{name}"}


def test_names_of_inner_scopes_are_followed(project: Project) -> None:
    """Inner functions, comprehensions, lambdas, classes inside functions, defaults, `global`."""
    text = """
        def a(): pass
        def b(): pass
        def c(): pass
        def d(): pass
        def e(): pass
        COUNT = 0
        def node(x=a):
            global COUNT
            COUNT = 1
            class Inner:
                c = 3
                def method(self): return c()
            def inner():
                return [b() for _ in x]
            return inner, lambda: d()
    """
    project.write(nodes=text)
    assert project.reaches("node") >= {"nodes:a", "nodes:b", "nodes:c", "nodes:d", "nodes:COUNT"}
    assert "nodes:e" not in project.reaches("node")


def test_closures_count_by_value(project: Project) -> None:
    """Two functions of one source that hold different values differ; equal values are equal."""
    project.write(
        nodes="""
        def make(factor, table=None):
            def scale(x):
                return x * factor + len(table or ())
            return scale
        one, two, same = make(1), make(2), make(1)
        sets = make(1, {"a", "b"}), make(1, {"b", "a"}), make(1, {"c"})
        deep = make(1, [{"k": (1, 2)}]), make(1, [{"k": (1, 3)}])
        """
    )
    one, two, same = project.of("one", "two", "same")
    assert one == same
    assert one != two
    loaded = project.load("nodes")
    sets = [Fingerprints().code(item) for item in loaded.sets]
    assert sets[0] == sets[1] != sets[2]
    deep = [Fingerprints().code(item) for item in loaded.deep]
    assert deep[0] != deep[1]


def test_functions_and_classes_in_a_closure_are_followed(project: Project) -> None:
    """A decorator without functools.wraps hides its function in a closure."""
    before = """
        def timed(function):
            def wrapper(*args):
                return function(*args)
            return wrapper

        def helper(x): return x

        @timed
        def node(x): return helper(x)

        @timed
        def other(x): return x
    """
    assert changed(
        project, before, before.replace("def helper(x): return x", "def helper(x): return 2"), "node", "other"
    ) == ["node"]
    assert changed(project, before, before.replace("return helper(x)", "return helper(x) + 1"), "node", "other") == [
        "node"
    ]
    assert changed(project, before, before.replace("return function(*args)", "return 1"), "node", "other") == [
        "node",
        "other",
    ]


def test_decorators_count(project: Project) -> None:
    """Their source, their arguments, and what they call."""
    before = """
        import functools
        STEPS = 3
        def log(): pass
        def repeated(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args):
                    log()
                    return [function(*args) for _ in range(times)]
                return wrapper
            return decorate

        @repeated(STEPS)
        def node(x): return x

        def other(x): return x
    """
    for old, new in (
        ("STEPS = 3", "STEPS = 4"),
        ("@repeated(STEPS)", "@repeated(2)"),
        ("log(): pass", "log(): return 1"),
    ):
        assert changed(project, before, before.replace(old, new), "node", "other") == ["node"]


def test_our_own_marks_do_not_count(project: Project) -> None:
    """Options of @Node are no code; `version`, `env`, `packages`, `image` are mixed in call by call."""
    before = """
        import grandpa_kfp as g
        from grandpa_kfp import Node
        SIZE = "1Gi"
        @Node(memory=SIZE)
        def node(x): return x
        @g.Node
        class Model:
            def __call__(self, x): return x
    """
    after = before.replace("@Node(memory=SIZE)", "@Node(retries=3)").replace("@g.Node", "@g.Node(cpu=2)")
    assert changed(project, before, after, "node", "Model") == []
    assert project.reaches("node") == {"nodes:node"}


def test_nodes_that_a_body_calls_count(project: Project) -> None:
    """`add` calls the node `_add`: their functions are followed through the marks."""
    before = """
        from grandpa_kfp import Node, Component
        @Node
        def _add(a, b): return a + b
        @Component
        def both(a, b): return _add(a, b)
        @Node
        def add(a, b): return both(a, b)
        @Node
        def other(a): return a
    """
    assert changed(project, before, before.replace("return a + b", "return b + a"), "add", "_add", "other") == [
        "add",
        "_add",
    ]


def test_classes_count_with_methods_and_bases(project: Project) -> None:
    """A base class, its own base in another module, and what methods use."""
    project.write(base="class Base:\n    def run(self): return 1\nclass Unused: pass\n")
    before = """
        from base import Base
        def helper(): return 1
        class Model(Base):
            size = 3
            def __call__(self, x): return helper()
        class Other:
            def __call__(self, x): return x
        def makes(x): return Model()
    """
    for old, new in (
        ("helper(): return 1", "helper(): return 2"),
        ("size = 3", "size = 4"),
        ("return helper()", "return 0"),
    ):
        assert changed(project, before, before.replace(old, new), "Model", "makes", "Other") == ["Model", "makes"]
    old_values = project.of("Model", "Other")
    project.write(base="class Base:\n    def run(self): return 2\nclass Unused: pass\n")
    assert [one == other for one, other in zip(old_values, project.of("Model", "Other"), strict=True)] == [False, True]
    old_values = project.of("Model")
    project.write(base="class Base:\n    def run(self): return 2\nclass Unused: x = 1\n")
    assert project.of("Model") == old_values


def test_outside_modules_count_as_distribution_and_version(project: Project) -> None:
    """Only those that the node uses; the standard library is not named, what is taken from it is."""
    project.write(
        nodes="""
        import click
        import yaml as y
        import math
        from math import sin
        def clicks(): return click.echo
        def loads(): return y.safe_load
        def sines(): return sin(math.pi)
        """
    )
    import click

    version = importlib.import_module("importlib.metadata").version("click")
    explained = dict(Fingerprints().explain(project.load("nodes").clicks))
    assert explained["outside"] == f"click=={version}"
    assert click is not None
    assert ("outside", "click==") not in Fingerprints().explain(project.load("nodes").loads)
    assert project.reaches("sines") == {"nodes:sines", "nodes:sin", "nodes:math"}
    before = "from math import sin\ndef node(): return sin(1)\n"
    assert changed(project, before, before.replace("import sin", "import cos as sin"), "node") == ["node"]


def test_statements_that_do_something_count_once_the_module_is_reached(project: Project) -> None:
    """For all nodes of the module; a main guard does not, since no worker runs it."""
    before = """
        import logging
        LEVEL = 1
        logging.basicConfig(level=LEVEL)
        def node(x): return x
        def other(x): return x
        if __name__ == "__main__":
            print(node(1))
    """
    after = before.replace("basicConfig(level=LEVEL)", "disable(LEVEL)")
    assert changed(project, before, after, "node", "other") == ["node", "other"]
    assert changed(project, before, before.replace("LEVEL = 1", "LEVEL = 2"), "node", "other") == ["node", "other"]
    assert changed(project, before, before.replace("print(node(1))", "print(node(2))"), "node", "other") == []


def test_modules_that_a_reached_module_imports_run_too(project: Project) -> None:
    """Their effects count, their functions only where they are used; the packages around them as well."""
    setup = "import random\nrandom.seed(1)\ndef helper(): return 1\n"
    project.write(setup=setup)
    project.write(pkg____init__="", pkg__tools="def tool(): return 1\n")
    project.write(nodes="import setup\nfrom pkg.tools import tool\ndef node(x): return tool()\n")
    first = project.of("node")
    assert project.reaches("node") == {"nodes:node", "nodes:tool", "pkg.tools:tool", "setup:", "setup:random"}
    project.write(setup=setup.replace("return 1", "return 2"))
    assert project.of("node") == first
    project.write(setup=setup.replace("seed(1)", "seed(2)"))
    second = project.of("node")
    assert first != second
    project.write(pkg____init__="import warnings\nwarnings.simplefilter('ignore')\n")
    assert project.of("node") != second


def test_a_module_object_that_is_handed_on_counts_as_a_whole(project: Project) -> None:
    """By getattr, as an argument, by a star import; a static attribute counts alone."""
    project.write(tools="def a(): return 1\ndef b(): return 2\n")
    forms = {
        "import tools\ndef node(n): return tools.a()": False,
        "import tools as t\ndef node(n): return t.a()": False,
        "from tools import a\ndef node(n): return a()": False,
        "def node(n):\n    import tools\n    return tools.a()": False,
        "def node(n):\n    from tools import a as z\n    return z()": False,
        "import tools\ndef node(n): return getattr(tools, n)()": True,
        "import tools\ndef node(n): return vars(tools)[n]": True,
        "import tools\ndef node(n):\n    t = tools\n    return t.a()": True,
        "from tools import *\ndef node(n): return a()": True,
        "import importlib\ndef node(n): return importlib.import_module('tools')": True,
    }
    for text, whole in forms.items():
        project.write(nodes=text + "\n", tools="def a(): return 1\ndef b(): return 2\n")
        before = project.of("node")
        project.write(tools="def a(): return 1\ndef b(): return 3\n")
        assert (project.of("node") != before) is whole, text
        before = project.of("node")
        project.write(tools="def a(): return 4\ndef b(): return 3\n")
        assert project.of("node") != before, text


def test_globals_eval_and_exec_make_the_own_module_count(project: Project) -> None:
    """So does `sys.modules`."""
    for use in ("globals()['b']", "eval('b')", "__import__('sys') and exec('b')", "sys.modules[__name__]"):
        text = f"import sys\ndef node(): return {use}\ndef b(): return 1\n"
        assert changed(project, text, text.replace("return 1", "return 2"), "node") == ["node"], use


@pytest.mark.parametrize(
    "register",
    [
        "TABLE = {}\ndef register(f):\n    TABLE[f.__name__] = f\n    return f\n@register",
        "TABLE = []\ndef register(name):\n    def keep(f):\n        TABLE.append((name, f))\n        return f\n"
        "    return keep\n@register('x')",
        "class Table:\n    def add(self, f): return f\ntable = Table()\n@table.add",
        "from registry import register\n@register",
        "import registry\n@registry.register",
        "import functools\n@functools.singledispatch\ndef base(x): return 0\n@base.register",
    ],
)
def test_registration_decorators_make_the_whole_module_count(project: Project, register: str) -> None:
    """What is registered may be called by way of the table, which no name shows."""
    project.write(registry="TABLE = {}\ndef register(f):\n    TABLE[f.__name__] = f\n    return f\n")
    before = register + "\ndef plugin(x: int): return 1\ndef node(x): return x\n"
    assert changed(project, before, before.replace("return 1\ndef node", "return 2\ndef node"), "node") == ["node"]


def test_decorators_that_keep_nothing_are_no_registration(project: Project) -> None:
    """Wrapping, caching and logging ones leave other functions of the module alone."""
    before = """
        import functools, logging
        log = logging.getLogger("x")
        def timed(f):
            @functools.wraps(f)
            def wrapper(*args):
                log.info("x")
                return f(*args)
            wrapper.plain = f
            return wrapper
        @timed
        def a(x): return 1
        @functools.cache
        def b(x): return 1
        def node(x): return x
    """
    assert changed(project, before, before.replace("return 1", "return 2"), "node") == []


def test_conditional_definitions_and_imports_count_with_their_condition(project: Project) -> None:
    """Each branch that binds the name; `if TYPE_CHECKING` too, but it loads nothing."""
    project.write(
        fast="print(1)\ndef work(): return 1\n", slow="def work(): return 2\n", kinds="print(2)\nclass Kind: pass\n"
    )
    before = """
        import sys
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from kinds import Kind
        try:
            from fast import work
        except ImportError:
            from slow import work
        if sys.platform == "win32":
            def place(): return 1
        else:
            def place(): return 2
        def node(x: int): return work()
        def other(x: int): return place()
        def third(x): return x
    """
    project.write(nodes=before)
    assert project.reaches("node") == {"nodes:node", "nodes:work", "fast:work", "slow:work", "fast:"}
    assert project.reaches("third") == {"nodes:third", "fast:"}
    names = ("node", "other", "third")
    assert changed(project, before, before.replace("return 2", "return 3"), *names) == ["other"]
    assert changed(project, before, before.replace("win32", "darwin"), *names) == ["other"]
    assert changed(project, before, before.replace("except ImportError", "except Exception"), *names) == ["node"]


def test_a_branch_that_does_something_counts_for_all(project: Project) -> None:
    """The whole `try` or `if` then."""
    before = "try:\n    import fast\nexcept ImportError:\n    print('slow')\n    fast = None\ndef node(): return 1\n"
    assert changed(project, before, before.replace("'slow'", "'SLOW'"), "node") == ["node"]


def test_reexports_and_relative_imports_are_followed(project: Project) -> None:
    """Through a package's __init__ and `from . import`."""
    project.write(
        pkg____init__="from .a import work\n",
        pkg__a="from . import b\nfrom .b import one\ndef work(): return b.one() + one()\n",
    )
    project.write(pkg__b="def one(): return 1\ndef two(): return 2\n")
    project.write(
        nodes="import pkg\ndef node(): return pkg.work()\ndef direct():\n    from pkg import a\n    return a.work()\n"
    )
    assert project.reaches("node") >= {"pkg.b:one", "pkg.a:work"}
    assert project.reaches("direct") >= {"pkg.b:one", "pkg.a:work"}
    assert "pkg.b:two" not in project.reaches("node")


def test_circular_imports_end(project: Project) -> None:
    """Modules that import each other, names that re-export each other."""
    project.write(
        left="import right\nfrom right import g\ndef f(): return right.g()\n",
        right="import left\ndef g(): return left.f()\n",
    )
    project.write(nodes="import left\ndef node(): return left.f()\n")
    assert project.reaches("node") >= {"left:f", "right:g"}


def test_methods_as_nodes_count_with_their_class(project: Project) -> None:
    """A method may call every other method of its class."""
    before = "class Model:\n    def train(self): return self.step()\n    def step(self): return 1\n"
    assert changed(project, before, before.replace("return 1", "return 2"), "Model.train") == ["Model.train"]


def test_partials_bound_methods_and_callable_objects_count_by_what_they_hold(project: Project) -> None:
    """Function, arguments, state."""
    project.write(
        nodes="""
        import functools
        def work(x, y): return x + y
        class Scale:
            def __init__(self, factor): self.factor = factor
            def __call__(self, x): return x * self.factor
            def run(self, x): return x
        one, two, again = functools.partial(work, 1), functools.partial(work, 2), functools.partial(work, 1)
        three, four, third = Scale(3), Scale(4), Scale(3)
        run3, run4 = three.run, four.run
        """
    )
    values = project.of("one", "two", "again", "three", "four", "third", "run3", "run4")
    assert values[0] == values[2] != values[1]
    assert values[3] == values[5] != values[4]
    assert values[6] != values[7]
    assert "nodes:work" in project.reaches("one")
    assert "nodes:Scale" in project.reaches("three")


def test_cached_functions_and_real_objects_of_marked_classes_are_followed(project: Project) -> None:
    """functools.cache hides a function; an object's state is not its class."""
    before = """
        import functools
        from grandpa_kfp import Node
        def helper(x): return x
        @functools.cache
        def cached(x): return helper(x)
        def make(held):
            def node(x): return held
            return node
        holds = make(functools.cache(lambda x: helper(x)))
        @Node
        class Model:
            def __init__(self, n): self.n = n
            def __call__(self): return self.n
        one, two = (make(Model.__grandpa_construct__(n)) for n in (1, 2))
        def plain(x): return x
    """
    names = ("cached", "holds", "one", "plain")
    assert changed(project, before, before.replace("helper(x): return x", "helper(x): return 2"), *names) == [
        "cached",
        "holds",
    ]
    assert changed(project, before, before.replace("return self.n", "return 0"), *names) == ["one"]
    one, two = project.of("one", "two")
    assert one != two


def test_defaults_count_by_value(project: Project) -> None:
    """One default expression, two values; what cannot be compared counts by its type."""
    text = "import os\ndef node(x=os.environ.get('FINGERPRINT_TEST', '1')): return x\n"
    project.write(nodes=text)
    before = project.of("node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINGERPRINT_TEST", "2")
        assert project.of("node") != before
    project.write(nodes="import threading\ndef node(x=threading.Lock()): return x\n")
    assert project.of("node") == project.of("node")


def test_lambdas_are_told_apart(project: Project) -> None:
    """Several on one line, with and without a name."""
    project.write(nodes="K = 1\npair = [lambda x: x + 1, lambda x: x + 22, lambda y: y + K]\nsingle = lambda x: x\n")
    loaded = project.load("nodes")
    made = Fingerprints()
    values = [made.code(item) for item in (*loaded.pair, loaded.single)]
    assert len(set(values)) == 4
    project.write(nodes="K = 1\n\npair = [lambda x: x + 1, lambda x: x + 33, lambda y: y + K]\nsingle = lambda x: x\n")
    loaded = project.load("nodes")
    after = [Fingerprints().code(item) for item in (*loaded.pair, loaded.single)]
    assert [one == other for one, other in zip(values, after, strict=True)] == [True, False, True, True]


def define(source: str, cell: str, names: dict[str, Any]) -> None:
    """Runs a notebook's cell: its text stands in linecache, under a name of its own."""
    text = textwrap.dedent(source)
    linecache.cache[cell] = (len(text), None, text.splitlines(keepends=True), cell)
    exec(compile(text, cell, "exec"), names)


def notebook(**cells: str) -> Callable[[str], str]:
    """A notebook's `__main__`; gives the fingerprint of a name in it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, (_, source) in enumerate(cells.items()):
        define(source, f"/tmp/ipykernel_1/{number}{hash(source)}.py", names)

    def of(name: str) -> str:
        return Fingerprints().code(names[name])

    return of


@pytest.fixture
def no_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's `__main__` has no file."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)


@pytest.mark.usefixtures("no_main")
def test_redefining_a_cell_changes_that_node_alone() -> None:
    """Running it again, moved by a comment, changes nothing."""
    cells = {
        "a": "K = 2\ndef helper(x): return x * K",
        "b": "def one(x): return helper(x)",
        "c": "def two(x): return x",
    }
    before = notebook(**cells)
    again = notebook(**{**cells, "b": "# once more\n\n" + cells["b"]})
    other = notebook(**{**cells, "b": "def one(x): return helper(x) + 1"})
    constant = notebook(**{**cells, "a": cells["a"].replace("K = 2", "K = 3")})
    assert (before("one"), before("two")) == (again("one"), again("two"))
    assert (before("one") != other("one"), before("two") == other("two")) == (True, True)
    assert (before("one") != constant("one"), before("two") == constant("two")) == (True, True)


@pytest.mark.usefixtures("no_main")
def test_classes_of_a_notebook_count_with_methods_and_what_these_use() -> None:
    """By the class statement in its cell."""
    cells = {
        "a": "def helper(): return 1",
        "b": "class Base:\n    x = 1\n    def run(self): return 2\n"
        "class Model(Base):\n    def __call__(self): return helper()",
    }
    before = notebook(**cells)
    assert notebook(**cells)("Model") == before("Model")
    for cell, old, new in (
        ("a", "return 1", "return 3"),
        ("b", "x = 1", "x = 2"),
        ("b", "return helper()", "return 4"),
    ):
        assert notebook(**{**cells, cell: cells[cell].replace(old, new)})("Model") != before("Model")


def test_functions_without_source_count_by_their_code() -> None:
    """A console before Python 3.13 keeps none: names, constants and what they use still count."""

    def made(text: str) -> str:
        names: dict[str, Any] = {"__name__": "no_such_module"}
        exec(compile(text, "<string>", "exec"), names)
        return Fingerprints().code(names["node"])

    plain = "def helper(x): return x in {'a', 'b', 'c'}\ndef node(x): return helper(x)\n"
    assert made(plain) == made("\n\n" + plain)
    assert made(plain) != made(plain.replace("'c'", "'d'"))
    assert made(plain) != made(plain.replace("return helper(x)", "return helper(x), 1"))


def test_options_are_mixed_in(project: Project) -> None:
    """version, env, packages, image and named data files; without any the node's own fingerprint stays."""
    project.write(nodes=NODES)
    target: FunctionType = project.load("nodes").first
    data = project.folder / "data.csv"
    data.write_text("1")
    plain = fingerprint(target)
    others = [
        fingerprint(target, version="2"),
        fingerprint(target, env={"A": "1"}),
        fingerprint(target, env={"A": "2"}),
        fingerprint(target, packages=["numpy==1"]),
        fingerprint(target, image="numpy==1"),
        fingerprint(target, files=[data]),
    ]
    data.write_text("2")
    others.append(fingerprint(target, files=[data]))
    assert len({plain, *others}) == len(others) + 1
    assert fingerprint(target, env={"A": "1", "B": "2"}) == fingerprint(target, env={"B": "2", "A": "1"})
    assert fingerprint(target, env={}, packages=[]) == plain
    assert plain == Fingerprints().code(target)


def test_call_options_make_the_calls_fingerprint() -> None:
    """Calls of one node with other options have other fingerprints, the same options the same one."""
    from grandpa_kfp_compiler.graph import NO_OPTIONS, Options

    node = "ab" * 32
    assert call_fingerprint(node, NO_OPTIONS) == node
    assert call_fingerprint(node, Options(retries=3, cpu="2")) == node
    assert call_fingerprint(node, Options(version="1")) == call_fingerprint(node, Options(version="1", retries=3))
    assert call_fingerprint(node, Options(version="1")) != call_fingerprint(node, Options(image="1"))
    assert call_fingerprint(node, NO_OPTIONS, [node]) == node
    assert (
        call_fingerprint(node, NO_OPTIONS, ["b", "a"]) == call_fingerprint(node, NO_OPTIONS, ["a", "b", node]) != node
    )


def test_classes_of_stored_values_have_fingerprints(project: Project) -> None:
    """Those of the project; None for others."""
    project.write(nodes="class Model:\n    x = 1\n")
    first = class_fingerprint(project.load("nodes").Model)
    project.write(nodes="class Model:\n    x = 2\n")
    assert class_fingerprint(project.load("nodes").Model) not in (first, None)
    assert class_fingerprint(threading.Thread) is None
    assert class_fingerprint(pytest.MonkeyPatch) is None


EVERY_FORM = '''
import asyncio, math, os.path
from dataclasses import dataclass, field
from collections import *
X, (Y, *Z) = 1, (2, 3)
W: int = 5
TABLE = {**{"a": 1}, "b": [x for x in range(3) if x]}
TEXT = "a" "b" f"{X!r:>{W}}" f"c{Y}" u"d"
HUGE = 1 << 20, 10 ** 30, 123456789012345678901234567890, 1e300, 2j, b"x", ..., "umlaut \\u00e4 \\U0001f600 \\udc80"
@dataclass(frozen=True)
class Point:
    "A point."
    x: int = 0
    y: list = field(default_factory=list)
    def length(self) -> float: return math.hypot(self.x, *self.y)
def node(a, /, b: int = W, *args: int, c=None, **kwargs: str) -> "Point":
    """A docstring."""
    nonsense = lambda *p, q=1: (p, q)
    match a:
        case {"k": [1, *rest], **others} if rest: return others
        case Point(x=0) | None: pass
        case [_, (True | False) as flag]: return flag
        case -1 | 2.5 | "x": return 0
    with open(os.devnull) as f, (open(os.devnull)) as g: pass
    try: assert a, f"{a=} {b:{W}.{X}f} {{}}"
    except (ValueError, OSError) as e: raise RuntimeError from e
    else: del a
    finally: nonsense
    while (n := b) > 0: b -= 1
    for i, j in zip(args, c or ()): continue
    async def inner():
        async with x as y:
            async for z in y: yield await z
    print(TEXT, TABLE, HUGE, Z, sep="", *args, **kwargs)
    return {k: v for k, v in kwargs.items()}, {*args}, (yield), x[1:2, ..., ::3], a if b else c, a @ b, OrderedDict
class Node:
    def __call__(self, x): return super().__init__(), Point(x), __class__
'''


def interpreters() -> list[str]:
    """Other Python minors on this machine, by pyenv or on the path."""
    found: dict[str, str] = {}
    for minor in ("3.10", "3.11", "3.12", "3.13"):
        places = [
            *sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{minor}.*/bin/python"))
        ]
        places += [Path(folder) / f"python{minor}" for folder in os.environ.get("PATH", "").split(os.pathsep)]
        working = [place for place in places if place.exists() and "shims" not in place.parts]
        if working:
            found[minor] = str(working[-1])
    return list(found.values())


def test_python_minors_agree(project: Project) -> None:
    """The same source has the same fingerprint on every Python from 3.10 to 3.13, with the standard library alone."""
    others = interpreters()
    if len(others) < 2:
        pytest.skip("needs a second Python minor")
    (project.folder / "nodes.py").write_text(EVERY_FORM, encoding="utf-8", errors="surrogatepass")
    script = (
        "import nodes, grandpa_kfp_runtime.code.fingerprint as f; g = f.Fingerprints();"
        "print(f.fingerprint(nodes.node, version='1'), *map(g.code, [nodes.Node, nodes.Point, nodes.Point.length]))"
    )
    env = {"PYTHONPATH": f"{RUNTIME}{os.pathsep}{project.folder}", "PATH": os.environ.get("PATH", "")}
    printed = {
        subprocess.run(
            [python, "-S", "-c", script], env={**env, "PYTHONHASHSEED": str(seed)}, capture_output=True, text=True,
            check=True, timeout=60,
        ).stdout
        for seed, python in enumerate(others)
    }  # fmt: skip
    assert len(printed) == 1


def test_a_large_module_is_fast(project: Project) -> None:
    """200 nodes of one module of 2,000 lines: under 150 ms here, a second on the slowest machine."""
    body = "\n".join(
        f"def helper_{n}(x):\n    y = x + {n}\n    z = [y * i for i in range({n})]\n    return sum(z) + LIMIT\n"
        f"def node_{n}(a, b):\n    c = helper_{n}(a)\n    if c > b:\n"
        f"        return helper_{(n + 1) % 200}(c)\n    return {{'c': c}}\n"
        for n in range(200)
    )
    project.write(nodes="LIMIT = 3\n" + body)
    loaded = project.load("nodes")
    assert body.count("\n") >= 1999
    started = time.process_time()
    made = Fingerprints(locator=Locator())
    values = {made.code(getattr(loaded, f"node_{n}")) for n in range(200)}
    elapsed = time.process_time() - started
    assert len(values) == 200
    assert elapsed < 20  # 0.1 s; each node's hash for itself would take minutes
