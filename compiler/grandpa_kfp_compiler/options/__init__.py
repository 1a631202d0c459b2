"""The options of a task: one table, used wherever one is read, checked, written or merged.

    values.py     Options, a value of each option
    table.py      RULES: option -> Rule
    rules.py      what a rule is; numbers, amounts, texts
    volumes.py    placement.py    messages.py    the structured ones
    names.py      what Kubernetes takes as a name

A value is canonical: frozen, hashable, the same for what means the same. Users' values are read by
`grandpa_kfp.authoring.options`, those of a graph file by `json_format`; `verify` checks both.
"""

from __future__ import annotations

from .names import nearest
from .rules import Json, Rule, Wrong
from .table import RULES

__all__ = ["RULES", "Json", "Rule", "Wrong", "nearest"]
