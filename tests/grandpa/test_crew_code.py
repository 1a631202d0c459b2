"""Workers that go on when another workflow follows: they take its code besides what they have."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp import Node, TemplateParser, Workflow
from grandpa_kfp.loading import load_file
from grandpa_kfp_runtime.code.loader import MANIFEST, Loader, add_members

FLOW = """
    import os
    from grandpa_kfp import Node, Workflow
    {more}

    @Node
    def {name}(x: int) -> tuple[int, int]:
        return os.getpid(), {value}

    @Workflow
    def flow(x: int = 1):
        return {name}(x)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a file with one workflow, and loads it."""
    (tmp_path / "grandpa.toml").write_text("")
    (tmp_path / "shared_of_flows.py").write_text("def plus(x):\n    return x + 1\n")
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)

    def write(name: str, value: str, more: str = "") -> Any:
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(FLOW.format(name=name, value=value, more=more)))
        importlib.invalidate_caches()
        return load_file(file).flow

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_workers_go_on_with_another_workflow(project: Any) -> None:
    """Of modules that they have, and of new ones; back and forth."""
    shared = "from shared_of_flows import plus"
    first, second, third = (
        project("one", "x"),
        project("two", "plus(x)", shared),
        project("three", "plus(x + 1)", shared),
    )
    with TemplateParser(process_count=1, record=False) as parser:
        found = [parser(flow) for flow in (first, second, third, first, second)]
    assert [value for _, value in found] == [1, 2, 3, 1, 2]
    assert len({pid for pid, _ in found}) == 1


def test_workers_whose_code_has_changed_are_replaced(project: Any) -> None:
    """A module of the same name and another content; what they had loaded would be wrong."""
    with TemplateParser(process_count=1, record=False) as parser:
        before = parser(project("one", "x"))
        after = parser(project("one", "x + 100"))
    assert (before[1], after[1]) == (1, 101)
    assert before[0] != after[0]


def test_nodes_by_value(project: Any) -> None:
    """Of one name and different code: the workers are replaced. Of different names they stay."""

    def flow(name: str, value: int) -> Any:
        @Node(name=name)
        def body() -> tuple[int, int]:
            import os

            return os.getpid(), value

        return Workflow(lambda: body())

    with TemplateParser(process_count=1, record=False) as parser:
        found = [parser(flow(name, value)) for name, value in (("a", 1), ("b", 2), ("a", 3))]
    assert [value for _, value in found] == [1, 2, 3]
    assert found[0][0] == found[1][0] != found[2][0]


def test_only_what_differs_in_nothing_is_added(tmp_path: Path) -> None:
    """Neither a changed file nor a package that was none; then nothing is done. A loader takes notice of the rest."""

    def folder(name: str, **members: str) -> Path:
        for path, text in {MANIFEST: json.dumps({"modules": [name]}), **members}.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / name

    base = folder("base", **{"crew_a.py": "A = 1\n", "crew_pkg/m.py": ""})
    assert not add_members(folder("x1", **{"crew_a.py": "A = 2\n", "crew_b.py": ""}), base)
    assert not add_members(folder("x2", **{"crew_pkg/__init__.py": "", "crew_b.py": ""}), base)
    assert not (base / "crew_b.py").exists()
    with Loader(base) as loader:
        assert loader.load("crew_a:A") == 1
        assert add_members(folder("x3", **{"crew_a.py": "A = 1\n", "crew_b.py": "B = 2\n"}), base)
        loader.refresh()
        assert loader.modules == {"base", "x3"}
        assert loader.load("crew_b:B") == 2
        sys.modules.pop("crew_a")
        sys.modules.pop("crew_b")
