"""The graph that both compilers are measured on: a chain of tasks with fan-in, in each one's own words.

Task i takes the results of task i-1 and of task i-7; every tenth takes a list of the last four.
"""

from typing import Any

from grandpa_kfp import Node, Static, Workflow
from grandpa_kfp_compiler.kfp import CompileOptions
from grandpa_kfp_compiler.kfp.code import add_code, plan_code
from grandpa_kfp_compiler.kfp.emit import emit
from grandpa_kfp_compiler.kfp.executors import Executors, default_image
from grandpa_kfp_compiler.kfp.lower import lower
from grandpa_kfp_compiler.kfp.sizes import check_tasks
from grandpa_kfp_compiler.passes import run_passes
from grandpa_kfp_compiler.verify import verify


@Node
def add(a: int, b: int) -> int:
    return a + b


@Node
def total(values: list[int]) -> int:
    return sum(values)


@Workflow
def chain(start: int = 1, tasks: Static[int] = 1000) -> int:
    done: list[Any] = [start]
    for index in range(tasks):
        if index % 10 == 9:
            done.append(total(done[-4:]))
        else:
            done.append(add(done[-1], done[max(0, len(done) - 7)]))
    return done[-1]


def unfused(packed: Any) -> str:
    """The YAML of a packed graph in which each task is a container, even where Kubeflow could not hold it."""
    assert not verify(packed)
    options = CompileOptions(fuse="none")
    executors = Executors(options, default_image("0", packed.code.python), packed.code.python, "0")
    bare = lower(run_passes(packed, mode="none"), options, executors)
    check_tasks(bare)
    plan = plan_code(packed.code, bare, options)
    return emit(add_code(bare, plan, packed.code, options, executors), "0")


def inc(x: int) -> int:
    """For a lightweight component; the SDK reads annotations that are no strings only."""
    return x + 1


def kfp_chain(tasks: int) -> Any:
    """The same graph as a pipeline of the kfp SDK, of container components."""
    from kfp import dsl

    @dsl.container_component
    def add(a: int, b: int, result: dsl.OutputPath(int)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
        return dsl.ContainerSpec(image="python:3.12", command=["python", "-m", "add"], args=[a, b, result])

    @dsl.container_component
    def total(a: int, b: int, c: int, d: int, result: dsl.OutputPath(int)) -> dsl.ContainerSpec:  # type: ignore[valid-type]
        return dsl.ContainerSpec(image="python:3.12", command=["python", "-m", "total"], args=[a, b, c, d, result])

    @dsl.pipeline(name="chain")
    def chain(start: int = 1) -> None:
        done: list[Any] = [start]
        for index in range(tasks):
            if index % 10 == 9:
                a, b, c, d = done[-4:]
                done.append(total(a=a, b=b, c=c, d=d).outputs["result"])
            else:
                done.append(add(a=done[-1], b=done[max(0, len(done) - 7)]).outputs["result"])

    return chain
