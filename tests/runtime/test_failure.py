"""How a task's failure is told."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime.contract import Argument, Arguments, Input, Interface
from grandpa_kfp_runtime.errors import (
    CodecError,
    GrandpaError,
    ObjectGone,
    RunCancelled,
    StoreDenied,
    TaskError,
    TaskTimeout,
    TraceError,
)
from grandpa_kfp_runtime.failure import (
    BEGIN_MARKER,
    END_MARKER,
    describe_inputs,
    exit_code,
    format_report,
    headline,
    report,
    reports_in,
    write_marked,
)
from grandpa_kfp_runtime.redaction import Redactor
from grandpa_kfp_runtime.task import perform

HERE = Path(__file__)


def failing(body: Callable[..., Any], **values: Any) -> BaseException:
    """What running the task raises."""
    interface = Interface(tuple(map(Input, values)), Arguments(tuple(map(Argument, values))))
    try:
        perform("node", interface, values, lambda key: body)
    except BaseException as error:
        return error
    raise AssertionError("the body did not fail")


def told(error: BaseException, **details: Any) -> str:
    details = {"task": "train", "where": "pipeline.py:31", "root": str(HERE.parent), **details}
    return format_report(report(error, **details))


def line_of(text: str) -> int:
    """The number of the line in this file that ends with the text."""
    lines = HERE.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(text))


def check_shape(x: Any) -> None:
    raise ValueError("bad shape")  # the raising line


# --- for a person --------------------------------------------------------------------------------


def test_a_report_has_headline_users_frames_and_inputs() -> None:
    def body(x: Any, rate: float) -> None:
        check_shape(x)  # the calling line

    error = failing(body, x=[1, 2], rate=0.1)
    lines = told(error, inputs=describe_inputs({"x": [1, 2], "rate": 0.1})).splitlines()
    shown = [line for line in lines if line.strip(" ^~")]
    assert shown == [
        "train (pipeline.py:31) failed: ValueError: bad shape",
        "Traceback (most recent call last):",
        f'  File "test_failure.py", line {line_of("# the calling line")}, in body',
        "    check_shape(x)  # the calling line",
        f'  File "test_failure.py", line {line_of("# the raising line")}, in check_shape',
        '    raise ValueError("bad shape")  # the raising line',
        "ValueError: bad shape",
        "Inputs:",
        "  x = list of 2",
        "  rate = 0.1",
    ]


def test_no_frame_of_ours_or_of_asyncio_stands_in_a_traceback() -> None:
    async def body() -> None:
        check_shape(1)

    text = told(failing(body))
    assert "grandpa_kfp" not in text
    assert "asyncio" not in text
    assert "in check_shape" in text


def test_causes_are_told_with_the_users_frames_alone() -> None:
    def body() -> None:
        try:
            check_shape(1)
        except ValueError as error:
            raise KeyError("rows") from error

    text = told(failing(body))
    assert text.startswith("train (pipeline.py:31) failed: KeyError: 'rows'")
    assert "ValueError: bad shape\n\nThe above exception was the direct cause" in text
    assert "grandpa_kfp" not in text


def test_a_library_as_a_node_is_told_from_the_library_on() -> None:
    """A node may be `json.loads` itself: then the library's frames are all there is."""
    text = told(failing(json.loads, s=5))
    assert "in loads" in text
    assert "grandpa_kfp" not in text


def test_frames_of_a_task_inside_a_task_are_both_told() -> None:
    def inner() -> None:
        check_shape(1)

    def outer() -> None:
        perform("inner", Interface(), {}, lambda key: inner)

    text = told(failing(outer))
    assert [name for name in ("in outer", "in inner", "in check_shape") if name in text] == [
        "in outer", "in inner", "in check_shape",
    ]  # fmt: skip
    assert "grandpa_kfp" not in text


def test_a_deep_recursion_is_told_in_a_few_lines() -> None:
    def down(x: int) -> int:
        return up(x)

    def up(x: int) -> int:
        return down(x)

    text = told(failing(down, x=1))
    assert "more frames" in text
    assert len(text.splitlines()) < 140


def test_an_error_of_ours_is_told_by_its_message_alone() -> None:
    with pytest.raises(ObjectGone) as caught:
        raise ObjectGone("object abc is gone") from OSError("no such file")
    assert told(caught.value, inputs={"x": "3"}) == "train (pipeline.py:31) failed: object abc is gone"


def test_an_error_of_ours_that_the_users_code_led_to_shows_where() -> None:
    def body() -> None:
        raise TraceError("a Ref is no value")  # the misuse

    text = told(failing(body))
    assert text.startswith("train (pipeline.py:31) failed: a Ref is no value\n\nTraceback")
    assert f"line {line_of('# the misuse')}, in body" in text


def test_a_defect_keeps_all_frames() -> None:
    """Where no code of the user's was reached, our frames are what a developer needs."""
    with pytest.raises(KeyError) as caught:
        perform("node", Interface((), Arguments((Argument("missing"),))), {}, lambda key: print)
    frames = caught.value.__traceback__
    assert frames is not None
    caught.value.__traceback__ = frames.tb_next  # this test's own frame counts as the user's
    assert 'task.py", line' in told(caught.value)


def test_sys_exit_is_a_failure_that_says_so() -> None:
    record = report(failing(lambda: sys.exit(0)), task="train")
    assert headline(record) == (
        "train failed: it called sys.exit(0), which is no way to end a task: return from the node, or raise an error"
    )
    assert record["exit_code"] == 3


def test_a_timeout_shows_where_the_task_was() -> None:
    def body() -> str:
        error = TaskTimeout("it ran longer than its timeout_s of 5 s")
        return told(error, frame=sys._getframe())  # where it hung

    lines = body().splitlines()
    assert lines[0] == "train (pipeline.py:31) failed: it ran longer than its timeout_s of 5 s"
    assert lines[2] == "Where it was (most recent call last):"
    assert f'  File "test_failure.py", line {line_of("# where it hung")}, in body' in lines
    assert lines[-1] == "What to do: raise the node's timeout_s, or make it do less"


def test_an_exception_of_a_module_is_told_by_its_full_name() -> None:
    assert headline(report(json.JSONDecodeError("bad", "x", 0), task="t")) == (
        "t failed: json.decoder.JSONDecodeError: bad: line 1 column 1 (char 0)"
    )


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_exception_whose_text_fails_is_told_all_the_same() -> None:
    assert "(its text cannot be shown: RuntimeError)" in told(Broken())


def test_long_messages_are_cut_in_the_middle() -> None:
    message = report(ValueError("a" * 9_000 + "b" * 9_000), task="t")["message"]
    assert message.startswith("aaa")
    assert message.endswith("bbb")
    assert "8,000 characters left out" in message


@pytest.mark.parametrize(("in_container", "what"), [(True, "packages=[...]"), (False, "install the package")])
def test_a_missing_module_is_told_with_the_way_out(in_container: bool, what: str) -> None:
    def body() -> None:
        import surely_not_there.deeper  # type: ignore[import-not-found]  # noqa: F401

    text = told(failing(body), in_container=in_container)
    assert text.splitlines()[-1].startswith("What to do: ")
    assert what in text
    assert "surely_not_there" in text.splitlines()[-1]


def test_a_file_that_did_not_travel_is_told_with_the_way_out() -> None:
    """In a container alone: elsewhere the project's files are all there."""
    error = failing(Path("surely/not/there.csv").read_text)
    assert "What to do" not in told(error)
    hint = told(error, in_container=True).splitlines()[-1]
    assert hint.startswith("What to do: ")
    assert "File(...)" in hint
    assert "include=[...]" in hint


def test_summaries_of_inputs_call_none_of_the_users_code() -> None:
    class Model:
        def __repr__(self) -> str:
            raise AssertionError("repr was called")

    assert describe_inputs({"model": Model(), "n": 3})["n"] == "3"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), 3), (SystemExit(0), 3), (KeyboardInterrupt(), 3), (TaskError("x"), 3), (TaskTimeout("x"), 3),
        (StoreDenied("x"), 1), (CodecError("x"), 1), (GrandpaError("x"), 1), (RunCancelled("x"), 143),
    ],
)  # fmt: skip
def test_exit_codes(error: BaseException, expected: int) -> None:
    assert exit_code(error) == expected


# --- for tools -----------------------------------------------------------------------------------


def test_a_record_is_plain_json_with_handles_and_versions() -> None:
    record = report(
        failing(check_shape, x=1),
        task="train",
        node="pipeline:train",
        where="pipeline.py:31",
        inputs={"x": "1"},
        handles={"x": "@abc", "y": "@def"},
        run_id="run-1",
        attempt=2,
        root=str(HERE.parent),
    )
    assert json.loads(json.dumps(record)) == record
    assert record["exception"] == "ValueError"
    assert record["message"] == "bad shape"
    assert record["raised_at"] == f"test_failure.py:{line_of('# the raising line')}"
    assert record["inputs"] == {"x": {"summary": "1", "handle": "@abc"}, "y": {"handle": "@def"}}
    assert (record["run_id"], record["attempt"], record["node"]) == ("run-1", 2, "pipeline:train")
    assert set(record["versions"]) == {"grandpa-kfp", "python", "platform"}


def test_secrets_are_in_no_part_of_a_record() -> None:
    def body(x: str) -> None:
        raise PermissionError("login with hunter22 refused")

    redactor = Redactor({"DB_PASSWORD": "hunter22"})
    record = report(failing(body, x="hunter22"), task="t", inputs={"x": "'hunter22'"}, redactor=redactor)
    assert "hunter22" not in json.dumps(record)
    assert record["message"] == "login with [DB_PASSWORD] refused"


def test_reports_are_found_in_a_log_between_markers() -> None:
    stream = io.StringIO()
    stream.write("epoch 1\n")
    write_marked({"task": "a", "message": "with\nlines and {braces}"}, stream)
    stream.write("more\n")
    write_marked({"task": "b"}, stream)
    stream.write(f"{BEGIN_MARKER}\n" + '{"task": "cut off')
    assert reports_in(stream.getvalue()) == [{"task": "a", "message": "with\nlines and {braces}"}, {"task": "b"}]


def test_a_report_that_other_lines_broke_is_left_out() -> None:
    assert reports_in(f"{BEGIN_MARKER}\nnot JSON\n{END_MARKER}\n") == []


# --- redaction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "api_token", "DbPassword", "OPENAI_APIKEY", "CREDENTIALS"])
def test_variables_whose_name_looks_like_a_secrets_are_redacted(name: str) -> None:
    assert Redactor.from_environment(env={name: "abcdef"}).text("x abcdef y") == f"x [{name}] y"


def test_named_variables_are_redacted_however_short() -> None:
    env = {"GRANDPA_REDACT": "PIN,OTHER", "PIN": "42", "LEFT": "abcdefgh", "A_KEY": "short"}
    assert Redactor.from_environment(env=env).text("42 abcdefgh short") == "[PIN] abcdefgh short"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert Redactor({"A": "abc", "B": "abcdef"}).text("abcdef abc") == "[B] [A]"


def test_every_string_of_a_value_is_redacted() -> None:
    value = {"abc": ["x abc", {"k": "abc"}, 3, None], "n": True}
    assert Redactor({"A": "abc"}).json(value) == {"[A]": ["x [A]", {"k": "[A]"}, 3, None], "n": True}


def test_without_secrets_nothing_changes() -> None:
    assert Redactor.from_environment(env={"HOME": "/root", "EMPTY_TOKEN": ""}).text("/root") == "/root"
