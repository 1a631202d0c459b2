"""Random workflows give the same value by direct Python calls, by a local run and by the compiled YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import grandpa_kfp
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.loading import load_target

PRELUDE = """
from dataclasses import dataclass
from typing import Any
from grandpa_kfp import Component, Node, Workflow


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any


def plain_sum(value):
    if isinstance(value, Point):
        return plain_sum(value.x) + 3 * plain_sum(value.y)
    if isinstance(value, dict):
        return sum(len(key) * plain_sum(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum((place + 1) * plain_sum(item) for place, item in enumerate(value))
    return value


@Node
def add(a: int, b: int = 1, *rest: int, scale: int = 1) -> int:
    return (a + b + sum(rest)) * scale


@Node(outputs=("low", "high"))
def order(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a <= b else (b, a)


@Node
def total(value: Any, **more: Any) -> int:
    return plain_sum(value) - plain_sum(more)


@Node
def pair(a: int, b: int) -> tuple[int, int]:
    return (b, a)


@Node
class Affine:
    def __init__(self, scale: int, shift: int = 0) -> None:
        self.scale, self.shift = scale, shift

    def __call__(self, x: int) -> int:
        return self.scale * x + self.shift


@Node
def measure(affine: Affine, at: int) -> int:
    return affine.scale * at - affine.shift


@Component
def blend(a: int, b: int) -> int:
    return add(total([a, (b, a)]), Affine(b, 2)(a))


@Component
def twice(a: int) -> int:
    return blend(blend(a, 2), a)


@Node
def grown(a: int, b: int) -> int:
    low, high = order(a, b)
    return add(blend(low, b), total({"k": Affine(high, b)(a)}))


@Node
def spread(a: int, b: int) -> list:
    return [grown(n, b) if n % 2 else n for n in range(abs(a) % 4)]

"""


@st.composite
def workflow_bodies(draw: st.DrawFn, most_steps: int) -> str:
    """The source of a workflow over the nodes above: diamonds, nesting, components, classes, outputs."""
    names = ["p", "q"]
    lines: list[str] = []

    def atom() -> str:
        return draw(st.one_of(st.sampled_from(names), st.sampled_from(names), st.integers(-9, 9).map(str)))

    def nested(depth: int = 2) -> str:
        shape = draw(st.sampled_from(["atom", "list", "tuple", "dict", "point"] if depth else ["atom"]))
        if shape == "atom":
            return atom()
        if shape == "point":
            return f"Point({nested(depth - 1)}, y={nested(depth - 1)})"
        parts = [nested(depth - 1) for _ in range(draw(st.integers(0, 3)))]
        if shape == "list":
            return f"[{', '.join(parts)}]"
        if shape == "tuple":
            return f"({''.join(part + ', ' for part in parts)})"
        return "{" + ", ".join(f"{'ab' * (place + 1)!r}: {part}" for place, part in enumerate(parts)) + "}"

    for step in range(draw(st.integers(1, most_steps))):
        name = f"v{step}"
        kind = draw(
            st.sampled_from(
                ["add", "order", "total", "pair", "affine", "instance", "blend", "twice", "keywords", "grown", "spread"]
            )
        )
        made = [name]
        if kind == "add":
            lines.append(f"{name} = add({atom()}, {atom()}, {atom()}, scale={atom()})")
        elif kind == "keywords":
            lines.append(f"{name} = add(b={atom()}, a={atom()})")
        elif kind == "order":
            made = [f"{name}_low", f"{name}_high"]
            lines.append(f"{made[0]}, {made[1]} = order({atom()}, b={atom()})")
        elif kind == "total":
            lines.append(f"{name} = total({nested()}, k={nested(1)})")
        elif kind == "pair":
            lines.append(f"{name} = pair({atom()}, {atom()})[{draw(st.integers(0, 1))}]")
        elif kind == "affine":
            lines.append(f"{name} = Affine({atom()}, shift={atom()})({atom()})")
        elif kind == "instance":
            lines.append(f"{name} = measure(Affine({atom()}, {atom()}), {atom()})")
        elif kind == "grown":
            lines.append(f"{name} = grown({atom()}, {atom()})")
        elif kind == "spread":
            lines.append(f"{name} = total(spread({atom()}, {atom()}))")
        elif kind == "blend":
            lines.append(f"{name} = blend({atom()}, {atom()})")
        else:
            lines.append(f"{name} = twice({atom()})")
        names.extend(made)
    last = names[-1]
    lines.append(f"return {draw(st.sampled_from([last, f'[{last}, {nested(1)}]', f'({last}, p)']))}")
    return "@Workflow\ndef made(p: int = 3, q: int = 4):\n" + "".join(f"    {line}\n" for line in lines)


def direct(source: str, parameters: dict[str, int]) -> Any:
    """The value by plain Python: the decorators replaced by nothing."""
    plain = source.replace("from grandpa_kfp import Component, Node, Workflow", "")
    space: dict[str, Any] = {"__name__": "plain_workflow"}

    def mark(target: Any = None, **options: Any) -> Any:
        return mark if target is None else target

    space.update(Component=mark, Node=mark, Workflow=mark)
    exec(compile(plain, "plain_workflow.py", "exec", dont_inherit=True), space)
    return space["made"](**parameters)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    (folder / "pyproject.toml").write_text("")
    return folder


counter = iter(range(1_000_000))


def load(folder: Path, source: str) -> Any:
    file = folder / f"made_{next(counter)}.py"
    file.write_text(source)
    return load_target(f"{file}:made")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=workflow_bodies(12), p=st.integers(-5, 5))
def test_a_local_run_gives_what_plain_python_gives(folder: Path, body: str, p: int) -> None:
    """Threads, values isolated, structures taken apart and put together: the same value."""
    expected = direct(PRELUDE + body, {"p": p})
    run = grandpa_kfp.run(load(folder, PRELUDE + body), {"p": p}, record=False)
    assert repr(expected) == repr(run.value)  # each side has a class Point of its own


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=workflow_bodies(3), p=st.integers(-5, 5))
def test_the_compiled_yaml_gives_what_plain_python_gives(folder: Path, body: str, p: int) -> None:
    """Every task its own process, values through a folder store: the same value."""
    expected = direct(PRELUDE + body, {"p": p})
    compiled = folder / "made.yaml"
    grandpa_kfp.compile(load(folder, PRELUDE + body), compiled)
    run = run_pipeline_yaml(compiled, {"p": p}, store=folder / "store")
    assert repr(expected) == repr(run.value)  # each side has a class Point of its own
