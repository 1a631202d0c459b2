"""Mistakes in a workflow's file: each is one message with the user's file and line, before anything runs."""

from __future__ import annotations

import pytest
from command_line import MARK, Project, says

VERBS = ("run", "compile", "check")

NODES = """
import contextlib
import os
import pickle
import threading

@Node
def sub(a: int, b: int) -> int:
    return a - b

@Node
def word() -> str:
    return "x"

@Node
def take(x):
    return x

@Node(outputs=("mean", "std"))
def both():
    return 1, 2

@Node
class Scale:
    def __init__(self, factor: float):
        self.factor = factor
    def __call__(self, x: float) -> float:
        return self.factor * x
"""


def refused_everywhere(project: Project, source: str, *parts: str, verbs: tuple[str, ...] = VERBS) -> None:
    """Each verb says the same, with the marked line, ends with 1, and leaves the folder as it was."""
    project.flow(source)
    parts = (project.line(), *parts) if MARK in source else parts
    before = project.files()
    for verb in verbs:
        says(project.grandpa(verb, "flow.py"), 1, *parts)
        assert project.files() == before, verb


ARGUMENTS = {
    "missing": ("sub(a)", "argument b is missing", "takes (a, b)"),
    "surplus": ("sub(a, 1, 2)", "3 arguments", "takes (a, b)"),
    "unknown": ("sub(a, bb=2)", "argument bb is not known", "did you mean 'b'"),
    "twice": ("sub(a, 2, a=2)", "argument a is given twice", "takes (a, b)"),
    "of the wrong type": ("sub(word(), 2)", "argument a is int", "gives str"),
    "missing in init": ("Scale()(a)", "argument factor is missing", "Scale.__init__ takes (factor)"),
    "surplus in init": ("Scale(1, 2)(a)", "Scale", "takes (factor)"),
    "missing in an instance's call": ("Scale(2)()", "argument x is missing"),
    "an unknown output": ("take(both()['median'])", "mean, std", "'median'"),
    "options that are none": ("take.options(retry=2)(a)", "retry", "retries"),
    "a wrong option": ("take.options(timeout_s=-1)(a)", "timeout_s", "above 0"),
}


@pytest.mark.parametrize(("call", "parts"), [(call, parts) for call, *parts in ARGUMENTS.values()], ids=ARGUMENTS)
def test_a_wrong_argument(project: Project, call: str, parts: list[str]) -> None:
    """It names the node, the argument, what the node takes."""
    refused_everywhere(project, f"{NODES}\n@Workflow\ndef flow(a: int = 1):\n    return {call}  {MARK}\n", *parts)


AS_A_VALUE = {
    "truth in if": "1 if r else 2",
    "truth in and": "r and 1",
    "truth in not": "not r",
    "truth of a comparison": "1 if r > 3 else 2",
    "a chained comparison": "0 < r < 3",
    "length": "len(r)",
    "iteration": "[x for x in r]",
    "unpacking": "[*r]",
    "unpacking into names": "(lambda a, b: a)(*r)",
    "list()": "list(r)",
    "sum()": "sum(r)",
    "sorted()": "sorted(r)",
    "containment": "3 in r",
    "addition": "r + 1",
    "reflected addition": "1 + r",
    "subtraction": "r - 1",
    "multiplication": "2 * r",
    "division": "r / 2",
    "floor division": "r // 2",
    "modulo": "r % 2",
    "power": "r ** 2",
    "matrix product": "r @ r",
    "bits": "r | 1",
    "shift": "1 << r",
    "negation": "-r",
    "abs()": "abs(r)",
    "round()": "round(r)",
    "divmod()": "divmod(r, 2)",
    "int()": "int(r)",
    "float()": "float(r)",
    "complex()": "complex(r)",
    "str()": "str(r)",
    "bytes()": "bytes(r)",
    "an f-string": 'f"{r}"',
    "an f-string with a format": 'f"{r:.2f}"',
    "the % operator on a text": '"%s" % r',
    "str.format": '"{}".format(r)',
    "str.join of it": '",".join(r)',
    "range()": "range(r)",
    "an index": "[1, 2][r]",
    "a path": "os.fspath(r)",
    "a part of a path": 'os.path.join("a", r)',
    "open()": "open(r)",
    "pickling": "pickle.dumps(r)",
    "a with statement": "contextlib.ExitStack().enter_context(r)",
    "an attribute": "r.shape",
    "a method": "r.upper()",
    "being called with arguments": "r(1)",
    "setting an item": "r.__setitem__(0, 1)",
    "setting an attribute": "setattr(r, 'x', 1)",
    "a key of a dict": "take({r: 1})",
}


INSTEAD = {
    "pickle.dumps(r)": ["pass it to the node as an argument"],
    "contextlib.ExitStack().enter_context(r)": ["inside one node"],
    "r(1)": ["pass them to the node"],
    "r.__setitem__(0, 1)": ["return the changed value from a node"],
    "setattr(r, 'x', 1)": ["return the changed value from a node"],
}
"""What is told to write instead, where it is not to do it inside a node."""


@pytest.mark.parametrize("expression", AS_A_VALUE.values(), ids=AS_A_VALUE)
def test_a_ref_used_as_a_value(project: Project, expression: str) -> None:
    """It says what was tried on which call, and what to write instead."""
    source = f"""{NODES}
@Workflow
def flow(a: int = 1):
    r = take(a)
    x = {expression}  {MARK}
    return take(x)
"""
    refused_everywhere(project, source, "take (flow.py", *INSTEAD.get(expression, ["inside a node"]))


def test_an_array_does_not_take_a_ref_in(project: Project) -> None:
    """NumPy asks objects for their values in its own ways."""
    pytest.importorskip("numpy")
    for expression in ("numpy.array([1.0]) + r", "numpy.asarray(r)", "numpy.sqrt(r)", "r * numpy.ones(2)"):
        body = f"    r = take(a)\n    return {expression}  {MARK}\n"
        source = f"import numpy\n{NODES}\n@Workflow\ndef flow(a: int = 1):\n{body}"
        refused_everywhere(project, source, "Ref" if "sqrt" in expression else "take (flow.py", verbs=("run",))


CLASSES = {
    "as an argument": ("take(Scale)", "node class Scale", "initialised", "Scale(...)"),
    "inside a structure": ("take([{'k': Scale}])", "node class Scale", "initialised", "Scale(...)"),
    "its method called on the class": ("take(Scale.__call__(2))", "Scale"),
    "an attribute of an instance": ("take(Scale(2.0).factor)", "'factor'", "constructed only when a task runs"),
}


@pytest.mark.parametrize(("call", "parts"), [(call, parts) for call, *parts in CLASSES.values()], ids=CLASSES)
def test_a_node_class_that_is_not_initialised(project: Project, call: str, parts: list[str]) -> None:
    """It says how to pass an instance."""
    refused_everywhere(project, f"{NODES}\n@Workflow\ndef flow(a: int = 1):\n    return {call}  {MARK}\n", *parts)


def test_what_a_workflow_may_not_return(project: Project) -> None:
    """A class, Refs in a set or as keys: the workflow's line, since the body has ended."""
    for result, part in (
        ("(take(1), Scale)", "node class Scale"),
        ("{take(1)}", "a set that holds Refs"),
        ("{take(1): 2}", "is a key of a dict"),
    ):
        refused_everywhere(project, f"{NODES}\n@Workflow  {MARK}\ndef flow():\n    return {result}\n", part)


def test_refs_in_a_set(project: Project) -> None:
    """A set is no structure that Refs may sit in."""
    source = f"{NODES}\n@Workflow\ndef flow():\n    return take([{{take(1)}}])  {MARK}\n"
    refused_everywhere(project, source, "a set that holds Refs", "pass a list")


def test_a_name_given_twice(project: Project) -> None:
    """Two tasks, with both places; two outputs of one node."""
    refused_everywhere(
        project,
        f"""{NODES}
@Workflow
def flow(a: int = 1):
    x = take.options(name="x")(a)  # first
    return take.options(name="x")(x)  {MARK}
""",
        "x (",
        "taken by the call at flow.py",
        "options(name=...)",
    )
    refused_everywhere(
        project,
        f"""
@Node(outputs=("a", "a"))  {MARK}
def twice():
    return 1, 2
@Workflow
def flow():
    return twice()
""",
        "outputs",
        "twice",
    )


def test_equal_names_of_different_nodes(project: Project) -> None:
    """No mistake: names are counted, and the nodes stay apart, on every engine."""
    project.flow("""
@Node("same")
def one(x):
    return x + 1
@Node("same")
def ten(x):
    return x * 10
@Component
def part(x):
    return one(ten(x))
@Workflow
def flow(x: int = 2):
    return [one(x), ten(x), part(x), part(one(x))]
""")
    project.grandpa("compile", "flow.py")
    assert [project.grandpa("run", file).value for file in ("flow.py", "flow.yaml")] == [[3, 20, 21, 31]] * 2


def test_an_after_that_names_no_task(project: Project) -> None:
    """`after` takes what nodes returned, and of this workflow."""
    for after in ("['y']", "[early]", "y"):
        source = f"""{NODES}
early = take(1)
@Workflow
def flow(a: int = 1):
    return take.options(after={after})(a)  {MARK}
"""
        refused_everywhere(project, source, "after" if after != "y" else "NameError")


@pytest.mark.parametrize("body", ["pass", "return a", "return Scale(2.0)", "return [a, {'k': 1}]"])
def test_an_empty_workflow(project: Project, body: str) -> None:
    """There is nothing to run."""
    source = f"{NODES}\n@Workflow  {MARK}\ndef flow(a: int = 1):\n    {body}\n"
    refused_everywhere(project, source, "calls no node", "@Node")


def test_the_bodys_own_error(project: Project) -> None:
    """The user's lines, innermost first, and nothing of ours."""
    source = f"""{NODES}
def helper(x):
    raise KeyError("colour")  {MARK}
@Workflow
def flow(a: int = 1):
    return take(helper(a))
"""
    refused_everywhere(project, source, "KeyError: 'colour'", "return take(helper(a))")
    refused_everywhere(
        project, f"@Workflow\ndef flow():\n    return subb(1)  {MARK}\n", "NameError: name 'subb' is not defined"
    )


UNPICKLABLE = {
    "a lock": ('{"ok": [1, threading.Lock()]}', '["ok"][1]', "_thread.lock"),
    "an open file": ("[open(__file__)]", "[0]", "open file"),
    "a generator": ("(i for i in range(3))", "generator", "list("),
    "a lock in an object": ("Model()", '.layers[1]["l"]', "_thread.lock"),
}


@pytest.mark.parametrize(
    ("value", "parts"), [(value, parts) for value, *parts in UNPICKLABLE.values()], ids=UNPICKLABLE
)
def test_a_result_that_cannot_be_stored(project: Project, value: str, parts: list[str]) -> None:
    """On threads and from the YAML: which task, where in the value, what to return instead; exit code 3."""
    project.flow(f"""{NODES}
class Model:
    def __init__(self):
        self.layers = [1, {{"l": threading.Lock()}}]
@Node
def broken():  # node
    return {value}
@Workflow
def flow():
    return take(broken())  # call
""")
    project.grandpa("compile", "flow.py")
    says(project.process("run", "flow.py"), 3, f"broken ({project.line(mark='# call')}) failed", *parts)
    says(project.process("run", "flow.yaml"), 3, f"broken ({node_line(project)}) failed", *parts)


def node_line(project: Project) -> str:
    """A container knows the node's own line: that of its decorator."""
    name, _, line = project.line(mark="# node").partition(":")
    return f"{name}:{int(line) - 1}"


@pytest.mark.parametrize("value", ['{"ok": [1, threading.Lock()]}', "threading.Lock()"])
def test_a_constant_that_cannot_be_stored(project: Project, value: str) -> None:
    """The call's line and the argument, by every verb; nothing is written."""
    source = f"{NODES}\n@Workflow\ndef flow():\n    return take({value})  {MARK}\n"
    refused_everywhere(project, source, "take (", "x", "_thread.lock", verbs=("compile", "check"))
    says(project.grandpa("graph", "flow.py", "-o", "graph.json"), 1, project.line(), "_thread.lock")
    assert not (project.folder / "graph.json").exists()
    says(project.grandpa("run", "flow.py"), 3, project.line(), "_thread.lock")


def test_a_constant_that_is_too_large(project: Project) -> None:
    """Compiling names the call, the size and the ways out; running here takes it."""
    project.flow(f"{NODES}\n@Workflow\ndef flow():\n    return take(b'x' * 200_000)  {MARK}\n")
    says(project.grandpa("compile", "flow.py"), 1, project.line(), "argument x", "200,000 bytes", "File(path)")
    assert not (project.folder / "flow.yaml").exists()
    assert len(project.grandpa("run", "flow.py").value) == 200_000


def test_a_ref_in_a_global(project: Project) -> None:
    """A node would read it behind the graph's back."""
    source = f"""{NODES}
r = sub(1, 2)
@Node
def bad(x):
    return r
@Workflow
def flow():
    return bad(1)
"""
    refused_everywhere(project, source, "bad (flow.py", "the Ref r", "as an argument")


def test_several_faults_are_told_at_once(project: Project) -> None:
    """What a check of the whole graph finds is all in one answer."""
    project.flow(f"{NODES}\n@Workflow\ndef flow():\n    return [sub(word(), 1), sub(1, word()), Scale(word())(1)]\n")
    ended = project.grandpa("compile", "flow.py")
    assert (ended.code, len(ended.errors)) == (1, 3), ended.err
