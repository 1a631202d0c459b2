"""`node.map` and `@TaskNode` on Kubeflow: one container, or a loop whose rounds are containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.components import load_component_from_text
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from kfp_by_hand import TaskFailed, cluster

from grandpa_kfp import Node, TaskNode, TraceError, Workflow, collect, compile, each, run, trace
from grandpa_kfp_compiler.control import Loop
from grandpa_kfp_runtime.builtins import rows_handles
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle, write_handles


@Node
def numbers(n: int) -> list[int]:
    return list(range(n))


@Node
def square(x: int) -> int:
    return x * x


@Node(cpu="1", memory="1Gi")
def heavy(x: int) -> int:
    return -x


@TaskNode(parallelism=3)
def add(a: int, b: int) -> int:
    return a + b


@Node(outputs=("quotient", "rest"))
def divide(a: int, b: int) -> tuple[int, int]:
    return divmod(a, b)


@Node
class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return self.factor * x


@Node
def arrays(n: int) -> list[np.ndarray]:
    return [np.full(2000, place) for place in range(n)]


@Node
def dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b)


@Workflow
def loops(n: int = 3) -> Any:
    found = numbers(n)
    scaled = Scale(square(2)).map(found, parallelism=2)
    return heavy.map(found), add(found, scaled), divide.map([7], [2], parallelism=1), square.map(found)


def loops_plain(n: int = 3) -> Any:
    return [-x for x in range(n)], [5 * x for x in range(n)], [(3, 1)], [x * x for x in range(n)]


@Workflow
def nested(n: int = 2) -> Any:
    """A map in a loop, of lists that the loop has, which may be empty."""
    with each(numbers(n)) as count:
        found = numbers(count)
        inner = add(found, found)
    return collect(inner)


def nested_plain(n: int = 2) -> Any:
    return [[2 * x for x in range(count)] for count in range(n)]


@Workflow
def large(n: int = 3) -> Any:
    return dot.map(arrays(n), arrays(n), parallelism=2)


def large_plain(n: int = 3) -> Any:
    return [2000.0 * place * place for place in range(n)]


CASES = [
    (loops, {"n": 2}, loops_plain), (nested, {"n": 2}, nested_plain), (large, {"n": 2}, large_plain),
]  # fmt: skip


@pytest.mark.parametrize(("workflow", "params", "plain"), CASES)
def test_a_map_means_the_same_everywhere(workflow: Any, params: Any, plain: Any, tmp_path: Path) -> None:
    """On threads, and as Kubeflow runs the file that it reads."""
    expected = plain(**params)
    assert run(workflow, params, record=False).value == expected
    text = compile(workflow, tmp_path / "pipeline.yaml").text
    load_component_from_text(text)
    ParseDict(next(yaml.safe_load_all(text)), PipelineSpec())
    assert cluster(text, tmp_path).run(params) == expected


def kind_of(made: Any) -> type:
    graph = trace(Workflow(made))
    (operation,) = graph.operations
    return type(operation)


def test_what_is_a_loop_is_what_the_user_asks_for() -> None:
    """By parallelism, or by options that hold for each element; not by a workflow's, nor where window is given."""
    assert kind_of(lambda: square.map([1, 2])) is not Loop
    assert kind_of(lambda: square.map([1, 2], window=1)) is not Loop
    assert kind_of(lambda: heavy.map([1, 2], window=1)) is not Loop
    assert kind_of(lambda: square.options(retries=3, env={"A": "1"}, image="x").map([1, 2])) is not Loop
    assert kind_of(lambda: square.map([1, 2], parallelism=1)) is Loop
    assert kind_of(lambda: square.options(timeout_s=9).map([1, 2])) is Loop
    assert kind_of(lambda: heavy.map([1, 2])) is Loop
    assert kind_of(lambda: add([1, 2], [1, 2])) is Loop
    defaults = Workflow(defaults={"memory": "1Gi"})(lambda: square.map([1, 2]))
    assert not isinstance(trace(defaults).operations[0], Loop)


def test_the_loop_has_the_maps_name_and_order(tmp_path: Path) -> None:
    """In the file it iterates over the elements, so many at once; each round is one container."""

    @Workflow
    def named() -> Any:
        first = numbers(2)
        return square.options(name="squares", after=[first]).map([1, 2], parallelism=4)

    spec = next(yaml.safe_load_all(compile(named, tmp_path / "pipeline.yaml").text))
    task = spec["root"]["dag"]["tasks"]["squares"]
    assert task["parameterIterator"] == {"items": {"inputParameter": "items"}, "itemInput": "item"}
    assert task["iteratorPolicy"] == {"parallelismLimit": 4}
    assert "numbers" in task["dependentTasks"]
    assert list(spec["components"][task["componentRef"]["name"]]["dag"]["tasks"]) == ["square"]


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    """Told at the call where they are known, else by the task that puts them together."""
    with pytest.raises(
        TraceError, match=r"add\.map \(.*test_kfp_maps\.py:\d+\): .* of one length, but these have 1, 2"
    ):
        trace(Workflow(lambda: add([1], [1, 2])))
    later = Workflow(lambda: add(numbers(2), [1]))
    with pytest.raises(TaskError, match="of one length, but these have 2, 1 elements"):
        run(later, record=False)
    found = cluster(compile(later, tmp_path / "pipeline.yaml").text, tmp_path)
    with pytest.raises(TaskFailed, match="of one length, but these have 2, 1 elements"):
        found.run({})


def test_window_and_parallelism_exclude_each_other() -> None:
    with pytest.raises(TraceError, match="window makes the map one task, parallelism a loop"):
        square.map([1], window=2, parallelism=2)
    with pytest.raises(TraceError, match="parallelism must be a whole number above 0, but is 0"):
        square.map([1], parallelism=0)


def test_rows_are_made_without_reading_what_is_in_them() -> None:
    """Lists of handles are put together by handle; a list that was stored whole is taken apart."""
    store = MemoryStore()
    gone = write_handles(["@" + "A" * 43, "@" + "B" * 43], store)
    whole = to_handle(["x" * 5000, "y"], store)
    made = rows_handles([gone, whole], store)
    with pytest.raises(Exception, match=r"A{43}"):
        from_handle(made, store)
    assert from_handle(rows_handles([whole, to_handle([1, 2], store)], store), store) == [["x" * 5000, 1], ["y", 2]]
    with pytest.raises(TaskError, match="map takes lists, but the value at place 2 is 5"):
        rows_handles([whole, "5"], store)


@Workflow
def parts(items: list = [{"a": 1, "b": [2]}, {"a": 3, "b": [4]}]) -> Any:  # noqa: B006
    with each(items) as item:
        added = add([item["a"]], [item["b"][0]])
    return collect(added)


def test_parts_of_a_loops_items(tmp_path: Path) -> None:
    """On threads as on Kubeflow; one that an item lacks is told with its round."""
    assert run(parts, record=False).value == [[3], [7]]
    assert cluster(compile(parts, tmp_path / "pipeline.yaml").text, tmp_path).run({}) == [[3], [7]]
    with pytest.raises(TaskError, match=r"the item of the loop: the value is .* and has no \['b'\]"):
        run(parts, {"items": [{"a": 1}]}, record=False)
