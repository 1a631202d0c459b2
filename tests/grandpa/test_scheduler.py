"""The pure scheduler: order, readiness, failure, and that its work is linear."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandpa_kfp.engine.scheduler import Schedule, remaining_lengths


def drain(schedule: Schedule) -> list[int]:
    """Run everything one by one; the order it ran in."""
    order = []
    while (task := schedule.take()) is not None:
        order.append(task)
        schedule.finish(task)
    return order


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    count = draw(st.integers(0, 30))
    return [tuple(sorted(draw(st.sets(st.integers(0, task - 1), max_size=4)))) if task else () for task in range(count)]


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_every_task_runs_once_and_behind_what_it_waits_for(waits_for: list[tuple[int, ...]]) -> None:
    """Any graph without cycles is run whole, in an order that its edges allow."""
    order = drain(Schedule(waits_for))
    assert list(range(len(waits_for))) == sorted(order)
    place = {task: index for index, task in enumerate(order)}
    assert all(place[before] < place[task] for task, waits in enumerate(waits_for) for before in waits)


def test_the_longest_remaining_path_goes_first() -> None:
    """0 -> 1 -> 2 hangs on task 0, nothing on 3 and 4, which keep their order."""
    assert remaining_lengths([(), (0,), (1,), (), ()]) == [3, 2, 1, 1, 1]
    assert Schedule([(), (0,), (1,), (), (), (4,), (5,), (6,)]).ready() == [4, 0, 3]


def test_a_priority_takes_the_place_of_the_path() -> None:
    """Higher first; equals in the order of their numbers."""
    assert drain(Schedule([(), (), (), ()], [1, 5, 9, 5])) == [2, 1, 3, 0]


def test_a_failure_drops_what_waits_for_it_and_nothing_else() -> None:
    """Task 3 waits for 1 and 2: with 1 failed it never runs, although 2 ends well; 4 does."""
    schedule = Schedule([(), (0,), (0,), (1, 2), (2,)])
    schedule.finish(schedule.take())
    assert {schedule.take(), schedule.take()} == {1, 2}
    assert schedule.fail(1) == [3]
    assert schedule.finish(2) == [4]
    assert drain(schedule) == [4]
    assert schedule.running == 0


def test_a_task_that_two_failures_reach_is_dropped_once() -> None:
    """Both producers fail: their common consumer is told once."""
    schedule = Schedule([(), (), (0, 1), (2,)])
    first, second = schedule.take(), schedule.take()
    assert schedule.fail(first) == [2, 3]
    assert schedule.fail(second) == []
    assert schedule.take() is None


def test_a_stopped_schedule_hands_out_nothing_more() -> None:
    """Neither what was ready nor what becomes ready, nor what is put back."""
    schedule = Schedule([(), (), (0,)])
    running = schedule.take()
    schedule.stop()
    assert schedule.finish(running) == []
    schedule.put_back(1)
    assert schedule.take() is None


def test_a_cycle_is_an_error_and_no_endless_wait() -> None:
    """A graph that verify did not see is refused before anything starts."""
    with pytest.raises(ValueError, match="waits for itself"):
        Schedule([(), (0, 2), (1,)])


def test_ten_thousand_tasks_with_a_wide_fan_in_cost_their_edges_alone() -> None:
    """10,000 producers of one consumer, 10,000 consumers of that: quadratic work would take minutes."""
    count = 10_000
    waits_for: list[tuple[int, ...]] = [() for _ in range(count)]
    waits_for.append(tuple(range(count)))
    waits_for.extend((count,) for _ in range(count))
    assert 2 * count + 1 == len(drain(Schedule(waits_for)))
