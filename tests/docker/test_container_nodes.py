"""Containers of any image in local runs, with a real Docker: values and files in, values and files out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import docker_machine as machine
import pytest

from grandpa_kfp import ContainerNode, Node, TaskError, Workflow, collect, each, run, when

IMAGE = machine.PLAIN_BASE


@ContainerNode(image=IMAGE, command=["sh", "-ec", 'wc -l < "$0" > "$1"; echo "counted as $(id -u) $MODE"'], args=[
    "{text}", "{result}"], env={"MODE": "fast"})  # fmt: skip
def lines(text: Annotated[Path, "Dataset"]) -> int: ...


@ContainerNode(
    image=IMAGE,
    command=["sh", "-ec", 'for i in $(seq "$1"); do echo "$0" >> "$2"; done; printf \'["%s"]\' "$0" > "$3"'],
    args=["{word}", "{times}", "{text}", "{words}"],
    outputs=("text", "words"),
)
def repeat(word: str, times: int = 2) -> tuple[Annotated[Path, "Dataset"], list[str]]: ...


@ContainerNode(image=IMAGE, command=["sh", "-c"], args=["echo in vain; exit {code}"])
def fail(code: int) -> None: ...


@ContainerNode(image=IMAGE, command=["sleep", "60"], timeout_s=1)
def sleep() -> None: ...


@ContainerNode(image=IMAGE, command=["true"])
def lazy() -> int: ...


@Node
def double(x: int) -> int:
    return 2 * x


@Node
def table() -> dict[str, int]:
    return {"a": 1}


@Node
def content(text: Path, n: int) -> Any:
    return text.read_text(), n


@Node
def inner() -> Any:
    return lines(repeat("in a body", 3).text)


@Workflow
def flow(n: int = 2) -> Any:
    made = repeat("ja", double(n))
    count = lines(made.text)
    with when(count > 3):
        repeat("more", count)
    with each(made.words) as word:
        each_count = lines(repeat(word, 1).text)
    of_value = lines(table.options(artifact="Dataset")())
    return content(made.text, count), collect(each_count), inner(), of_value


@pytest.fixture(autouse=True)
def _docker(base_image: str) -> None:
    """Skips where there is none."""


@pytest.mark.docker
@pytest.mark.parametrize("processes", [0, 2])
def test_a_workflow_with_containers_runs_here(processes: int, tmp_path: Path) -> None:
    """On threads and in workers; the second time their results are there."""
    expected = (("ja\n" * 4, 4), [1], 3, 0)
    first = run(flow, root=tmp_path, processes=processes, cache=True)
    assert first.value == expected
    again = run(flow, root=tmp_path, processes=processes, cache=True)
    assert again.value == expected
    assert {again.tasks[name].state for name in ("repeat", "lines", "lines-2", "content")} == {"cached"}


@pytest.mark.docker
@pytest.mark.parametrize(
    ("node", "message"),
    [
        (lambda: fail(3), r"fail \(.*\) failed: its container ended with exit code 3; it printed last:\n  in vain"),
        (lambda: double(lazy()), r"its container left no output result"),
        (sleep, r"sleep .*1 s"),
    ],
)
def test_what_goes_wrong_in_a_container_is_told(node: Any, message: str) -> None:
    """And nothing is left behind of it."""

    @Workflow
    def wrong() -> None:
        node()

    with pytest.raises(TaskError, match=message):
        run(wrong, record=False)
    until = time.monotonic() + 60
    while (left := machine.docker("ps", "--all", "--quiet", "--filter", "name=grandpa-container-")) and (
        time.monotonic() < until  # its thread removes it, though the run is over
    ):
        time.sleep(0.1)
    assert left == ""
