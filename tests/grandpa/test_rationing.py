"""The pure rule of who may start: never more than there is, nobody waits for ever, no deadlock."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp.engine.rationing import RationedSchedule
from grandpa_kfp.engine.resources import Budget, Limits, Request

THERE_IS = {"cpu": 4, "memory": 8, "licence": 2}
ASKED = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(1, 10)),
    st.fixed_dictionaries({"licence": st.integers(1, 2)}, optional={"cpu": st.integers(1, 6)}),
)


def limits() -> Limits:
    return Limits({"cpu": "4m", "memory": 8, "licence": 2})  # cpu counts in thousandths of a core


class Driven:
    """A schedule whose tasks a test runs, with what runs now and what it asked for."""

    def __init__(self, waits_for: list[tuple[int, ...]], asked: list[dict[str, int]]) -> None:
        self.limits = limits()
        self.asked = list(asked)
        self.requests: list[Request | None] = [self.limits.request(dict(sorted(item.items())), "t") for item in asked]
        self.budget = Budget(self.limits)
        self.schedule = RationedSchedule(waits_for, None, self.requests, self.budget)
        self.running: list[int] = []
        self.grown: set[int] = set()

    def start_all(self) -> None:
        while (task := self.schedule.take()) is not None:
            self.running.append(task)
            self.check()

    def check(self) -> None:
        """No more of anything than there is, and nothing beside a task that asks for more."""
        sums: Counter[str] = Counter()
        for task in self.running:
            if task not in self.grown:
                sums.update(self.asked[task])
        larger = [task for task in self.running if any(n > THERE_IS[name] for name, n in self.asked[task].items())]
        if any(task not in self.grown for task in larger):
            assert len(self.running) == 1
        else:
            assert all(count <= THERE_IS[name] for name, count in sums.items())


@given(st.data())
def test_every_task_ends_and_none_gets_more_than_there_is(data: st.DataObject) -> None:
    """Random graphs whose tasks succeed, fail, come back for another attempt, grow, in any order."""
    count = data.draw(st.integers(1, 14))
    waits_for = [
        tuple(sorted(data.draw(st.sets(st.integers(0, task - 1), max_size=2)))) if task else () for task in range(count)
    ]
    driven = Driven(waits_for, [data.draw(ASKED) for _ in range(count)])
    schedule, ended, pauses = driven.schedule, set[int](), 5
    paused: list[int] = []
    while True:
        driven.start_all()
        if not driven.running and paused:
            schedule.put_back(paused.pop())
            continue
        if not driven.running:
            break
        task = driven.running.pop(data.draw(st.integers(0, len(driven.running) - 1)))
        how = data.draw(st.sampled_from(["finish", "finish", "fail", "pause", "grow"]))
        if how == "pause" and pauses and task not in driven.grown:
            pauses -= 1
            schedule.rest(task)
            paused.append(task)
        elif how == "grow" and task not in driven.grown and schedule.count < 40:
            new = [data.draw(ASKED) for _ in range(data.draw(st.integers(1, 3)))]
            driven.asked += new
            driven.requests += [driven.limits.request(dict(sorted(item.items())), "t") for item in new]
            driven.grown.add(task)
            schedule.add(task, [()] * len(new), list(range(len(new))))
        elif how == "fail":
            ended.update([task, *schedule.fail(task)])
        else:
            schedule.finish(task)
            ended.add(task)
    assert ended == set(range(schedule.count))
    assert not schedule.running
    assert not schedule.has_ready
    assert all(driven.budget.fits(request) for request in driven.requests if request is not None)


def test_the_most_urgent_task_that_does_not_fit_reserves() -> None:
    """The big one is next when its cores are free, though small ones would have fitted all the time."""
    driven = Driven([()] * 5, [{"cpu": 1}, {"cpu": 4}, {"cpu": 1}, {"cpu": 1}, {"memory": 1}])
    schedule = driven.schedule
    assert [schedule.take() for _ in range(3)] == [0, 4, None]
    schedule.finish(0)
    assert [schedule.take() for _ in range(2)] == [1, None]
    schedule.finish(1)
    assert [schedule.take() for _ in range(3)] == [2, 3, None]


def test_what_the_reserving_task_does_not_need_is_used() -> None:
    """Three of four cores are meant for the second task; the fourth serves a smaller one meanwhile."""
    driven = Driven([()] * 4, [{"cpu": 1, "licence": 2}, {"cpu": 3, "licence": 1}, {"cpu": 1}, {"licence": 1}])
    schedule = driven.schedule
    driven.budget.take(99, Request((("cpu", 1),)))
    assert [schedule.take(), schedule.take()] == [0, None]
    driven.budget.give_back(99)
    assert [schedule.take(), schedule.take()] == [None, None]
    schedule.finish(0)
    assert [schedule.take() for _ in range(4)] == [1, 2, 3, None]


def test_tasks_that_ask_for_nothing_pass() -> None:
    driven = Driven([()] * 3, [{"cpu": 4}, {"cpu": 4}, {}])
    assert [driven.schedule.take() for _ in range(3)] == [0, 2, None]


def test_the_more_urgent_of_those_aside_goes_first() -> None:
    """Tasks that wait for resources keep the order of their remaining paths."""
    driven = Driven([(), (), (), (2,)], [{"cpu": 4}, {"cpu": 4}, {"cpu": 4}, {}])
    assert driven.schedule.take() == 2
    driven.schedule.finish(2)
    assert [driven.schedule.take(), driven.schedule.take()] == [0, 3]


def test_a_larger_task_waits_for_all_and_holds_up_all() -> None:
    driven = Driven([()] * 3, [{}, {"cpu": 9}, {}])
    schedule = driven.schedule
    assert [schedule.take(), schedule.take()] == [0, None]
    assert not schedule.has_ready
    schedule.finish(0)
    assert [schedule.take(), schedule.take()] == [1, None]
    schedule.finish(1)
    assert schedule.take() == 2


def test_a_stopped_schedule_gives_nothing_more() -> None:
    driven = Driven([()] * 2, [{"cpu": 4}, {"cpu": 4}])
    assert [driven.schedule.take(), driven.schedule.take()] == [0, None]
    driven.schedule.stop()
    driven.schedule.finish(0)
    assert driven.schedule.take() is None
    assert not driven.schedule.has_ready


@pytest.mark.parametrize("devices", ["0,1,2", "GPU-a,GPU-b,GPU-c"])
def test_devices_come_back_and_go_out_again(devices: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    all_of_them = devices.split(",")
    there = Limits()
    one, two = there.request({"gpu": 1}, "a"), there.request({"gpu": 2}, "b")
    assert one is not None
    assert two is not None
    budget = Budget(there)
    budget.take(0, one)
    budget.take(1, two)
    assert [*budget.devices(0), *budget.devices(1)] == all_of_them
    assert not budget.fits(one)
    budget.give_back(0)
    budget.take(2, one)
    assert list(budget.devices(2)) == all_of_them[:1]
    assert budget.env(1) == (("CUDA_VISIBLE_DEVICES", ",".join(all_of_them[1:])),)
