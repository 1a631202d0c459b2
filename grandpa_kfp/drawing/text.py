"""A drawing as readable text: a tree of components, each task with where its arguments come from.

calculator(a: int = 10, b: int = 2) -> int
├─ add             a ← a, b ← b
│  ╌ _add
├─ remainder
│  ├─ Divide       Divide(divisor=7), a ← multiply
│  ╰─ subtract     a ← multiply, b ← remainder/multiply
╰→ result ← remainder/subtract
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .model import Arrow, Drawing, Flow, Inside, Item, Task
from .palette import MARKS

Style = Callable[[str, str], str]
"""(text, what it is: `name`, `task`, `box`, `inside`, `faint`, or a state) -> text, say with colours."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the tree: its branch, its name, what stands beside it."""

    branch: str
    name: str
    kind: str
    beside: str = ""
    state: str = ""


def to_text(drawing: Drawing, style: Style | None = None) -> str:
    """The tree. style: colours its parts, by default none."""
    paint = style or (lambda text, kind: text)
    incoming: dict[str, list[Arrow]] = {}
    for arrow in drawing.arrows:
        incoming.setdefault(arrow.target, []).append(arrow)
    rows = list(_rows(drawing.items, "", incoming, bool(drawing.results)))
    for position, oval in enumerate(drawing.results):
        sources = ", ".join(_source(arrow) for arrow in incoming.get(oval.id, ()))
        corner = "╰→ " if position == len(drawing.results) - 1 else "├→ "
        rows.append(_Row(corner, oval.name, "name", f"← {sources}" if sources else "a constant"))
    widest = max((len(row.branch) + len(row.name) for row in rows if row.beside), default=0)
    lines = [_head(drawing, paint)]
    for row in rows:
        padding = " " * (min(widest, 48) - len(row.branch) - len(row.name))
        state = f"  {paint(row.state, row.kind)}" if row.state else ""
        beside = (
            f"{padding}{state}  {paint(row.beside, 'faint')}" if row.beside else f"{padding if state else ''}{state}"
        )
        lines.append(f"{paint(row.branch, 'faint')}{paint(row.name, row.kind)}{beside}".rstrip())
    return "\n".join(lines) + "\n"


def _head(drawing: Drawing, paint: Style) -> str:
    parameters = ", ".join(_parameter(oval.name, oval.detail) for oval in drawing.parameters)
    returns = next((f" -> {oval.detail}" for oval in drawing.results if oval.detail), "")
    head = f"{paint(drawing.name, 'name')}({parameters}){returns}"
    if drawing.where:
        head += paint(f"    {drawing.where}", "faint")
    first = drawing.description.partition("\n")[0]
    return f"{head}\n{paint('│  ' + first, 'faint')}\n{paint('│', 'faint')}" if first else head


def _parameter(name: str, detail: str) -> str:
    if not detail:
        return name
    return f"{name}={detail[2:]}" if detail.startswith("= ") else f"{name}: {detail}"


def _rows(items: tuple[Item, ...], indent: str, incoming: dict[str, list[Arrow]], more: bool) -> Iterator[_Row]:
    for position, item in enumerate(items):
        last = position == len(items) - 1 and not more
        branch, below = ("╰─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(item, Task):
            yield _task(item, indent + branch, incoming)
            yield from _inside(item.inside, indent + below)
        else:
            yield _Row(indent + branch, item.name, "box")
            yield from _rows(item.items, indent + below, incoming, more=False)


def _task(task: Task, branch: str, incoming: dict[str, list[Arrow]]) -> _Row:
    arrows = incoming.get(task.id, ())
    flows = [_flow(arrow) for arrow in arrows if not arrow.ordered]
    waits = [f"after {arrow.source}" for arrow in arrows if arrow.ordered]
    beside = ", ".join(filter(None, (task.call, *flows, *task.lines, *waits)))
    if task.state is None:
        return _Row(branch, task.name, "task", beside)
    mark = MARKS.get(task.state.name, "")
    return _Row(f"{branch}", f"{mark} {task.name}", task.state.name, beside, f"{task.state.text:<14}")


def _flow(arrow: Arrow) -> str:
    """`a ← load.mean, b ← load.std`."""
    return ", ".join(f"{flow.argument} ← {_from(arrow, flow)}".lstrip() for flow in arrow.flows)


def _source(arrow: Arrow) -> str:
    return ", ".join(_from(arrow, flow) for flow in arrow.flows)


def _from(arrow: Arrow, flow: Flow) -> str:
    return arrow.source.removeprefix("parameter ") + _dotted(flow.part)


def _dotted(part: str) -> str:
    return part if not part or part.startswith("[") else f".{part}"


def _inside(inside: tuple[Inside, ...], indent: str) -> Iterator[_Row]:
    for item in inside:
        yield _Row(f"{indent}╌ ", f"{item.name} ↻" if item.repeats else item.name, "inside")
        yield from _inside(item.inside, indent + "  ")
