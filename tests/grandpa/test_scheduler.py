"""The pure scheduler: order, readiness, failure, and that its work is linear."""

from __future__ import annotations

from typing import Any

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


# --- growing -------------------------------------------------------------------------------------


@st.composite
def growths(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], dict[int, list[tuple[list[tuple[int, ...]], int]]]]:
    """A graph, and what some of its tasks become: one fragment or several after each other, with `left`."""
    waits_for = draw(graphs())
    grown = {}
    for task in draw(st.sets(st.integers(0, max(0, len(waits_for) - 1)), max_size=5)):
        parts = [part for part in draw(st.lists(graphs(), min_size=1, max_size=3)) if part]
        lefts = [draw(st.integers(1, 4)) for _ in parts[1:]] + [0]
        if task < len(waits_for) and parts:
            grown[task] = list(zip(parts, lefts, strict=True))
    return waits_for, grown


@given(growths(), st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_a_grown_task_ends_after_what_it_has_become(drawn: Any, random: Any, lanes: int) -> None:
    """With any number of lanes, tasks ending in any order: each runs, edges hold, followers wait for all of it."""
    waits_for, grown = drawn
    schedule = Schedule(waits_for)
    parts = {task: list(found) for task, found in grown.items()}
    began, ended, out = [], [], []
    below: dict[int, list[int]] = {}
    before = dict(enumerate(waits_for))
    while True:
        while len(out) < lanes and (task := schedule.take()) is not None:
            out.append(task)
            if task not in began:
                began.append(task)
                assert set(before[task]) <= set(ended)
        if not out:
            break
        task = out.pop(random.randrange(len(out)))
        if parts.get(task):
            part, left = parts[task].pop(0)
            first = schedule.count
            ready = schedule.add(task, part, range(len(part)), left)
            assert ready == [first + place for place, waits in enumerate(part) if not waits]
            before.update({first + place: tuple(first + item for item in waits) for place, waits in enumerate(part)})
            below.setdefault(task, []).extend(range(first, first + len(part)))
        else:
            assert set(below.get(task, ())) <= set(ended)
            schedule.finish(task)
            ended.append(task)
    assert sorted(ended) == list(range(schedule.count)) == sorted(began)
    assert schedule.running == 0


def test_the_newest_go_first() -> None:
    """Depth first: few tasks are under way. What hangs on a longer path goes before, wherever it stands."""
    schedule = Schedule([(), (), (1,)])
    assert schedule.take() == 1
    assert schedule.add(1, [(), (), (0, 1)], [2]) == [3, 4]
    assert schedule.take() == 3
    assert schedule.add(3, [(), ()], [0, 1]) == [6, 7]
    assert schedule.ready() == [6, 7, 4, 0]


def test_what_grows_several_times_keeps_its_order() -> None:
    """Elements of a map: those added later go behind those that still wait."""
    schedule = Schedule([(), ()])
    schedule.take()
    assert schedule.add(0, [(), (), ()], [0, 1, 2], left=2) == [2, 3, 4]
    assert schedule.take() == 2
    schedule.finish(2)
    assert schedule.take() == 0
    schedule.add(0, [(), ()], [0, 1])
    assert schedule.ready() == [3, 4, 5, 6, 1]


def test_a_grown_task_that_has_all_it_needs_goes_on_at_once() -> None:
    """What it needs may end before it says so."""
    schedule = Schedule([()])
    schedule.take()
    schedule.add(0, [(), ()], [0, 1], left=1)
    assert (schedule.take(), schedule.take()) == (1, 2)
    assert schedule.finish(1) == []
    assert schedule.take() == 0
    assert schedule.finish(2) == []
    schedule.add(0, [], [])
    assert schedule.take() == 0
    schedule.finish(0)
    assert (schedule.take(), schedule.running) == (None, 0)


def test_a_failure_below_drops_the_task_above_and_what_waits_for_it() -> None:
    """The other tasks below go on; a task that has gone on meanwhile gets nothing more."""
    schedule = Schedule([(), (0,)])
    schedule.take()
    schedule.add(0, [(), (), (0,)], [1, 2], left=1)
    assert (schedule.take(), schedule.take()) == (2, 3)
    assert schedule.finish(3) == []
    assert schedule.take() == 0
    assert sorted(schedule.fail(2)) == [0, 1, 4]
    assert schedule.is_lost(0)
    assert schedule.add(0, [()], [0]) == []
    assert (schedule.take(), schedule.running, schedule.count) == (None, 0, 5)


def test_a_task_lost_while_it_is_ready_to_go_on_is_never_taken() -> None:
    """It had few missing, then one of those failed."""
    schedule = Schedule([()])
    schedule.take()
    schedule.add(0, [(), ()], [0, 1], left=1)
    assert (schedule.take(), schedule.take()) == (1, 2)
    schedule.finish(1)
    assert schedule.ready() == [0]
    assert schedule.fail(2) == [0]
    assert schedule.take() is None


def behind(count: int = 1) -> Schedule:
    """A task that runs, and others given out behind it."""
    schedule = Schedule([(), *[(0,)] * count])
    assert schedule.take() == 0
    for task in range(1, count + 1):
        schedule.reserve(task)
    return schedule


def test_a_task_given_out_behind_another_is_given_out_once() -> None:
    """It pauses for its next attempt, and what it ran behind begins once more: it is not its follower again."""
    schedule = behind()
    schedule.put_back(0)
    assert (schedule.take(), schedule.followers(0)) == (0, [])
    assert schedule.finish(0) == []
    schedule.put_back(1)
    assert (schedule.take(), schedule.take(), schedule.running) == (1, None, 1)


def test_a_task_that_ended_before_what_it_ran_behind_does_not_run_again() -> None:
    """What the first one made was lost, and it runs once more."""
    schedule = behind()
    assert schedule.finish(1) == []
    schedule.put_back(0)
    assert (schedule.take(), schedule.followers(0)) == (0, [])
    assert schedule.finish(0) == []
    assert (schedule.take(), schedule.running) == (None, 0)


def test_what_has_ended_is_not_lost_with_what_it_ran_behind() -> None:
    """Which fails for good when it is to make its output once more."""
    schedule = behind(2)
    schedule.finish(1)
    assert schedule.fail(0) == [2]
    assert schedule.running == 0


def test_a_task_that_was_lost_while_it_paused_is_not_put_back() -> None:
    """It counts as running no more."""
    schedule = behind()
    assert schedule.fail(0) == [1]
    schedule.put_back(1)
    assert (schedule.take(), schedule.running) == (None, 0)


def test_adding_is_linear() -> None:
    """A hundred thousand tasks, one below the other."""
    schedule = Schedule([()])
    for task in range(100_000):
        assert schedule.take() == task
        schedule.add(task, [()], [0])
    assert schedule.take() == 100_000
    for task in range(100_000, 0, -1):
        schedule.finish(task)
        assert schedule.take() == task - 1


# --- tasks that run always ------------------------------------------------------------------------


def nothing(task: int) -> bool:
    return False


def test_what_runs_always_waits_for_the_end_of_all_before_it() -> None:
    """Where these succeed it is a task like any other."""
    schedule = Schedule([(), (0,)], always={1: ()})
    assert (schedule.take(), schedule.take()) == (0, None)
    assert (schedule.finish(0), schedule.take()) == ([1], 1)


def test_a_failure_goes_past_what_runs_always() -> None:
    """What waits for such a task is lost with what came before it, however far."""
    schedule = Schedule([(), (0,), (1,), (2,)], always={1: ()})
    schedule.take()
    assert schedule.fail(0) == [2, 3]
    assert schedule.wind_up(nothing) == ([1], [])
    assert (schedule.take(), schedule.finish(1), schedule.take()) == (1, [], None)


def test_what_an_always_task_needs_has_to_succeed() -> None:
    """It never runs where that has failed, or was never begun."""
    failed = Schedule([(), (0,)], always={1: (0,)})
    failed.take()
    assert failed.fail(0) == [1]
    begun = Schedule([(), (), (0, 1)], always={2: (1,)})
    begun.take()
    begun.hold()
    begun.finish(0)
    assert begun.wind_up(nothing) == ([], [2])
    assert not begun.has_always


def test_always_tasks_follow_on_each_other() -> None:
    """Also where the first of them fails."""
    schedule = Schedule([(), (0,), (1,)], always={1: (), 2: ()})
    schedule.take()
    schedule.fail(0)
    assert schedule.wind_up(nothing) == ([1], [])
    assert (schedule.take(), schedule.fail(1), schedule.take()) == (1, [], None)
    assert schedule.wind_up(nothing) == ([2], [])
    assert (schedule.take(), schedule.finish(2), schedule.wind_up(nothing)) == (2, [], ([], []))


def test_once_held_nothing_else_begins() -> None:
    """What an always task becomes does."""
    schedule = Schedule([(), (), (0,)], always={2: ()})
    assert schedule.take() == 0
    schedule.hold()
    assert schedule.take() is None
    assert (schedule.finish(0), schedule.take()) == ([2], 2)
    assert (schedule.add(2, [()], [0]), schedule.take(), schedule.finish(3), schedule.take()) == ([3], 3, [], 2)


def test_what_runs_always_is_counted_while_it_runs() -> None:
    """Another one that is found meanwhile does not end it; one that comes after it waits."""
    schedule = Schedule([(), (0,), (0,), (1,)], always={1: (), 2: (), 3: ()})
    schedule.take()
    schedule.hold()
    schedule.fail(0)
    assert schedule.wind_up(nothing) == ([1, 2], [])
    assert (schedule.take(), schedule.take(), schedule.is_held_up) == (1, 2, True)
    assert (schedule.finish(2), schedule.has_always, schedule.wind_up(nothing)) == ([], True, ([], []))
    assert (schedule.finish(1), schedule.take()) == ([3], 3)
