"""Events on every engine of this machine: who hears of them, what is recorded, what tasks print, how far they are."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, here

import grandpa_kfp
from grandpa_kfp import Node, ProgressBar, Workflow, events
from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
from grandpa_kfp.engine.printed_logs import MOST_BYTES, MOST_EVENT_BYTES, log_file, printed_by
from grandpa_kfp.engine.record import read_events, read_run
from grandpa_kfp.engine.run import Run
from grandpa_kfp.loading import load_target
from grandpa_kfp_runtime.errors import LoadError, TaskError, TraceError
from grandpa_kfp_runtime.events.journal import Journal
from grandpa_kfp_runtime.events.kinds import KINDS
from grandpa_kfp_runtime.events.lines import event_line, read_event
from grandpa_kfp_runtime.events.subscribers import as_listener, method_name
from grandpa_kfp_runtime.logged.entries import Artifact, Bar, Point, Series

ENGINES = ["threads", "workers", "yaml"]

FLOW = """
import contextvars, ctypes, os, subprocess, sys, threading
from grandpa_kfp import ProgressBar, current

@Node
def train(epochs: int) -> int:
    with ProgressBar("epochs", total=epochs) as bar:
        for epoch in range(epochs):
            print("epoch", epoch)
            bar.update()
    print("no line break", end="")
    print("trouble", file=sys.stderr)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(print, "\\nfrom a thread"))
    thread.start()
    thread.join()
    return epochs

@Node(retries=1, backoff_s=0.01)
def again(x: int) -> int:
    print("attempt", current().attempt)
    if str(current().attempt) == "1":
        raise ValueError("not yet")
    return x

@Node
def outside(x: int) -> int:
    print("before")
    subprocess.run(["echo", "a program"], check=True)
    ctypes.CDLL(None).puts(b"native code")
    ctypes.CDLL(None).fflush(None)
    return x

@Node
def setting() -> str:
    return os.environ["CHOSEN"]

@Workflow(env={"CHOSEN": "by the workflow"})
def flow(epochs: int = 3):
    return again(train(epochs))

@Workflow
def programs():
    return outside(1)

@Workflow(env={"CHOSEN": "all"})
def environment():
    return [setting(), setting.options(env={"CHOSEN": "one"})()]
"""


@pytest.fixture
def flow(project: Project) -> Project:
    project.flow(FLOW)
    return project


def run_on(engine: str, project: Project, name: str = "flow", *heard: Any) -> Run:
    if engine == "yaml":
        done = project.grandpa("compile", f"flow.py:{name}", "-o", "flow.yaml")
        assert done.code == 0, done.err
        return run_pipeline_yaml(project.folder / "flow.yaml", root=project.folder, listeners=heard)
    with here(project.folder):
        target = load_target(f"flow.py:{name}")
        processes = 2 if engine == "workers" else 0
        return grandpa_kfp.run(target, root=project.folder, listeners=heard, processes=processes)


def printed(heard: list[events.Event]) -> dict[str, str]:
    texts: defaultdict[str, str] = defaultdict(str)
    for event in heard:
        if isinstance(event, events.TaskPrinted):
            texts[event.task] += event.text
    return texts


# --- each engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tasks_events_come_in_their_order(engine: str, flow: Project) -> None:
    """Queued, started, what it tells of itself, ended; an attempt that fails is told as retried."""
    heard: list[events.Event] = []
    run_on(engine, flow, "flow", heard.append)
    of_train = [type(event).__name__ for event in heard if getattr(event, "task", "") == "train"]
    assert of_train[:2] == ["TaskQueued", "TaskStarted"]
    assert of_train[-1] == "TaskFinished"
    assert {"TaskPrinted", "ProgressMade"} == set(of_train[2:-1])
    of_again = [
        event for event in heard if getattr(event, "task", "") == "again" and type(event).__name__ != "TaskPrinted"
    ]
    assert [type(event).__name__ for event in of_again] == [
        "TaskQueued", "TaskStarted", "TaskRetried", "TaskStarted", "TaskFinished",
    ]  # fmt: skip
    assert (type(heard[0]), type(heard[-1])) == (events.RunStarted, events.RunFinished)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_happened_is_read_back_from_the_record(engine: str, flow: Project) -> None:
    """The very events that listeners heard, in the same order; prints of a YAML stand in its own logs."""
    heard: list[events.Event] = []
    run_on(engine, flow, "flow", heard.append)
    if engine == "yaml":
        heard = [event for event in heard if not isinstance(event, events.TaskPrinted)]
    assert read_events(read_run(flow.folder)) == heard


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_task_prints_is_shown_with_its_name_and_kept(
    engine: str, flow: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both streams, an unfinished line, a thread with the task's context; each attempt's in the task's log."""
    heard: list[events.Event] = []
    run = run_on(engine, flow, "flow", heard.append)
    texts = printed(heard)
    for line in ("epoch 0\n", "epoch 2\n", "trouble\n", "no line break", "from a thread\n"):
        assert line in texts["train"]
    assert texts["again"] == "attempt 1\nattempt 2\n"
    assert run.folder is not None
    assert printed_by(run.folder, "again") == "attempt 1\n--- attempt 2 ---\nattempt 2\n" or engine == "yaml"
    shown = "".join(capsys.readouterr())
    assert "train | epoch 1\n" in shown
    assert "again | attempt 2\n" in shown
    told = flow.grandpa("logs", run.id, "again")
    assert told.code == 0
    assert "--- attempt 2 ---\nattempt 2\n" in told.out
    assert "train | epoch 0\n" in flow.grandpa("logs", run.id).out


@pytest.mark.parametrize("engine", ["workers", "yaml"])
def test_programs_and_native_code_of_a_task_print_as_it_does(engine: str, flow: Project) -> None:
    """What bypasses Python, in the order in which it was written."""
    heard: list[events.Event] = []
    run_on(engine, flow, "programs", heard.append)
    assert printed(heard) == {"outside": "before\na program\nnative code\n"}


@pytest.mark.parametrize("engine", ENGINES)
def test_progress_comes_to_its_end(engine: str, flow: Project) -> None:
    """The last event has the whole count, and so have the run's task and its record."""
    heard: list[events.Event] = []
    run = run_on(engine, flow, "flow", heard.append)
    bars = [event.bars["epochs"] for event in heard if isinstance(event, events.ProgressMade)]
    assert (bars[-1].done, bars[-1].total) == (3, 3)
    assert run.tasks["train"].logged.bars["epochs"].done == 3
    assert read_run(flow.folder).tasks["train"].logged.bars["epochs"].done == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_environment_of_a_workflow_and_of_a_node(engine: str, flow: Project) -> None:
    """The workflow's reaches every node, a call's own wins."""
    assert run_on(engine, flow, "environment").value == ["all", "one"]


def test_grandpa_run_keeps_standard_output_for_the_value(flow: Project) -> None:
    """Whatever tasks print."""
    for more in ((), ("--processes", "2")):
        done = flow.process("run", "flow.py:flow", "--no-cache", *more)
        assert (done.code, done.out) == (0, "3\n"), done.err
        assert "train | epoch 2\n" in done.err
        assert "again | attempt 2\n" in done.err


# --- callbacks in containers -----------------------------------------------------------------------

CALLBACKS = """
from pathlib import Path
from grandpa_kfp import events, log_metric

class Writes(events.Callback):
    def __init__(self, path):
        self.path = path

    def write(self, line):
        with open(self.path, "a") as file:
            file.write(line + "\\n")

    def on_task_started(self, event):
        self.write(f"started {event.task}")

    def on_task_finished(self, event):
        self.write(f"finished {event.task} {event.outputs}")

    def on_task_failed(self, event):
        self.write(f"failed {event.task} {event.error}")

def broken(event):
    raise OSError("no callback of mine")

@Node
def square(x: int) -> int:
    log_metric("x", x)
    if x < 0:
        raise ValueError("negative")
    return x * x

@Workflow(callbacks=[Writes("PATH"), broken])
def flow(x: int = 3):
    return square(x)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_workflows_callbacks_hear_of_its_tasks_where_these_run(
    engine: str, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In containers too, to which they travel with the code. One that is broken harms nothing."""
    told = tmp_path / "told.txt"
    project.flow(CALLBACKS.replace("PATH", str(told)))
    assert run_on(engine, project).value == 9
    assert told.read_text().splitlines() == ["started square", "finished square {'result': '9'}"]
    if engine == "yaml":
        assert "the listener broken failed (OSError: no callback of mine)" in capsys.readouterr().err
        told.unlink()
        with pytest.raises(TaskError, match="ValueError: negative"):
            run_pipeline_yaml(project.folder / "flow.yaml", {"x": -1}, root=project.folder)
        assert told.read_text().splitlines() == ["started square", "failed square ValueError: negative"]


def test_callbacks_do_not_change_what_a_task_is_cached_by(project: Project, tmp_path: Path) -> None:
    """They stand in the environment, which is in no cache key; those that cannot travel are named."""
    project.flow(CALLBACKS.replace("PATH", "a.txt"))
    done = project.grandpa("compile", "flow.py", "-o", "a.yaml")
    project.flow(CALLBACKS.replace("PATH", "b.txt").replace("broken]", "broken, lambda event: None]"))
    other = project.grandpa("compile", "flow.py", "-o", "b.yaml")
    assert "callback" not in done.err
    assert "callback <lambda> is told of nothing in containers" in other.err
    first, second = ((project.folder / name).read_text() for name in ("a.yaml", "b.yaml"))
    assert first != second

    def args(text: str) -> list[str]:
        from grandpa_kfp.engine.kfp_reading import read_pipeline

        return [str(container.args) for _, _, container in read_pipeline(text).dag.containers()]

    assert args(first) == args(second)


# --- subscribers -----------------------------------------------------------------------------------


@Node
def double(x: int) -> int:
    print("doubling")
    return 2 * x


@Workflow
def doubled(x: int = 2) -> Any:
    return double(double(x))


def test_an_object_hears_by_its_methods(tmp_path: Path) -> None:
    """Each kind of event by the method of its name, `on_event` of all of them."""
    called = []

    class Hears:
        def on_event(self, event: events.Event) -> None:
            called.append("any")

        def on_task_finished(self, event: events.TaskFinished) -> None:
            called.append(event.task)

    grandpa_kfp.run(doubled, on_event=Hears(), root=tmp_path)
    assert [name for name in called if name != "any"] == ["double", "double-2"]
    assert called.count("any") >= 8


def test_callback_has_a_method_for_each_kind() -> None:
    """So that an editor knows them all."""
    assert {name for name in vars(events.Callback) if name.startswith("on_")} == {
        "on_event", *map(method_name, KINDS)
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [3, "print", object()])
def test_what_cannot_be_told_is_refused_before_anything_runs(wrong: Any, tmp_path: Path) -> None:
    """With what to give instead."""
    with pytest.raises(TypeError, match="give a function of one event, or an object with methods"):
        grandpa_kfp.run(doubled, on_event=wrong, root=tmp_path)
    assert not (tmp_path / ".grandpa").exists()
    with pytest.raises(TraceError, match="give a function of one event"):
        Workflow(callbacks=[wrong])(lambda: None)


def test_a_method_with_a_wrong_name_is_told() -> None:
    """And the right one suggested; a class instead of an object is told too."""

    class Misspelt(events.Callback):
        def on_task_finish(self, event: events.Event) -> None: ...

    with pytest.raises(TypeError, match=r"Misspelt.on_task_finish: .*did you mean on_task_finished\?"):
        as_listener(Misspelt())
    with pytest.raises(TypeError, match="give an object of it"):
        as_listener(Misspelt)


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt()])
def test_a_failing_callback_harms_nothing(error: BaseException, tmp_path: Path) -> None:
    """It is noted once; others go on hearing, and the record is whole."""
    heard: list[events.Event] = []

    def broken(event: events.Event) -> None:
        raise error

    run = grandpa_kfp.run(doubled, listeners=[broken, heard.append], root=tmp_path)
    assert run.value == 8
    assert len([note for note in run.notes if "listener" in note and "broken" in note]) == 1
    assert read_events(read_run(tmp_path)) == heard


def test_a_callback_that_hangs_keeps_the_run_for_a_bounded_time() -> None:
    """And is noted."""
    notes: list[str] = []
    stop = threading.Event()
    journal = Journal([lambda event: stop.wait(60)], notes.append)
    journal.tell(events.TaskQueued(0.0, "a"))
    begun = time.monotonic()
    journal.close(0.2)
    stop.set()
    assert time.monotonic() - begun < 30
    assert "still busy" in notes[0]


def test_callbacks_run_one_at_a_time_on_one_thread(tmp_path: Path) -> None:
    """Whatever runs side by side."""
    threads = set()

    def listen(event: events.Event) -> None:
        threads.add(threading.get_ident())

    many = Workflow(lambda: [double(x) for x in range(20)])
    grandpa_kfp.run(many, listeners=[listen, listen], root=tmp_path)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


EXAMPLES: list[events.Event] = [
    events.RunStarted(1.0, "r", "n", ("a",)),
    events.TaskQueued(1.0, 'a"'),
    events.TaskStarted(1.0, "a", "20260101T000000.000Z-pod"),
    events.TaskGrew(1.0, "a", {"a/b": ("a/c",)}),
    events.TaskFinished(1.0, "a", "pod", 0.5, {"result": '"x"'}),
    events.TaskCached(1.0, "a", {"result": "1"}, "r-1"),
    events.TaskRetried(1.0, "a", 1, 0.5, 1.0, "E: x"),
    events.TaskFailed(1.0, "a", 1, 0.5, "E: x", "all of it"),
    events.TaskDropped(1.0, "a", "skipped"),
    events.TaskPrinted(1.0, "a", 1, "stderr", "ä\n\udcff"),
    events.ProgressMade(1.0, "a", 1, {"epochs": Bar(1.0, 2.0, 3.0, 4.0)}),
    events.MetricsLogged(1.0, "a", 1, {"m": Series(1, 0.5, 0.5, (Point(0.5, None, 1.0),))}),
    events.ParamsLogged(1.0, "a", 1, {"p": None}),
    events.ArtifactLogged(1.0, "a", 1, "n", Artifact("html", "@x", {"a": 1})),
    events.RunFinished(1.0, "r", "failed", 1.0, "E"),
]


def test_every_kind_comes_back_from_its_line() -> None:
    """Whatever it holds."""
    assert [type(event) for event in EXAMPLES] == list(KINDS)
    assert [read_event(event_line(event)) for event in EXAMPLES] == EXAMPLES
    with pytest.raises(LoadError):
        read_event('{"event": "Nothing"}')


# --- prints --------------------------------------------------------------------------------------


def test_five_thousand_prints(tmp_path: Path) -> None:
    """Every line, in order, in few events; the log is whole though the events' file holds the beginning alone."""
    heard: list[events.Event] = []

    def loud() -> None:
        for number in range(5000):
            print("line", number, "of many", "." * 20)

    grandpa_kfp.run(Workflow(lambda: Node(loud)()), on_event=heard.append, root=tmp_path)
    lines = printed(heard)["loud"].splitlines()
    assert [int(line.split()[1]) for line in lines] == list(range(5000))
    assert len(heard) < 2500
    run = read_run(tmp_path)
    assert run.folder is not None
    assert printed_by(run.folder, "loud").splitlines() == lines
    assert len(printed(read_events(run))["loud"]) <= MOST_EVENT_BYTES


def test_a_log_is_bounded(tmp_path: Path) -> None:
    """And says where it ends."""

    def floods() -> None:
        for _ in range(24):
            print("x" * (MOST_BYTES // 16))
            time.sleep(0.03)

    run = grandpa_kfp.run(Workflow(lambda: Node(floods)()), root=tmp_path)
    assert run.folder is not None
    text = log_file(run.folder, "floods").read_text()
    assert MOST_BYTES < len(text) < 2 * MOST_BYTES
    assert "is not kept" in text.splitlines()[-1]


def test_what_is_printed_outside_tasks_is_nobodys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It passes as it is, and the streams are the program's own again when the run has ended."""
    before = sys.stdout, sys.stderr

    def leaves() -> None:
        thread = threading.Thread(target=print, args=("a thread without the task's context",))
        thread.start()
        thread.join()
        print(sys.stdout.isatty(), sys.stdout.encoding)
        sys.stdout.writelines(["a\n", "b\n"])
        sys.stdout.buffer.write(b"bytes\n") if hasattr(sys.stdout, "buffer") else print("bytes")

    grandpa_kfp.run(Workflow(lambda: Node(leaves)()), root=tmp_path)
    assert (sys.stdout, sys.stderr) == before
    out = capsys.readouterr().out
    assert "\na thread without" in f"\n{out}"
    for line in ("a", "b", "bytes"):
        assert f"leaves | {line}\n" in out


def test_a_bar_that_overwrites_its_line_is_kept_as_it_looked_last(tmp_path: Path) -> None:
    """Carriage returns, as other libraries' bars print them."""

    def bars() -> None:
        for percent in range(0, 101, 10):
            sys.stderr.write(f"\r{percent}%")
        sys.stderr.write("\n")

    run = grandpa_kfp.run(Workflow(lambda: Node(bars)()), root=tmp_path)
    assert run.folder is not None
    assert printed_by(run.folder, "bars") == "100%\n"


def test_a_run_inside_a_task_prints_as_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names before each other."""

    def outer() -> Any:
        return grandpa_kfp.run(doubled, record=False).value

    grandpa_kfp.run(Workflow(lambda: Node(outer)()), root=tmp_path)
    assert "outer | double | doubling\n" in capsys.readouterr().out


# --- progress bars, displays -------------------------------------------------------------------------


def test_a_bar_tells_some_events_a_second(tmp_path: Path) -> None:
    """However often it is updated, from whichever thread."""
    heard: list[events.Event] = []

    def counts() -> None:
        with ProgressBar("n") as bar:
            for _ in range(100_000):
                bar.update()

    begun = time.monotonic()
    grandpa_kfp.run(Workflow(lambda: Node(counts)()), on_event=heard.append, root=tmp_path)
    told = [event for event in heard if isinstance(event, events.ProgressMade)]
    assert told[-1].bars["n"].done == 100_000
    assert len(told) <= 12 * (time.monotonic() - begun) + 4


@pytest.mark.parametrize(("name", "total"), [("", 1), ("a\nb", 1), (3, 1), ("x", -1), ("x", "many")])
def test_a_wrong_bar(name: Any, total: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ProgressBar(name, total)


def test_the_live_display_shows_tasks_bars_and_counts() -> None:
    """In a wide terminal and in a narrow one, never a line that breaks."""
    from rich.console import Console

    from grandpa_kfp.cli.live import LiveProgress

    for width in (100, 40):
        file = io.StringIO()
        console = Console(file=file, width=width, height=20, force_terminal=True, color_system=None)
        live = LiveProgress(console)
        names = tuple(f"a-task-with-a-long-name-{number}" for number in range(2, 30))
        live(events.RunStarted(0.0, "r", "flow", names))
        for name in names[:12]:
            live(events.TaskStarted(0.0, name, 1))
        live(
            events.ProgressMade(0.0, names[2], 1, {"epochs": Bar(3.0, 10.0, 0.0, 3.0), "rows": Bar(5.0, 0.0, 0.0, 1.0)})
        )
        live(events.TaskFinished(0.0, names[0], 1, 0.5, {}))
        live(events.TaskFailed(0.0, names[1], 1, 0.5, "E: x", ""))
        live(events.TaskCached(0.0, names[20], {}))
        file.truncate(0)
        console.print(live)
        lines = file.getvalue().replace("\0", "").splitlines()
        assert all(len(line) <= width for line in lines)
        assert any("epochs 3/10" in line for line in lines)
        assert "3/28 tasks, 1 cached, 1 failed" in lines[-1]
        assert lines[-2].strip() == "and 2 more"
        assert len(lines) <= 10


def test_what_tasks_print_stands_above_the_live_display() -> None:
    """Whole lines, whatever is in them; the streams are what they were when it has ended."""
    from rich.console import Console

    from grandpa_kfp.cli.live import LiveProgress

    before = sys.stdout, sys.stderr
    file = io.StringIO()
    with LiveProgress(Console(file=file, width=60, force_terminal=True)):
        sys.stderr.write("[red]no markup[/red] \x1b[32mgreen\x1b[0m")
        sys.stderr.write(" line\nrest")
    assert (sys.stdout, sys.stderr) == before
    assert "[red]no markup[/red] \x1b[32mgreen\x1b[0m line\n" in file.getvalue()
    assert "rest\n" in file.getvalue()


def test_plain_lines_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """Thousands of tasks leave some hundred lines; failures are all told."""
    from grandpa_kfp.cli.progress import PlainProgress

    plain = PlainProgress()
    plain(events.RunStarted(0.0, "r", "flow", tuple(map(str, range(5000)))))
    for number in range(5000):
        event: events.Event = events.TaskFinished(0.0, str(number), 1, 0.001, {})
        plain(events.TaskFailed(0.0, str(number), 1, 0.1, "E: x", "") if number % 1000 == 999 else event)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 1000
    assert sum("failed" in line for line in lines) == 5
    assert any("others" in line for line in lines)


def test_time_left_is_estimated_from_what_tasks_of_the_name_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing as long as most of what waits has never been measured."""
    from grandpa_kfp.cli import tally

    now = [0.0]
    monkeypatch.setattr(tally.time, "monotonic", lambda: now[0])
    counts = tally.Tally()
    counts(events.RunStarted(0.0, "r", "flow", ("a", "a-2", "a-3", "b", "b-2", "b-3", "b-4", "b-5")))
    counts(events.TaskStarted(0.0, "a", 1))
    now[0] = 10.0
    counts(events.TaskFinished(0.0, "a", 1, 10.0, {}))
    assert counts.left_s() is None
    for name in ("b", "b-2", "b-3", "b-4", "b-5"):
        counts(events.TaskStarted(0.0, name, 1))
        counts(events.TaskFinished(0.0, name, 1, 0.0, {}))
    assert counts.left_s() == pytest.approx(20.0)


def test_a_task_that_asks_shows_its_question(project: Project) -> None:
    """`input` and debuggers: the lines before it, then the question, though its line has not ended."""
    project.flow("""
        @Node
        def asks() -> str:
            print("a line before")
            return input("your name? ")

        @Workflow
        def flow():
            return asks()
    """)
    done = project.process("run", "flow.py", typed="Ada\n")
    assert (done.code, done.out) == (0, "'Ada'\n"), done.err
    assert done.err.startswith("asks | a line before\nyour name? ")
