"""keep_going in loops and maps: what one round or element fails by does not keep the others from running."""

from __future__ import annotations

from typing import Any

import pytest
from control_flows import fail_at, total

from grandpa_kfp import Workflow, collect, each, run
from grandpa_kfp_runtime.errors import TaskError


@Workflow
def looping() -> Any:
    with each([0, 1, 2, 3, 4], parallelism=2) as x:
        safe = fail_at(x, 1)
    return total(collect(safe))


@Workflow
def one_by_one() -> Any:
    with each([0, 1, 2, 3, 4], parallelism=1) as x, each([x, 5], parallelism=1) as y:
        fail_at(y, 1)


@Workflow
def mapping() -> Any:
    return total(fail_at.map([0, 1, 2, 3, 4], [1] * 5, window=1))


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize(
    ("workflow", "ran"), [(looping, 4), (one_by_one, 9), (mapping, 4)], ids=["loop", "loops", "map"]
)
def test_all_that_can_run_does(workflow: Any, ran: int, processes: int) -> None:
    """Also what had not begun when the first failed; the loop fails, and what waits for it is skipped."""
    with pytest.raises(TaskError, match="1 is bad") as caught:
        run(workflow, processes=processes, keep_going=True, record=False)
    done = caught.value.run
    assert done is not None
    states = [
        task.state for task in done.tasks.values() if task.name.startswith("fail_at") and not task.name.endswith("map")
    ]
    assert (states.count("succeeded"), states.count("failed")) == (ran, 1)
    assert {task.state for task in done.tasks.values() if task.name == "total"} <= {"skipped"}
    assert next(iter(done.tasks.values())).state == "failed"


def test_without_it_nothing_more_begins() -> None:
    with pytest.raises(TaskError) as caught:
        run(one_by_one, record=False)
    assert caught.value.run is not None
    assert "each/2" not in caught.value.run.tasks
