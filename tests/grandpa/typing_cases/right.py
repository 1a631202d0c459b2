"""Right uses, as a type checker sees them: every line must pass mypy strict and pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Annotated

from typing_extensions import assert_type

from grandpa_kfp import (
    Component,
    ContainerNode,
    Executor,
    GeneratorNode,
    Node,
    Static,
    TaskNode,
    Workflow,
    collect,
    each,
    either,
    elsewhen,
    empty_dir,
    is_in,
    otherwise,
    pvc,
    resolve,
    sync,
    task_executor,
    when,
)


@Node
def subtract(a: int, b: int) -> int:
    return a - b


@Node()
def plain(a: int) -> str:
    return str(a)


@Node("named")
def named(a: int) -> str:
    return str(a)


@Node(retries=2, outputs=("mean", "std"))
def stats(values: list[float]) -> tuple[float, float]:
    return 0.0, 1.0


@Node(
    cpu=(0.5, None), shm="1Gi", tolerations=["spot", {"operator": "Exists"}],
    volumes={"/data": pvc("datasets"), "/tmp": empty_dir(), "/old": {"pvc": "old"}},
    kubernetes={"imagePullPolicy": "Never"},
)  # fmt: skip
def placed(a: int) -> int:
    return a


@Node
async def later(a: int) -> float:
    return 1.0


@Node
class Scale:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: float) -> float:
        return x * self.factor


@Node("tuned", retries=1)
class Tuned(Scale):
    def apply(self, x: int) -> str:
        return ""


class Model:
    @Node
    def fit(self, x: int) -> str:
        return ""

    @Node
    @staticmethod
    def static(x: int) -> str:
        return ""

    @staticmethod
    @Node
    def other(x: int) -> str:
        return ""

    @Component
    def group(self, x: int) -> str:
        return self.fit(x)


@GeneratorNode
def counted(n: int) -> Iterator[int]:
    yield from range(n)


@GeneratorNode("ticks", max_queue_size=2)
async def ticks(n: int) -> AsyncIterator[float]:
    yield 1.0


@Node
def total(items: Iterable[int]) -> int:
    return sum(items)


@Node
def drain(items: sync.Queue[str], ages: sync.Dict[str, int], lock: sync.Lock) -> str:
    with lock:
        assert_type(ages["a"], int)
        assert_type(ages.get("b"), int | None)
        return items.get(timeout=1.0)


@TaskNode
def added(a: int, b: str) -> float:
    return a + len(b)


@Workflow
def streams() -> float:
    assert_type(total(counted(5)), int)
    assert_type(counted.options(retries=1)(5), Iterator[int])
    assert_type(ticks(1), Iterator[float])
    assert_type(drain(sync.Queue[str](3), sync.Dict({"a": 1}), sync.Lock()), str)
    assert_type(added([1], ["a"]), list[float])
    assert_type(added.fn(1, "a"), float)
    return added([1], ["a"])[0]


assert_type(sync.List([1])[0], int)
assert_type(sync.Value("a").value, str)
with Executor(threads=2) as executor:
    assert_type(executor.submit(len, "abc").result(), int)
task_executor.get_task_result(task_executor.add_task(len, "abc"), timeout=1.0)


@Component
def remainder(a: int, b: int) -> int:
    return subtract(a, subtract(a, b))


@Component("x")
def twice(a: int) -> int:
    return remainder(a, a)


@Workflow
def pipeline(a: int = 10, b: int = 2, n: Static[int] = 3) -> int:
    x = subtract(a, b)
    assert_type(x, int)
    _, std = stats([1.0])
    assert_type(std, float)
    for _ in range(n):
        x = subtract(x, 1)
    assert_type(Scale(2.0)(3.0), float)
    assert_type(Tuned(1.0).apply(2), str)
    assert_type(later(1), float)
    assert_type(named(1), str)
    assert_type(plain(1), str)
    assert_type(Model().fit(3), str)
    assert_type(Model.static(3), str)
    assert_type(Model.other(3), str)
    assert_type(Model().group(3), str)
    assert_type(subtract.options(name="last", after=[x], retries=3)(7, 2), int)
    assert_type(subtract.fn(7, 2), int)
    assert_type(subtract.map([1], (2,)), list[int])
    assert_type(named.options(retries=1).map(subtract.map([1], [2]), window=8), list[str])
    assert_type(Model().fit.map(range(3)), list[str])
    return remainder(twice(x), 2)


@Workflow(env={"A": "1"}, defaults={"retries": 1})
def other(a: int = 1) -> str:
    return plain(pipeline(a))


assert_type(resolve(pipeline(1)), int)
assert_type(resolve([subtract(1, 2)]), list[int])


@Workflow
def decides(a: int = 1, names: list[str] = ["x"]) -> tuple[int, list[str]]:  # noqa: B006
    with when((subtract(a, 1) > 3) & is_in(named(a), ["x"])):
        first = subtract(a, 2)
    with elsewhen(a == 2):
        second = subtract(a, 3)
    with otherwise():
        third = subtract(a, 4)
    assert_type(either(first, second, third), int)
    with each(names, parallelism=2) as name:
        assert_type(name, str)
        text = plain(a)
    assert_type(collect(text), list[str])
    return either(first, 0), collect(name)


@ContainerNode(image="alpine:3", command=["wc"], args=["{file}", "{lines}", "{text}"], outputs=("lines", "text"), gpu=1)
def counted_in_container(file: Annotated[Path, "Dataset"], word: str = "a") -> tuple[int, Path]:
    raise AssertionError


@Workflow
def in_containers(file: Path) -> int:
    lines, text = counted_in_container.options(retries=2)(file)
    assert_type(counted_in_container(text, word="b"), tuple[int, Path])
    return subtract(lines, 1)
