"""`grandpa run`: parameters by their types, the value alone on standard output, progress on standard error."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from command_line import CONSOLE, Project, says

TYPED = """
import datetime
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

class Colour(enum.Enum):
    red = 1
    green = 2

@dataclass
class Size:
    width: int
    height: int = 2

@Node
def show(**given):
    return {name: f"{type(value).__name__} {value}" for name, value in given.items()}

@Workflow
def flow(
    word: str = "x",
    number: int = 1,
    share: float = 0.5,
    switch: bool = False,
    numbers: list[int] = [1],
    table: dict[str, float] = {},
    kind: Literal["a", "b"] = "a",
    perhaps: Optional[int] = None,
    colour: Colour = Colour.red,
    file: Path = Path("."),
    day: datetime.date = datetime.date(2024, 2, 29),
    size: Size = Size(1),
    rounds: Static[int] = 1,
):
    '''Shows what it is given.

    Args:
        word: any text
        rounds: how often
    '''
    return show(
        word=word, number=number, share=share, switch=switch, numbers=numbers, table=table, kind=kind,
        perhaps=perhaps, colour=colour, file=file, day=day, size=size, rounds=rounds + 0,
    )
"""

TEXTS = {
    "word": ("7", "str 7"),
    "number": ("7", "int 7"),
    "share": ("7", "float 7.0"),
    "switch": ("yes", "bool True"),
    "numbers": ("1,2,3", "list [1, 2, 3]"),
    "table": ('{"a": 1}', "dict {'a': 1.0}"),
    "kind": ("b", "str b"),
    "perhaps": ("3", "int 3"),
    "colour": ("green", "Colour Colour.green"),
    "file": ("data/x.csv", "PosixPath data/x.csv"),
    "day": ("2025-12-31", "date 2025-12-31"),
    "size": ('{"width": 4}', "Size Size(width=4, height=2)"),
    "rounds": ("5", "int 5"),
}


def test_parameters_are_read_by_their_types(project: Project) -> None:
    """Of the Python file, and, but for what is Static, of its graph file and its YAML."""
    project.flow(TYPED)
    options = [part for name, (text, _) in TEXTS.items() for part in ("-p", f"{name}={text}")]
    expected = {name: shown for name, (_, shown) in TEXTS.items()}
    assert project.grandpa("run", "flow.py", *options).value == expected
    assert project.grandpa("compile", "flow.py").code == 0
    project.graph_file()
    for file in ("flow.json", "flow.yaml"):
        ended = project.grandpa("run", file, *options[:-2])
        assert ended.code == 0, ended.err
        assert ended.value == {**expected, "rounds": "int 1"}


def test_an_equals_sign_and_nothing_at_all_are_values(project: Project) -> None:
    """Only the first `=` parts name and value."""
    project.flow(TYPED)
    assert project.grandpa("run", "flow.py", "-p", "word=a=b=c").value["word"] == "str a=b=c"
    assert project.grandpa("run", "flow.py", "-p", "word=").value["word"] == "str "


def test_a_params_file_and_options_before_it(project: Project) -> None:
    """JSON, YAML and TOML say the same; `-p` comes first."""
    project.flow(TYPED)
    project.write("params.json", '{"number": 3, "numbers": [4, 5], "size": {"width": 9}, "word": "file"}')
    project.write("params.yaml", "number: 3\nnumbers: [4, 5]\nsize: {width: 9}\nword: file\n")
    project.write("params.toml", 'number = 3\nnumbers = [4, 5]\nword = "file"\n[size]\nwidth = 9\n')
    for suffix in ("json", "yaml", "toml"):
        value = project.grandpa("run", "flow.py", "--params", f"params.{suffix}", "-p", "word=option").value
        assert (value["number"], value["numbers"]) == ("int 3", "list [4, 5]")
        assert (value["size"], value["word"]) == ("Size Size(width=9, height=2)", "str option")


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("p.json", '{"number": }', "p.json cannot be read as JSON"),
        ("p.yaml", "a: [", "p.yaml cannot be read as YAML"),
        ("p.toml", "a = ", "p.toml cannot be read as TOML"),
        ("p.json", "[1]", "p.json must hold parameters by name"),
        ("p.json", '{"numbre": 1}', "no parameter 'numbre' (in p.json); did you mean number?"),
        ("p.json", '{"number": "x"}', "parameter number"),
    ],
)
def test_a_params_file_that_is_wrong(project: Project, name: str, text: str, part: str) -> None:
    """One message that names the file or the parameter."""
    project.flow(TYPED)
    project.write(name, text)
    says(project.grandpa("run", "flow.py", "--params", name), 1, part)


def test_all_wrong_parameters_are_told_at_once(project: Project) -> None:
    """With the workflow's place and what each takes; nothing is recorded."""
    project.flow(TYPED)
    before = project.files()
    message = says(
        project.grandpa("run", "flow.py", "-p", "numbre=1", "-p", "number=x", "-p", "kind=c", "-p", "zzzz=1"),
        1,
        "flow (flow.py:",
        "no parameter 'numbre' (in -p numbre=1); did you mean number?",
        "parameter number (-p number=x)",
        "Literal['a', 'b'], but is 'c'",
        "'zzzz' (in -p zzzz=1); it takes word, number,",
    )
    assert len(message.splitlines()) == 4
    assert project.files() == before


HEADS = {
    "word: str = 'x'": "any text", "number: int = 1": "", "numbers: list[int] = [1]": "",
    "kind: Literal['a', 'b'] = 'a'": "", "rounds: Static[int] = 1": "how often",
}  # fmt: skip


def test_help_lists_the_workflows_own_parameters(project: Project) -> None:
    """Type, default and description, of every kind of file; whichever side of the file `--help` stands."""
    project.flow(TYPED)
    project.flow("@Node\ndef one(x: int): return x\n@Workflow\ndef other(must: int):\n    return one(must)\n", "req.py")
    ended = project.grandpa("run", "flow.py", "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Parameters of flow, each set by -p NAME=VALUE:" in ended.out
    lines = [re.sub(r" {2,}", "  ", line.strip()) for line in ended.out.splitlines()]
    for head, description in HEADS.items():
        assert f"{head}  {description}".strip() in lines
    assert project.grandpa("run", "--help", "flow.py").out == ended.out
    assert "must: int  [required]" in project.grandpa("run", "req.py", "-h").out
    assert project.grandpa("compile", "flow.py").code == 0
    project.graph_file()
    for file in ("flow.json", "flow.yaml"):
        shown = project.grandpa("run", file, "--help").out
        assert re.search(r"number: int = 1\n", shown)
        assert re.search(r"word: str = 'x' +any text", shown)
        assert "rounds" not in shown


def test_help_on_a_file_that_does_not_load_still_helps(project: Project) -> None:
    """Why the parameters are missing stands in their place."""
    project.flow("import nowhere_at_all\n", "broken.py")
    for file, part in (("broken.py", "broken.py:2: ModuleNotFoundError"), ("no.py", "no.py does not exist")):
        ended = project.grandpa("run", file, "--help")
        assert ended.code == 0
        assert "cannot be listed: " in ended.out
        assert part in ended.out
        assert "--threads" in ended.out


SMALL = """
import os
print("loading")
@Node
def double(x: int) -> int:
    print("in a task")
    os.system("echo from a program")
    return 2 * x
@Node
class Scale:
    def __init__(self, factor: int):
        self.factor = factor
    def __call__(self, x: int) -> int:
        return self.factor * x
@Component
def twice(x: int):
    return double(double(x))
@Workflow
def flow(x: int = 3):
    return Scale(2)(twice(x))
@Workflow
def other(x: int = 1):
    return [double(x), {"k": None}]
"""


def test_the_value_alone_goes_to_standard_output(project: Project) -> None:
    """What the file, its tasks and their programs print goes to standard error, from the YAML too."""
    project.flow(SMALL)
    assert project.grandpa("compile", "flow.py:flow", "-o", "flow.yaml").code == 0
    for file in ("flow.py:flow", "flow.yaml"):
        ended = project.process("run", file)
        assert (ended.code, ended.out) == (0, "24\n"), ended.err
        assert ended.err.count("in a task") == 2
        assert ended.err.count("from a program") == 2


def test_name_may_be_a_workflow_a_component_or_a_node(project: Project) -> None:
    """Each with its own parameters."""
    project.flow(SMALL)
    for name, options, expected in (
        ("flow", ["-p", "x=1"], 8),
        ("other", [], [2, {"k": None}]),
        ("twice", ["-p", "x=1"], 4),
        ("double", ["-p", "x=5"], 10),
    ):
        ended = project.grandpa("run", f"flow.py:{name}", *options)
        assert (ended.code, ended.value) == (0, expected), ended.err
    says(project.grandpa("run", "flow.py:twice"), 1, "twice", "x")


VALUES = """
from pathlib import Path
from collections import namedtuple
from dataclasses import dataclass
Pair = namedtuple("Pair", "a b")
@dataclass
class Point:
    x: int
    y: float
@Node
def plain():
    return {"b": [1, None, True], "a": (1, 2), "s": {3, 1}, "p": Pair(1, Point(1, 2.5)), "ä": "\\n"}
@Node
def odd():
    return {"x": [1, 2j]}
@Node
def lines():
    return "one\\ntwo"
@Node
def file():
    path = Path("out.txt")
    path.write_text("content")
    return path
"""


def test_the_value_as_json(project: Project) -> None:
    """Tuples and sets as lists, dataclasses and named tuples by name, in one line."""
    project.flow(VALUES)
    ended = project.grandpa("run", "flow.py:plain", "--json")
    assert ended.out.count("\n") == 1
    assert json.loads(ended.out) == {
        "b": [1, None, True], "a": [1, 2], "s": [1, 3], "p": {"a": 1, "b": {"x": 1, "y": 2.5}}, "ä": "\n",
    }  # fmt: skip
    ended = project.grandpa("run", "flow.py:odd", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "complex" in ended.errors[0]
    assert '["x"][1]' in ended.errors[0].replace("'", '"')


def test_the_value_is_one_line_whatever_it_holds(project: Project) -> None:
    """A text as Python writes it; a path as itself, and its file is there to be read."""
    project.flow(VALUES)
    assert project.grandpa("run", "flow.py:lines").out == "'one\\ntwo'\n"
    shown = project.grandpa("run", "flow.py:file").out
    assert shown.count("\n") == 1
    assert (project.folder / shown.strip()).read_text() == "content"


def test_options_that_do_not_go_with_the_file_are_wrong_usage(project: Project) -> None:
    """Exit code 2, before anything runs."""
    project.flow(SMALL)
    assert project.grandpa("compile", "flow.py:flow", "-o", "flow.yaml").code == 0
    before = project.files()
    for args, part in (
        ((), "missing argument"),
        (("flow.py:flow", "-p", "x"), "-p NAME=VALUE"),
        (("flow.py:flow", "--threads", "0"), "0 is not in the range"),
        (("flow.py:flow", "--params", "nowhere.json"), "nowhere.json"),
        (("flow.py:flow", "--engine", "docker"), "grandpa run flow.yaml --engine docker"),
        (("flow.yaml", "--engine", "threads"), "compiled YAML"),
        (("flow.yaml", "--no-record"), "compiled YAML"),
    ):
        ended = project.grandpa("run", *args)
        assert (ended.code, ended.out) == (2, ""), args
        assert part in ended.errors[0]
    assert project.files() == before


FAILING = """
@Node
def boom(x):
    return 1 / x  # body
@Node
def late(x):
    return x
@Node(retries=1)
def again(x):
    raise KeyError("always")
@Workflow
def flow():
    return late(boom(0)), late(1)  # call
@Workflow
def retried():
    return again(1)
"""


def test_a_task_that_fails(project: Project) -> None:
    """Exit code 3: the call's line, the user's traceback, the inputs, nothing on standard output."""
    project.flow(FAILING)
    message = says(
        project.grandpa("run", "flow.py:flow"), 3,
        f"boom ({project.line(mark='# call')}) failed: ZeroDivisionError: division by zero",
        "return 1 / x", "x = 0",
    )  # fmt: skip
    _, number = project.line(mark="# body").split(":")
    assert f"line {number}, in boom" in message


def test_keep_going_runs_what_does_not_depend_on_the_failure(project: Project) -> None:
    """It still ends with 3; what depends on the failure is skipped."""
    project.flow(FAILING)
    ended = project.grandpa("run", "flow.py:flow", "--keep-going", "--threads", "1")
    assert ended.code == 3
    lines = ended.err.splitlines()
    assert any(re.fullmatch(r"\[\d/3\] late-2 \d+ ms", line) for line in lines), ended.err
    assert "late skipped" in ended.err


def test_plain_lines_where_there_is_no_terminal(project: Project) -> None:
    """One for each task that ends, counted; a retry has its own; the last says where the record is."""
    project.flow(SMALL)
    lines = project.grandpa("run", "flow.py:flow", "--threads", "1").err.splitlines()
    told = [re.sub(r"\d+ ms", "1 ms", line) for line in lines if line.startswith("[")]
    assert told == ["[1/3] twice/double 1 ms", "[2/3] twice/double-2 1 ms", "[3/3] Scale 1 ms"]
    found = re.fullmatch(r"✓ flow: 3 tasks in \d+ ms; record: (\.grandpa/runs/.+)", lines[-1])
    assert found
    assert (project.folder / found[1] / "run.json").is_file()
    project.flow(FAILING)
    lines = project.grandpa("run", "flow.py:retried").err.splitlines()
    assert re.match(r"\[0/1\] again failed in attempt 1: KeyError: 'always'; again", lines[0])
    assert re.match(r"\[1/1\] again failed after \d+ ms: KeyError: 'always'", lines[1])


def test_where_values_and_records_go(project: Project) -> None:
    """`--store` takes the values, `--no-record` leaves nothing at all."""
    project.flow("@Node\ndef big():\n    return 'x' * 5000\n@Workflow\ndef flow():\n    return big()\n")
    before = project.files()
    ended = project.grandpa("run", "flow.py", "--no-record")
    assert (ended.code, len(ended.value)) == (0, 5000)
    assert "record:" not in ended.err
    assert project.files() == before
    assert project.grandpa("run", "flow.py", "--store", "values").code == 0
    assert list((project.folder / "values" / "objects").glob("*/*"))
    assert not project.objects()
    assert project.grandpa("run", "flow.py").code == 0
    assert project.objects()


def test_threads_bounds_the_tasks_at_once(project: Project) -> None:
    """Two that wait for each other need two threads; one alone runs them one after the other."""
    project.flow("""
import threading
meeting = threading.Barrier(2, timeout=30)
running = []
@Node
def meets(x):
    meeting.wait()
    return x
@Node
def alone(x):
    running.append(x)
    count = len(running)
    running.remove(x)
    return count
@Workflow
def together():
    return [meets(1), meets(2)]
@Workflow
def apart():
    return [alone(x) for x in range(50)]
""")
    assert project.grandpa("run", "flow.py:together", "--threads", "2", "--no-record").value == [1, 2]
    assert project.grandpa("run", "flow.py:apart", "--threads", "1", "--no-record").value == [1] * 50


# --- on a terminal --------------------------------------------------------------------------------

WAITING = """
import time
from pathlib import Path
@Node
def first(x):
    return x
@Node
def slow(x):
    while not Path("go").exists():
        time.sleep(0.01)
    if x < 0:
        raise ValueError("too small")
    return x + 1
@Workflow
def flow(x: int = 1):
    return slow(first(x))
"""
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)(?:;\d+)*m")
MOVE = re.compile(r"\x1b\[[\d;?]*[A-HJKSTfhl]")


def on_a_terminal(
    project: Project, *args: str, until: str = "", then: Callable[[], object] = lambda: None, **env: str
) -> tuple[int, str, str]:
    """Exit code, what the terminal was sent, and standard output. then: called as soon as `until` was painted."""
    master, slave = pty.openpty()
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    settings |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "PYTHONIOENCODING": "utf-8", **env}
    with subprocess.Popen(
        [sys.executable, "-c", CONSOLE, *args],
        cwd=project.folder, env=settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        sent, waits, end = b"", bool(until), time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    part = os.read(master, 65536)
                except OSError:  # Linux's way to say that nobody holds the other end any more
                    break
                if not part:
                    break
                sent += part
            if waits and until in MOVE.sub("", COLOUR.sub("", sent.decode(errors="replace"))):
                then()
                waits = False
        assert process.stdout is not None
        out = process.stdout.read().decode()
        code = process.wait(60)
    os.close(master)
    return code, sent.decode(), out


def test_on_a_terminal_the_display_is_live(project: Project) -> None:
    """It shows what runs and how much is done, in colours, and is wiped away at the end."""
    project.flow(WAITING)
    go = project.folder / "go"
    code, sent, out = on_a_terminal(project, "run", "flow.py", until="1/2 tasks", then=go.touch)
    assert go.exists(), sent
    assert (code, out) == (0, "2\n")
    assert re.search(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] ?\x1b\[0mslow", sent)
    assert "━" in sent
    assert COLOUR.search(sent)
    assert MOVE.search(sent)
    assert "[1/2]" not in sent
    assert "✓" in sent.splitlines()[-1]
    assert "flow: 2 tasks in" in sent.splitlines()[-1]


def test_on_a_terminal_a_failure_leaves_a_line(project: Project) -> None:
    """Above the display, before the report."""
    project.flow(WAITING)
    (project.folder / "go").touch()
    code, sent, out = on_a_terminal(project, "run", "flow.py", "-p", "x=-1")
    assert (code, out) == (3, "")
    assert re.search(r"✗ slow failed after \d+ ms: ValueError: too small", sent)
    assert "error: " in COLOUR.sub("", sent).replace("\x1b[1m", "").replace("\x1b[0m", "")


def test_no_color_is_honoured(project: Project) -> None:
    """The display moves as before, in no colour at all."""
    project.flow(WAITING)
    (project.folder / "go").touch()
    for args, expected in ((("run", "flow.py"), 0), (("run", "flow.py", "-p", "x=-1"), 3), (("run", "no.py"), 1)):
        code, sent, _ = on_a_terminal(project, *args, NO_COLOR="1")
        assert code == expected, sent
        assert not COLOUR.search(sent)


def test_a_dumb_terminal_gets_plain_lines(project: Project) -> None:
    """It could neither move nor colour."""
    project.flow(WAITING)
    (project.folder / "go").touch()
    code, sent, _ = on_a_terminal(project, "run", "flow.py", TERM="dumb")
    assert code == 0
    assert "\x1b" not in sent
    assert re.search(r"^\[2/2\] slow \d+ ms", sent, re.MULTILINE)


def test_progress_of_a_yaml_is_told_the_same_way(project: Project) -> None:
    """Processes or threads: the same lines."""
    project.flow(SMALL)
    assert project.grandpa("compile", "flow.py:twice", "-p", "x=1", "-o", "flow.yaml").code == 0
    ended = project.grandpa("run", "flow.yaml")
    told = re.findall(r"^\[(\d)/2\] ([-\w]+) ", ended.err, re.MULTILINE)
    assert (ended.code, told) == (0, [("1", "twice-double"), ("2", "twice-double-2")]), ended.err


def test_the_reader_may_go_away(project: Project) -> None:
    """`grandpa run ... | true` ends without a traceback."""
    project.flow(SMALL)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", CONSOLE, "run", "flow.py:other"],
        cwd=project.folder, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    os.close(writing)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"defect" not in done.stderr
