"""`when`, `elsewhen`, `otherwise`, `either`; `each`, `collect`; `is_in`: branches and loops of a traced body.

Each `with` block becomes a graph of its own (`blocks`), inside an operation that decides when the graph runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set, Sized
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from grandpa_kfp_compiler.control import COMPARISONS, Predicate
from grandpa_kfp_compiler.graph import Constant, ParameterValue, TaskOutput, Value
from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.recording import recorder
from grandpa_kfp_runtime.values.summaries import summary

from .blocks import ITEM, Block, OpenBranch, OpenGroup, OpenLoop, carried
from .calls import Body, JoinedCall, ParameterOrigin, WorkflowCall
from .conditions import Condition
from .refs import Promise, Ref, describe
from .tracing import Tracer
from .where import here

T = TypeVar("T")

_NO_LISTS = (str, bytes, bytearray, Mapping, Set)


# --- branches ------------------------------------------------------------------------------------


@contextmanager
def when(condition: Any) -> Iterator[None]:
    """`with when(accuracy > 0.9):` what is called inside runs where the condition holds, and is skipped elsewhere.

    condition: a comparison of Refs (the workflow's parameters included) with each other or with booleans, numbers and
    texts; `is_in`; these joined by `&`, `|`, `~`, in parentheses; or a Ref alone, whose truth counts. A
    boolean too: what a component compares may be a constant where it is called.
    Raises TraceError outside a workflow's body, and for anything else.

    >>> from grandpa_kfp import Node, Workflow, either, otherwise, run
    >>> @Node
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> @Workflow
    ... def pipeline(x: int = 4):
    ...     with when(x > 3):
    ...         big = double(x)
    ...     with otherwise():
    ...         small = double(double(x))
    ...     return either(big, small)
    >>> run(pipeline, record=False).value, run(pipeline, {"x": 2}, record=False).value
    (8, 8)
    """
    tracer = tracer_of("when")
    predicate = _predicate(tracer, condition)
    branch = tracer.open_branch()
    with tracer.inside(branch.add_arm(predicate, here())):
        yield


@contextmanager
def elsewhen(condition: Any) -> Iterator[None]:
    """`with elsewhen(...):` right behind `when`: what `elif` is to `if`. Raises TraceError elsewhere, and as `when`."""
    tracer = tracer_of("elsewhen")
    branch = _branch_before(tracer, "elsewhen")
    with tracer.inside(branch.add_arm(_predicate(tracer, condition), here())):
        yield


@contextmanager
def otherwise() -> Iterator[None]:
    """`with otherwise():` right behind `when` or `elsewhen`: what `else` is to `if`. Raises TraceError elsewhere."""
    tracer = tracer_of("otherwise")
    branch = _branch_before(tracer, "otherwise")
    tracer.end_branch()
    with tracer.inside(branch.add_arm(None, here())):
        yield


def either(*values: T) -> T:
    """One value for what the branches of one `when` gave: that of the branch which ran.

    values: one from each branch; a value from outside, a constant too, stands for all branches that have none here.
    Raises TraceError where a branch has none, so that the value might be missing.

    >>> from grandpa_kfp import Node, Workflow, run
    >>> @Node
    ... def negative(x: int) -> int:
    ...     return -x
    >>> @Workflow
    ... def absolute(x: int = -3):
    ...     with when(x < 0):
    ...         turned = negative(x)
    ...     return either(turned, x)
    >>> run(absolute, record=False).value
    3
    """
    tracer = tracer_of("either")
    homes = [_home(tracer, value) for value in values if isinstance(value, Ref)]
    levels = [_level(tracer, home) for home in homes if home not in tracer.block.above()]
    level = next((block for block in reversed([*tracer.block.above()]) if block in levels), tracer.block)
    found = [_at_home(tracer, value, level) for value in values]
    owner, output = _join(tracer, found, level)
    return cast(T, Ref(JoinedCall(tracer, level, owner.id, output, here())))


def _home(tracer: Tracer, ref: Ref[Any]) -> Block:
    """The block that a Ref is in. Raises TraceError for one of another trace."""
    tracer.check_owner(ref)
    return tracer.home(ref)


def _level(tracer: Tracer, home: Block) -> Block:
    """The innermost block that both the one traced now and another one lie in."""
    above = [*tracer.block.above()]
    return next(block for block in home.above() if block in above)


def _at_home(tracer: Tracer, value: Any, level: Block) -> _Joined:
    if isinstance(value, Ref):
        return *tracer.value_at_home(value), value
    made = tracer.value(value)
    if level is not tracer.block and not isinstance(made, Constant):
        raise TraceError(
            f"{here()}: either joins branches of the block around this one, so it takes results and constants alone, "
            f"not {summary(value)}; call it there, or put it together in a node"
        )
    return made, level, value


_Joined = tuple[Value, Block, Any]
"""A value, the block in whose terms it is, and what the user gave."""


def _join(tracer: Tracer, values: list[_Joined], level: Block) -> tuple[OpenBranch, str]:
    """The branch right inside of the level that the values come from, and its new output that is one of them."""
    inside = [(item, block) for item in values if (block := item[1].inside(level)) is not None]
    outside = [item for item in values if item[1].inside(level) is None]
    if not inside:
        raise TraceError(
            f"{here()}: either joins values of branches, but was given none that is of a branch ended here"
        )
    if len(outside) > 1:
        raise TraceError(f"{here()}: either was given {len(outside)} values from outside the branches; give it one")
    owner = inside[0][1].owner
    for item, block in inside:
        if isinstance(block.owner, OpenGroup):
            raise TraceError(
                f"{here()}: either was given {describe(item[2])}, of a branch inside of {block.owner.id} "
                f"({block.where}); join it there"
            )
        if isinstance(block.owner, OpenLoop):
            raise TraceError(
                f"{here()}: either was given {describe(item[2])}, of the loop at {block.where}; collect it first"
            )
        if block.owner is not owner:
            first, other = inside[0][0][2], item[2]
            raise TraceError(
                f"{here()}: either joins the branches of one `when`, but {describe(first)} and {describe(other)} are "
                "of different ones; join each with what stands for it where its branch is not taken"
            )
    assert isinstance(owner, OpenBranch)
    by_arm: dict[Block, list[_Joined]] = {}
    for item, block in inside:
        by_arm.setdefault(block, []).append(item)
    if owner.arms[-1][0] is not None and outside:
        owner.add_arm(None, owner.where)
    owner.sealed = True
    _check_covered(owner, by_arm, outside)
    given = {block: _given(tracer, block, by_arm.get(block, []), outside) for _, block in owner.arms}
    output = owner.new_output()
    for block, value in given.items():
        block.add_output(output, value)
    return owner, output


def _given(tracer: Tracer, arm: Block, values: list[_Joined], outside: list[_Joined]) -> Value:
    """What one arm gives, in its own terms."""
    if len(values) == 1 and values[0][1] is arm:
        return values[0][0]
    if len([None for _, home, _ in values if home is arm]) > 1:
        raise TraceError(f"{here()}: either was given {len(values)} values of the branch at {arm.where}; give it one")
    if values:
        inner, output = _join(tracer, [*values, *outside], arm)
        return TaskOutput(inner.id, output)
    value, home, _ = outside[0]
    return carried(value, home, arm)


def _check_covered(owner: OpenBranch, by_arm: Mapping[Block, Any], outside: list[_Joined]) -> None:
    if outside:
        return
    lacking = [f"the branch at {block.where}" for _, block in owner.arms if block not in by_arm]
    if owner.arms[-1][0] is not None:
        lacking.append(f"the case that no condition of the `when` at {owner.where} holds")
    if lacking:
        raise TraceError(
            f"{here()}: either was given no value for {' and for '.join(lacking)}; give one of it, or one from outside "
            "the branches: either(..., None)"
        )


def _branch_before(tracer: Tracer, word: str) -> OpenBranch:
    branch = tracer.last_branch
    if branch is None or branch.sealed:
        raise TraceError(
            f"{here()}: {word} belongs right behind the block of a `when` or `elsewhen`, in the same place of the same "
            "function, before `either` asks for a value of them"
        )
    return branch


# --- conditions ----------------------------------------------------------------------------------


def is_in(value: Any, options: Iterable[Any]) -> Any:
    """A condition: whether a Ref's value is one of the options, which are booleans, numbers and texts.

    Python's own `in` asks for an answer while tracing. Of a value that is known it is the answer itself.
    Raises TraceError where the options are no list of constants.

    >>> from grandpa_kfp import Node
    >>> @Node
    ... def kind() -> str:
    ...     return "csv"
    >>> is_in(kind(), ["csv", "tsv"])  # doctest: +ELLIPSIS
    <Ref kind ...> in ['csv', 'tsv']
    """
    if isinstance(options, Promise | str | bytes):
        raise TraceError(f"{here()}: is_in looks in a list of constants, but was given {options!r}")
    if not isinstance(value, Ref):
        return value in list(options)
    return Condition("in", (value, list(options)), here())


def _predicate(tracer: Tracer, condition: Any) -> Predicate:
    if isinstance(condition, Ref):
        return Predicate("true", (_operand(tracer, condition),))
    if isinstance(condition, bool):  # a component's parameter may be given a constant
        return Predicate("true", (Constant(condition),))
    if not isinstance(condition, Condition):
        raise TraceError(
            f"{here()}: {summary(condition)} is no condition; compare something that exists only when the graph runs, "
            "and write `ref == False` for `not`, not `~` of what may be a constant"
        )
    operands = condition.operands
    if condition.operator in COMPARISONS:
        return Predicate(condition.operator, tuple([_operand(tracer, item) for item in operands]))
    if condition.operator == "in":
        options = [_plain(item) for item in operands[1]]
        return Predicate("in", (_operand(tracer, operands[0]), Constant(options)))
    return Predicate(condition.operator, tuple([_predicate(tracer, item) for item in operands]))


def _operand(tracer: Tracer, operand: Any) -> Value:
    if not isinstance(operand, Promise):
        return Constant(_plain(operand))
    value = tracer.value(operand)
    if not isinstance(value, TaskOutput | ParameterValue):
        raise TraceError(f"{here()}: a condition tests one value, but {operand!r} has several; name one of its outputs")
    return value


def _plain(value: Any) -> Any:
    """A constant that conditions know. Raises TraceError."""
    if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if value is not None and type(value) not in (bool, int, float, str):
        raise TraceError(
            f"{here()}: conditions test booleans, numbers and texts, but one was given {summary(value)}; compare it "
            "inside a node that returns a bool"
        )
    return value


# --- loops ---------------------------------------------------------------------------------------


@contextmanager
def each(items: Iterable[T], parallelism: int | None = None) -> Iterator[T]:
    """`with each(files) as file:` what is called inside runs for each of the items, side by side.

    items: a list, or a Ref of one, whose length is known only when the graph runs; parallelism: how many items are
    under way at once, by default as many as there is room for.
    Raises TraceError outside a workflow's body, and for what is no list.

    >>> from grandpa_kfp import Node, Workflow, collect, run
    >>> @Node
    ... def square(x: int) -> int:
    ...     return x * x
    >>> @Workflow
    ... def pipeline():
    ...     with each([1, 2, 3], parallelism=2) as x:
    ...         squared = square(x)
    ...     return collect(squared)
    >>> run(pipeline, record=False).value
    [1, 4, 9]
    """
    tracer = tracer_of("each")
    if parallelism is not None and (type(parallelism) is not int or parallelism < 1):
        raise TraceError(f"{here()}: parallelism must be a whole number above 0, but is {parallelism!r}")
    if not isinstance(items, Promise):
        if isinstance(items, _NO_LISTS) or not hasattr(type(items), "__iter__"):
            raise TraceError(f"{here()}: each loops over a list, but was given {summary(items)}")
        if not isinstance(items, Sized) or isinstance(items, range):
            items = list(items)
    loop = tracer.open_loop(items, parallelism)
    with tracer.inside(loop.block):
        yield cast(T, Ref(ParameterOrigin(tracer, loop.block, ITEM, Any, loop.where, of_loop=True)))


def collect(value: T) -> list[T]:
    """After a loop: the list of what a value of its body was for each item, in the order of the items.

    Raises TraceError for a value that is not of a loop which has ended here.
    """
    tracer = tracer_of("collect")
    if not isinstance(value, Ref):
        raise TraceError(
            f"{here()}: collect gives the list of a value that a loop made, but was given {summary(value)}"
        )
    home = _home(tracer, value)
    level = _level(tracer, home)
    block = home.inside(level)
    if block is None or not isinstance(block.owner, OpenLoop):
        why = f"is of the branch at {block.where}; join it by either" if block else "is not of a loop that has ended"
        if block is not None and isinstance(block.owner, OpenGroup):
            why = f"is of a loop inside of {block.owner.id} ({block.where}); collect it there"
        raise TraceError(f"{here()}: collect was given {describe(value)}, which {why}; call it behind the loop's block")
    if home is not block:
        inner = home.inside(block)
        assert inner is not None
        how = "collect it" if isinstance(inner.owner, OpenLoop) else "join it by either"
        raise TraceError(
            f"{here()}: collect was given {describe(value)}, which lies deeper, in the block at {inner.where}; "
            f"{how} inside the loop at {block.where} first"
        )
    output = block.owner.output(tracer.value_at_home(value)[0])
    return cast("list[T]", Ref(JoinedCall(tracer, level, block.owner.id, output, here())))


def tracer_of(word: str) -> Tracer:
    """The trace under way. word: of the user's, for the TraceError where there is none."""
    current = recorder.get()
    if not isinstance(current, Tracer):
        if isinstance(current, Body) and isinstance(current.call, WorkflowCall):
            name = current.call.name
            raise TraceError(
                f"{here()}: the workflow {name} uses {word}, so it cannot be called in a node's body, where it runs as "
                f"plain Python; call it in a workflow's body, or run it as a whole: grandpa_kfp.run({name}, ...)"
            )
        raise TraceError(
            f"{here()}: {word} belongs in a workflow's body, or in a component's that a workflow calls; where values "
            "are there, as in a node's body, use Python's own `if` and `for`"
        )
    return current
