"""What the lowering chooses: components, bindings, order, executors, how the code travels."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from kfp_graphs import ADD, CODE, TOTAL, call, chain, compiled, graph, listed, node, parameter, with_options

from grandpa_kfp_compiler.graph import (
    Call,
    Code,
    Constant,
    Filled,
    Graph,
    Instance,
    ParameterValue,
    PythonNode,
    TaskOutput,
)
from grandpa_kfp_compiler.kfp import CompileOptions, compile_graph
from grandpa_kfp_compiler.kfp.bootstrap import BOOTSTRAP_COMMAND
from grandpa_kfp_compiler.kfp.pipeline import Executor, FromConstant, FromParameter, FromTask, Leaf, Pipeline, Task
from grandpa_kfp_runtime.contract import CodeCall, TaskCall
from grandpa_kfp_runtime.errors import CompileError, GraphError, PayloadError
from grandpa_kfp_runtime.launch.task_code import put_code, read_code
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.handles import from_handle, to_handle

ONE = node("one")


def lowered(of: Graph, **options: Any) -> Pipeline:
    return compiled(of, **options).pipeline


def root_task(of: Graph, key: str, **options: Any) -> Task:
    return next(task for task in lowered(of, **options).root.tasks if task.key == key)


def executor(of: Graph, key: str = "comp-add", **options: Any) -> Executor:
    return next(leaf for leaf in lowered(of, **options).leaves() if leaf.key == key).executor


def noise(size: int) -> Code:
    """Code that does not compress."""
    return replace(CODE, zip=b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(size // 32)))


# --- inputs --------------------------------------------------------------------------------------


def test_an_input_is_bound_to_a_constant_a_task_or_a_parameter() -> None:
    of = graph(call("one", ONE), call("add", node("add", "a", "b", "c"), 5, TaskOutput("one"), ParameterValue("p")),
               parameters=[parameter("p", "int", 1)])  # fmt: skip
    assert root_task(of, "add").inputs == (
        ("a", FromConstant(5)), ("b", FromTask("one", "result")), ("c", FromParameter("p")),
    )  # fmt: skip
    (leaf,) = (leaf for leaf in lowered(of).leaves() if leaf.key == "comp-add")
    assert leaf.inputs == (("a", "NUMBER_INTEGER"), ("b", "STRING"), ("c", "NUMBER_INTEGER"))


def test_refs_inside_a_structure_are_inputs_of_their_own() -> None:
    """A constant skeleton, one input a Ref."""
    inner = Filled(Constant({"x": None, "y": 2}), (((0,), TaskOutput("one")),))
    of = graph(call("one", ONE), call("total", TOTAL, inner))
    assert root_task(of, "total").inputs == (
        ("values", FromConstant('{"x":null,"y":2}')), ("values--0", FromTask("one", "result")),
    )  # fmt: skip


def test_an_instances_arguments_are_inputs_of_the_task_that_constructs_it() -> None:
    cls = PythonNode("calc:Scale", "Scale", is_class=True, fingerprint="5" * 64)
    instance = Instance("Scale", cls, (), (("factor", TaskOutput("one")),))
    use = Call("use", cls, (Constant(1),), instance="Scale", method="apply")
    of = Graph("calc", (), (instance,), (call("one", ONE), use), (("result", TaskOutput("use")),), code=CODE)
    assert ("init-factor", FromTask("one", "result")) in root_task(of, "use").inputs
    interface = TaskCall.from_argv(executor(of, "comp-scale").args)[0].interface
    assert (interface.receiver, interface.method) == ("#0", "apply")


def test_order_without_data_is_kept() -> None:
    of = graph(call("one", ONE), call("two", ONE), call("add", ADD, TaskOutput("two"), 1, after=("one",)))
    assert root_task(of, "add").after == ("one", "two")


def test_groups_pass_handles_and_parameters_on() -> None:
    """In 250 tasks the last reads the first, and a parameter, through two groups."""
    tasks = [call(f"one-{index}", ONE) for index in range(250)]
    last = call("add", ADD, TaskOutput("one-0"), ParameterValue("p"))
    pipeline = lowered(graph(*tasks, last, parameters=[parameter("p", "int", 1)]))
    assert [task.key for task in pipeline.root.tasks] == ["part-1", "part-2", "part-3"]
    assert pipeline.root.tasks[2].inputs == (("one-0", FromTask("part-1", "one-0")), ("p", FromParameter("p")))
    assert pipeline.root.outputs == (("result", "part-3", "add"),)
    part = next(dag for dag in pipeline.dags() if dag.key == "comp-part-3")
    assert [(item.name, item.type) for item in part.parameters] == [("one-0", "STRING"), ("p", "NUMBER_INTEGER")]
    assert part.tasks[-1].inputs == (("a", FromParameter("one-0")), ("b", FromParameter("p")))
    assert {leaf.key for leaf in pipeline.leaves()} == {"comp-one", "comp-add"}


# --- executors -----------------------------------------------------------------------------------


def test_the_default_image_is_the_released_runtime_of_the_codes_python() -> None:
    assert executor(chain(2)).image.endswith("/runtime:0.1.0-py3.12")
    assert executor(chain(2), python="3.13").image.endswith("/runtime:0.1.0-py3.13")


def test_a_nodes_own_image_wins_over_the_options() -> None:
    own = with_options(call("add", ADD, 1, 2), image="mine:1")
    assert executor(graph(own), image="all:1").image == "mine:1"
    assert executor(graph(call("add", ADD, 1, 2)), image="all:1").image == "all:1"


def test_env_holds_the_users_own_and_what_the_runtime_reads() -> None:
    task = with_options(
        call("add", ADD, 1, 2), env=(("MODE", "fast"), ("TMPDIR", "/data")), verbose=True, timeout_s=1.5
    )
    found = executor(graph(task))
    env = dict(found.env)
    env.pop("GRANDPA_CODE")
    assert env == {
        "MODE": "fast", "TMPDIR": "/data", "GRANDPA_VERBOSE": "1", "GRANDPA_TIMEOUT_S": "1.5", "GRANDPA_PYTHON": "3.12",
        "GRANDPA_CODE_SHA256": CODE.sha256,
    }  # fmt: skip
    assert [name for name, _ in found.env] == sorted(name for name, _ in found.env)
    assert "emptyDirMounts" not in found.kubernetes  # the user's own place for temporary files


@pytest.mark.parametrize(
    "options",
    [{"image": "mine:1"}, {"env": (("A", "1"),)}, {"secrets": (("A", "s/k"),)}, {"cpu": "1"}, {"memory": "1Gi"},
     {"gpu": 1}, {"timeout_s": 5}, {"packages": ("numpy",)}, {"index_url": "https://index"}, {"verbose": True}],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_an_option_of_the_container_makes_a_component_of_its_own(options: dict[str, Any]) -> None:
    tasks = [call("one", ADD, 1, 2), with_options(call("two", ADD, 3, 4), **options)]
    assert [leaf.key for leaf in lowered(graph(*tasks)).leaves()] == ["comp-add", "comp-add-2"]


def test_the_inline_limit_follows_the_widest_consumer() -> None:
    loads = [call(f"one-{index}", ONE) for index in range(60)]
    of = graph(*loads, call("total", TOTAL, listed(*(TaskOutput(item.id) for item in loads))))
    assert dict(executor(of, "comp-one").env)["GRANDPA_INLINE_BYTES"] == "512"
    assert "GRANDPA_INLINE_BYTES" not in dict(executor(of, "comp-total").env)


def test_packages_and_their_index_are_carried_to_the_task() -> None:
    task = with_options(call("add", ADD, 1, 2), packages=("scipy", "numpy==1.26"), index_url="https://index/${TEAM}")
    assert compiled(graph(task)).notes == ()
    env = dict(executor(graph(task)).env)
    assert env["GRANDPA_PACKAGES"] == '["numpy==1.26","scipy"]'
    assert env["GRANDPA_INDEX_URL"] == "https://index/${TEAM}"
    assert "GRANDPA_RUNTIME" not in env


def test_more_requirements_than_a_container_holds_are_refused() -> None:
    many = tuple(f"package-{index}==1.0 --hash=sha256:{'0' * 64}" for index in range(400))
    with pytest.raises(CompileError, match=r"add \(calc.py:9\): its 400 requirements take .*grandpa image build"):
        executor(graph(with_options(call("add", ADD, 1, 2), packages=many)))


def test_nothing_of_a_requirement_is_replaced_by_the_cluster() -> None:
    """Kubernetes reads `$(`, Argo `{{`; the text arrives whole."""
    asked = "tiny @ https://${TOKEN}@host/tiny-1.0.whl?a={{b}}"
    text = dict(executor(graph(with_options(call("add", ADD, 1, 2), packages=(asked,)))).env)["GRANDPA_PACKAGES"]
    assert json.loads(text) == [asked]
    assert not {"$", "{", "}"} & set(text)


def test_bootstrap_installs_the_pinned_runtime_which_installs_the_packages() -> None:
    task = with_options(call("add", ADD, 1, 2), packages=("numpy==1.26",))
    found = executor(graph(task), bootstrap=True, image="python:3.12-slim")
    assert found.command == BOOTSTRAP_COMMAND
    assert found.args == executor(graph(task)).args
    assert dict(found.env)["GRANDPA_RUNTIME"] == "grandpa-kfp==0.1.0"
    assert json.loads(dict(found.env)["GRANDPA_PACKAGES"]) == ["numpy==1.26"]
    assert not any(mark in word for word in BOOTSTRAP_COMMAND for mark in ("{{", "}}", "$(", "$$"))
    compile(BOOTSTRAP_COMMAND[-1], "bootstrap", "exec")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"secrets": (("TOKEN", "hub"),)}, "'secret/key'"),
        ({"image": "no image"}, "image"),
        ({"env": (("A=B", "1"),)}, "no name of an environment variable"),
    ],
)
def test_options_that_kubernetes_refuses_name_the_task(options: dict[str, Any], message: str) -> None:
    with pytest.raises((CompileError, GraphError), match=rf"add.*calc.py:9.*{message}"):
        compiled(graph(with_options(call("add", ADD, 1, 2), **options)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"code": "zip"}, "code is one of auto, inline, task, store, not 'zip'"),
        ({"epoch": -1}, "epoch is a whole number"),
        ({"bootstrap": True}, "bootstrap installs into an image of yours"),
        ({"secret": "Not A Secret"}, "secret"),
        ({"image": "a b"}, "image 'a b'"),
        ({"pull_policy": "Sometimes"}, "pull_policy is Always, IfNotPresent or Never"),
        ({"colour": "red"}, "compile has no option 'colour'; it takes code, image"),
    ],
)
def test_wrong_options_say_what_is_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        CompileOptions.of(options)
    assert message in str(caught.value)


# --- faults --------------------------------------------------------------------------------------


def test_all_faults_of_a_graph_come_at_once() -> None:
    with pytest.raises(GraphError) as caught:
        compiled(graph(call("one", ONE, after=("tow",)), call("add", ADD, 1)))
    assert len(caught.value.faults) == 2


def test_a_graph_without_code_is_refused() -> None:
    with pytest.raises(CompileError, match="pack it first"):
        compile_graph(graph(call("one", ONE), code=None))


# --- code ----------------------------------------------------------------------------------------


def code_tasks(pipeline: Pipeline) -> list[tuple[Task, Executor]]:
    by_key: dict[str, Leaf] = {leaf.key: leaf for leaf in pipeline.leaves()}
    return [
        (task, by_key[task.component].executor)
        for task in pipeline.root.tasks
        if task.component.startswith("comp-code")
    ]


def test_code_by_a_task_goes_first_by_order_alone() -> None:
    found = compiled(chain(3), code="task")
    ((task, container),) = code_tasks(found.pipeline)
    assert (task.cache, task.inputs, task.retries) == (False, (), 2)
    first, *rest = [item for item in found.pipeline.root.tasks if item is not task]
    assert first.after == ("code",)
    assert all("code" not in item.after and item.after for item in rest)
    call_, placeholder = CodeCall.from_argv(container.args)
    assert call_ == CodeCall(CODE.sha256, 1, 1, CompileOptions().store)
    assert placeholder == "{{$}}"


@pytest.mark.parametrize("size", [1_000, 100_000, 250_000])
def test_the_parts_that_code_tasks_write_are_those_that_the_others_read(size: int) -> None:
    """The keys are computed here; writing the parts gives these very keys, joined they are the code."""
    found = compiled(graph(call("add", ADD, 1, 2), code=noise(size)), code="task")
    store = MemoryStore()
    written = []
    for number, (task, container) in enumerate(code_tasks(found.pipeline), 1):
        assert task.key == ("code" if number == 1 else f"code-{number}")
        part, _ = CodeCall.from_argv(container.args)
        assert part.part == number
        written.append(put_code(part, dict(container.env), store))
    assert len(written) == -(-size // 73_728)
    env = dict(executor(graph(call("add", ADD, 1, 2), code=noise(size)), code="task").env)
    assert env["GRANDPA_CODE"].split(",") == written
    assert read_code(env["GRANDPA_CODE"], store) == noise(size).zip


def test_code_in_the_store_is_one_object_that_is_named_for_upload() -> None:
    found = compiled(chain(3), code="store")
    (item,) = found.upload
    store = MemoryStore()
    assert store.write(item.buffers) == item.key
    assert dict(executor(chain(3), code="store").env)["GRANDPA_CODE"] == f"@{item.key}"
    assert to_handle(from_handle(f"@{item.key}", store), store, inline_limit=0) == f"@{item.key}"
    assert code_tasks(found.pipeline) == []


def test_auto_takes_inline_while_it_fits() -> None:
    assert compiled(chain(5)).code == "inline"
    assert compiled(graph(call("add", ADD, 1, 2), code=noise(60_000))).code == "inline"
    assert compiled(graph(call("add", ADD, 1, 2), code=noise(90_000))).code == "task"


def test_auto_leaves_small_code_inline_beside_many_tasks() -> None:
    """The tasks alone are over the budget; a code task would not help."""
    assert compiled(chain(350)).code == "inline"


def test_code_that_does_not_fit_as_asked_says_what_does() -> None:
    with pytest.raises(CompileError, match=r"--code task or --code store"):
        compiled(graph(call("add", ADD, 1, 2), code=noise(90_000)), code="inline")
    with pytest.raises(CompileError, match=r"--code store"):
        compiled(graph(call("add", ADD, 1, 2), code=noise(400_000)), code="task")
    assert compiled(graph(call("add", ADD, 1, 2), code=noise(400_000)), code="store").code == "store"


def test_the_code_tasks_args_read_back() -> None:
    before = CodeCall("ab" * 32, 2, 3, "s3://bucket")
    assert CodeCall.from_argv(before.argv()) == (before, "{{$}}")
    with pytest.raises(PayloadError):
        CodeCall.from_argv(["code", "--contract", "1"])
    with pytest.raises(PayloadError, match="contract 1"):
        CodeCall.from_argv(replace(before, contract=2).argv())
