"""A drawing as Mermaid's flowchart, which GitHub, GitLab and many notebooks draw from Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .model import Box, Drawing, Inside, Item, Oval, Task
from .palette import BOXES, INSIDE, PARAMETER, RESULT, STATES, TASK, Colours


def to_mermaid(drawing: Drawing) -> str:
    """The text of a Mermaid diagram."""
    return "\n".join(_Writer(drawing).lines()) + "\n"


class _Writer:
    """Writes one drawing; gives every shape a short id, since Mermaid's own are keywords for some names."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._ids: dict[str, str] = {}
        self._styled: dict[str, list[str]] = {}

    def lines(self) -> Iterator[str]:
        drawing = self._drawing
        yield "---"
        yield f"title: {_yaml(drawing.name)}"
        yield "---"
        yield "flowchart TB"
        for oval in drawing.parameters:
            yield f"  {self._oval(oval, 'parameter')}"
        for item in drawing.items:
            yield from self._item(item, "  ", 0)
        for oval in drawing.results:
            yield f"  {self._oval(oval, 'result')}"
        for arrow in drawing.arrows:
            line = "-.->" if arrow.ordered else "-->"
            label = f"|{_quoted(arrow.label)}|" if arrow.label else ""
            yield f"  {self._id(arrow.source)} {line}{label} {self._id(arrow.target)}"
        yield from self._styles()

    def _id(self, of: str, style: str = "") -> str:
        id_ = self._ids.setdefault(of, f"n{len(self._ids)}")
        if style:
            self._styled.setdefault(style, []).append(id_)
        return id_

    def _item(self, item: Item, indent: str, depth: int) -> Iterator[str]:
        if isinstance(item, Task):
            yield from self._task(item, indent)
            return
        yield from self._box(item, indent, depth)

    def _box(self, box: Box, indent: str, depth: int) -> Iterator[str]:
        yield f"{indent}subgraph {self._id(box.id, f'box{depth % len(BOXES)}')}[{_quoted(box.name)}]"
        for item in box.items:
            yield from self._item(item, indent + "  ", depth + 1)
        yield f"{indent}end"

    def _task(self, task: Task, indent: str) -> Iterator[str]:
        state = task.state.name if task.state is not None and task.state.name in STATES else "task"
        rows = [f"<b>{_escaped(task.name)}</b>"]
        if task.call:
            rows.append(_escaped(task.call))
        if task.state is not None:
            rows.append(f"<i>{_escaped(task.state.text)}</i>")
        rows += [f"<small>{_escaped(line)}</small>" for line in task.lines]
        label = '"' + "<br>".join(rows) + '"'
        id_ = self._id(task.id, state)
        if not task.inside:
            yield f"{indent}{id_}[{label}]"
            return
        yield f"{indent}subgraph {id_}[{label}]"
        for position, item in enumerate(task.inside):
            yield from self._inside(item, f"{task.id} {position}", indent + "  ")
        yield f"{indent}end"

    def _inside(self, item: Inside, path: str, indent: str) -> Iterator[str]:
        id_ = self._id(f"inside {path}", "inside")
        name = f"{item.name} (again)" if item.repeats else item.name
        if not item.inside:
            yield f"{indent}{id_}[{_quoted(name)}]"
            return
        yield f"{indent}subgraph {id_}[{_quoted(name)}]"
        for position, inner in enumerate(item.inside):
            yield from self._inside(inner, f"{path} {position}", indent + "  ")
        yield f"{indent}end"

    def _oval(self, oval: Oval, style: str) -> str:
        detail = f"<br><small>{_escaped(oval.detail)}</small>" if oval.detail else ""
        return f'{self._id(oval.id, style)}(["<b>{_escaped(oval.name)}</b>{detail}"])'

    def _styles(self) -> Iterator[str]:
        known: dict[str, Colours] = {"task": TASK, "parameter": PARAMETER, "result": RESULT, "inside": INSIDE, **STATES}
        known |= {f"box{depth}": colours for depth, colours in enumerate(BOXES)}
        for style, ids in self._styled.items():
            colours = known[style]
            dashes = ",stroke-dasharray:4 3" if style == "inside" else ""
            yield f"  classDef {style} fill:{colours.fill},stroke:{colours.border},color:{colours.ink}{dashes}"
            yield f"  class {','.join(ids)} {style}"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


_SPECIAL = re.compile(r"[^\w .,:=+/()→·-]")


def _escaped(text: str) -> str:
    """Mermaid reads quotes, brackets, HTML and Markdown in a label; by number they are just characters."""
    return _SPECIAL.sub(lambda found: f"#{ord(found.group())};", text)


def _yaml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
