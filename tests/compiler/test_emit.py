"""The text itself: one golden file, and what a reader meets first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kfp_graphs import (
    ADD,
    CODE,
    STATS,
    TOTAL,
    call,
    chain,
    compiled,
    documents,
    graph,
    listed,
    parameter,
    with_options,
    written,
)

from grandpa_kfp_compiler.graph import ParameterValue, TaskOutput
from grandpa_kfp_compiler.kfp.emit import cores, gigabytes
from grandpa_kfp_runtime.errors import CompileError

GOLDEN = Path(__file__).parent / "cases" / "emit.yaml"


def test_the_text_is_the_golden_file(request: pytest.FixtureRequest) -> None:
    of = graph(
        with_options(call("add", ADD, ParameterValue("n"), 5), retries=1, timeout_s=600, memory="2Gi"),
        call("part/stats", STATS, listed(TaskOutput("add"), ParameterValue("n")), scope=("part",)),
        with_options(call("total", TOTAL, TaskOutput("part/stats", "mean")), cache=False),
        parameters=[parameter("n", "int", 3, "how many"), parameter("text", "str", "on")],
        description="Adds up.\nThen stops.",
        code=replace(CODE, zip=b"x"),
    )
    text = compiled(of, code="store").text
    if request.config.getoption("--update"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_file_opens_with_what_a_person_asks_first() -> None:
    of = graph(
        call("add", ADD, ParameterValue("n"), 1),
        parameters=[parameter("n", "int", 3), parameter("s", "str", "ä\n"), parameter("x", "float")],
        description="First.\n\nMore.",
    )
    assert compiled(of).text.split("pipelineInfo")[0].splitlines() == [
        "# PIPELINE DEFINITION",
        "# Name: calc",
        "# Description: First.",
        "#              ",
        "#              More.",
        "# Inputs:",
        "#    n: int [Default: 3]",
        '#    s: str [Default: "\\u00e4\\n"]',
        "#    x: float",
        "# Outputs:",
        "#    result: str",
    ]


def test_two_documents_in_one_file_and_one_where_no_platform_is_needed() -> None:
    assert len(list(yaml.safe_load_all(compiled(chain(2)).text))) == 2
    task = with_options(call("add", ADD, 1, 2), env=(("TMPDIR", "/tmp"),))
    _, platform = documents(graph(task), secret="")
    assert platform == {}


def test_the_schema_is_the_one_the_backend_asks_for() -> None:
    spec, _ = documents(chain(2))
    assert spec["schemaVersion"] == "2.1.0"
    assert spec["sdkVersion"] == "grandpa-kfp-0.1.0"


def test_a_chain_with_fan_in_takes_at_most_700_bytes_a_task() -> None:
    assert len(written(chain(1000))) <= 700 * 1000


def test_text_that_yaml_cannot_hold_is_a_fault_of_the_workflow() -> None:
    of = graph(call("add", ADD, 1, 2), description="\ud800")
    with pytest.raises(CompileError, match=r"^calc: YAML cannot hold the lone surrogate"):
        compiled(of)


@pytest.mark.parametrize(("text", "number"), [("2", 2.0), ("1500m", 1.5), ("0.25", 0.25), ("x", None)])
def test_cpus_as_a_number(text: str, number: float | None) -> None:
    assert cores(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [("1G", 1.0), ("1Gi", 1.073741824), ("512Mi", 0.536870912), ("1000000000", 1.0), ("1k", 1e-6), ("1e9x", None)],
)
def test_memory_as_a_number(text: str, number: float | None) -> None:
    assert gigabytes(text) == (None if number is None else pytest.approx(number))
