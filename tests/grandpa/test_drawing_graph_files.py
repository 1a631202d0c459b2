"""Pictures of graph files: what stands in the bodies of nodes comes out of the code that the file carries."""

from __future__ import annotations

import json

from command_line import Project

FLOW = """
@Node
def _add(a: int, b: int) -> int:
    return a + b
@Node
def add(a: int, b: int) -> int:
    return _add(a, b)
@Workflow
def flow(a: int = 1):
    return add(a, 2)
"""


def test_bodies_are_drawn_without_the_source(project: Project) -> None:
    """The same tree from the graph file as from the Python file, which is gone."""
    project.flow(FLOW)
    from_source = project.grandpa("graph", "flow.py").out
    assert "╌ _add" in from_source
    project.graph_file()
    (project.folder / "flow.py").unlink()
    drawn = project.grandpa("graph", "flow.json")
    assert (drawn.code, drawn.out) == (0, from_source), drawn.err


def test_code_of_another_python_shows_its_bodies_too(project: Project) -> None:
    """Modules are for any Python; only what travels by value is not."""
    project.flow(FLOW)
    file = project.graph_file()
    whole = json.loads(file.read_text(encoding="utf-8"))
    whole["code"]["python"] = "3.99"
    file.write_text(json.dumps(whole), encoding="utf-8")
    drawn = project.grandpa("graph", "flow.json")
    assert drawn.code == 0, drawn.err
    assert "├─ add" in drawn.out
    assert "_add" in drawn.out
