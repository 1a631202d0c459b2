"""Predicted sizes: near what was measured on a cluster, and every limit has its message."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from grandpa_kfp_compiler.kfp.pipeline import Dag, Executor, FromConstant, FromTask, Leaf, Pipeline, Rounds, Task
from grandpa_kfp_compiler.kfp.sizes import (
    ARGUMENT_LIMIT_BYTES,
    WORKFLOW_BUDGET_BYTES,
    WORKFLOW_LIMIT_BYTES,
    check_tasks,
    check_upload,
    count_tasks,
    predict_workflow,
)
from grandpa_kfp_runtime.errors import CompileError

KIB = 1024


def random_text(size: int) -> str:
    """What compressed code looks like: base64 without repetition."""
    data = b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(size // 32 + 1))
    return b64encode(data).decode()[:size]


def pipeline(tasks: int, *, components: int = 1, args: tuple[str, ...] = ("task",)) -> Pipeline:
    leaves = tuple(
        Leaf(f"comp-{index}", (), ("result",), (), Executor("image", ("python",), (*args, str(index))), f"add-{index}")
        for index in range(components)
    )
    made = tuple(Task(f"t-{index}", f"comp-{index % components}") for index in range(tasks))
    return Pipeline("p", "", Dag("root", (), made), leaves)


def test_twenty_tasks_with_96_kib_of_code_do_not_fit() -> None:
    """Measured: refused with a compressed size of 2,754,218."""
    predicted = predict_workflow(pipeline(20), {"GRANDPA_CODE": random_text(96 * KIB)}).total
    assert 2_000_000 < predicted < 5_000_000
    assert predicted > WORKFLOW_LIMIT_BYTES


def test_forty_tasks_with_6_kib_of_code_cost_almost_nothing() -> None:
    """Measured: 48 KB compressed. The code repeats within gzip's window."""
    with_code = predict_workflow(pipeline(40), {"GRANDPA_CODE": random_text(6 * KIB)})
    assert 30_000 < with_code.status < 80_000
    assert with_code.total < WORKFLOW_BUDGET_BYTES
    assert with_code.status < 2 * predict_workflow(pipeline(40)).status


def test_code_beyond_the_window_counts_for_every_task() -> None:
    """Tasks times code, not components times code."""
    code = {"GRANDPA_CODE": random_text(48 * KIB)}
    few, many = predict_workflow(pipeline(4), code).status, predict_workflow(pipeline(8), code).status
    assert many == pytest.approx(2 * few, rel=0.05)


def test_the_spec_holds_the_code_of_each_component() -> None:
    code = {"GRANDPA_CODE": random_text(20 * KIB)}
    one = predict_workflow(pipeline(8, components=1), code).spec
    eight = predict_workflow(pipeline(8, components=8), code).spec
    assert eight - one >= 7 * 20 * KIB


def test_inputs_larger_than_one_argument_name_the_task_and_the_way_out() -> None:
    inputs = tuple((f"x--{index}", FromTask("add", "result")) for index in range(1200))
    root = Dag("root", (), (Task("total", "comp-0", inputs, where="calc.py:7"),))
    base = pipeline(1)
    with pytest.raises(CompileError, match=r"^total \(calc.py:7\): its inputs take .* one list$"):
        check_tasks(Pipeline("p", "", root, base.components))
    constants = tuple((f"x{index}", FromConstant("y" * 16_000)) for index in range(10))
    root = Dag("root", (), (Task("total", "comp-0", constants, where="calc.py:7"),))
    with pytest.raises(CompileError, match=r"make the large constants in a node"):
        check_tasks(Pipeline("p", "", root, base.components))


def test_a_container_larger_than_one_argument_is_refused() -> None:
    with pytest.raises(CompileError, match=r"^add-0: its description takes 1\d\d,\d\d\d bytes"):
        check_tasks(pipeline(1, args=("x" * ARGUMENT_LIMIT_BYTES,)))


def test_a_file_larger_than_kubeflow_takes_is_refused() -> None:
    check_upload("ä" * 1000)
    with pytest.raises(CompileError, match="33,554,433 bytes"):
        check_upload("x" * (32 * KIB * KIB + 1))


def test_some_400_tasks_are_the_end() -> None:
    """Measured: 1.6 KB of specification a task, two inputs each; 400 to 600 tasks fill a Workflow."""
    found = {count: predict_workflow(bound(count)) for count in (100, 400, 600)}
    assert found[100].spec / 100 == pytest.approx(1600, rel=0.1)
    assert found[400].total < WORKFLOW_LIMIT_BYTES < found[600].total


def bound(count: int) -> Pipeline:
    """Tasks with two inputs each."""
    inputs = (("a", FromTask("add", "result")), ("b", FromTask("add-2", "result")))
    base = pipeline(1)
    tasks = tuple(Task(f"t-{index}", "comp-0", inputs) for index in range(count))
    return Pipeline("p", "", Dag("root", (), tasks), base.components)


def test_every_round_that_is_known_counts_in_the_status_alone() -> None:
    def looping(count: int | None) -> Pipeline:
        body = Dag("comp-each", (), (Task("a", "comp-0"), Task("b", "comp-0")))
        root = Dag("root", (), (Task("each", "comp-each", rounds=Rounds("item", "items", 10, count)),))
        return Pipeline("p", "", root, (*pipeline(1).components, body))

    few, many, unknown = (predict_workflow(looping(count)) for count in (1, 100, None))
    assert (few.spec, few) == (many.spec, unknown)
    assert many.status > 80 * few.status
    assert [count_tasks(looping(count)) for count in (1, 100, None)] == [2, 200, 2]


def test_tasks_are_counted_without_the_groups() -> None:
    inner = Dag("comp-part", (), (Task("a", "comp-0"), Task("b", "comp-0")))
    root = Dag("root", (), (Task("part", "comp-part"), Task("c", "comp-0")))
    assert count_tasks(Pipeline("p", "", root, (*pipeline(1).components, inner))) == 3
