"""Colours and type of all pictures, so that Mermaid, DOT and SVG look alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import State

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
DOT_FONT = "Helvetica"

INK = "#1e293b"
FAINT = "#64748b"
LINE = "#94a3b8"
PAPER = "#ffffff"
_PALE = "#cbd5e1"


@dataclass(frozen=True, slots=True)
class Colours:
    """fill and border of one kind of shape; ink of its title."""

    fill: str
    border: str
    ink: str = INK

    @property
    def accent(self) -> str:
        """For small text: the border's colour, where that is strong enough to be read."""
        return FAINT if self.border == _PALE else self.border


TASK = Colours("#eef2ff", "#818cf8", "#312e81")
INSIDE = Colours("#ffffff", "#a5b4fc", "#4338ca")
PARAMETER = Colours("#fffbeb", "#f59e0b", "#78350f")
RESULT = Colours("#ecfdf5", "#10b981", "#064e3b")
BOXES = (Colours("#f8fafc", _PALE, "#475569"), Colours("#eff3f8", "#b6c2d2", "#475569"))
"""Of components, by depth in turn."""

STATES = {
    "succeeded": Colours("#ecfdf5", "#10b981", "#064e3b"),
    "cached": Colours("#f0f9ff", "#0ea5e9", "#0c4a6e"),
    "failed": Colours("#fef2f2", "#ef4444", "#7f1d1d"),
    "running": Colours("#fffbeb", "#f59e0b", "#78350f"),
    "stopped": Colours("#fff7ed", "#fb923c", "#7c2d12"),
    "skipped": Colours("#f8fafc", _PALE, FAINT),
    "waiting": Colours("#f8fafc", _PALE, FAINT),
}
MARKS = {
    "succeeded": "✓", "cached": "↺", "failed": "✗", "running": "…", "stopped": "■", "skipped": "–", "waiting": "·",
}  # fmt: skip


def colours_of(state: State | None) -> Colours:
    """A task's colours; by what became of it where that is known."""
    return TASK if state is None else STATES.get(state.name, TASK)
