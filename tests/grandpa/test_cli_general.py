"""The command line as a whole: help, unknown verbs, completion, and what it leaves unimported."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CONSOLE, Project

from grandpa_kfp import __version__
from grandpa_kfp.cli.lazy import VERBS

FLOW = """
@Node
def train(x): return x
@Component
def part(x): return train(x)
@Workflow
def small(depth: int = 1, width: int = 2): return part(depth)
@Workflow
def large(rate: float = 0.5): return train(rate)
"""


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_shows_examples(project: Project, verb: str) -> None:
    """Of a group, it or a verb in it does; `-h` is told beside `--help` everywhere."""
    ended = project.grandpa(verb, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: grandpa {verb} ")
    shown = [ended.out]
    if "Commands:" in ended.out:
        inner = re.findall(r"^  (\w+)  ", ended.out.partition("Commands:\n")[2].partition("\n\n")[0], re.MULTILINE)
        shown += [project.grandpa(verb, name, "--help").out for name in inner]
    assert all("-h, --help" in text for text in shown), shown
    examples = "".join(text.partition("Options:")[2] for text in shown)
    assert f"  grandpa {verb} " in examples or f'"$(grandpa {verb} ' in examples, examples


def test_the_help_lists_every_verb_in_order(project: Project) -> None:
    """By `--help`, by `-h`, and by nothing at all."""
    ended = project.grandpa("--help")
    assert ended.code == 0
    lines = ended.out.partition("Verbs:\n")[2].splitlines()
    assert [line.split()[0] for line in lines if line[2:3].strip()][: len(VERBS)] == list(VERBS)
    assert project.grandpa("-h").out == ended.out
    assert "Verbs:" in project.grandpa().out + project.grandpa().err


def test_an_unknown_verb_suggests_the_nearest(project: Project) -> None:
    """Wrong usage is 2; a file without a verb is told what is missing."""
    project.flow(FLOW)
    for args, part in (
        (("rum", "flow.py"), "there is no verb 'rum'; did you mean run?"),
        (("zzzz",), "the verbs are run, compile, check, plan, graph"),
        (("flow.py",), "'flow.py' is a file; say what to do with it: grandpa run flow.py"),
        (("flow.py:small",), "say what to do with it: grandpa run flow.py:small"),
    ):
        ended = project.grandpa(*args)
        assert (ended.code, ended.out) == (2, "")
        assert part in ended.errors[0]
        assert "try: grandpa --help" in ended.err


def test_an_unknown_option_is_wrong_usage(project: Project) -> None:
    """The message names it, and where to look."""
    ended = project.grandpa("run", "flow.py", "--paralel")
    assert (ended.code, ended.out) == (2, "")
    assert "--paralel" in ended.errors[0]
    assert "try: grandpa run --help" in ended.err


def test_the_version_names_the_python(project: Project) -> None:
    """Both matter to whoever reads a report."""
    ended = project.grandpa("--version")
    assert (ended.code, ended.out) == (0, f"grandpa-kfp {__version__} (Python {platform.python_version()})\n")


def test_the_module_runs_as_the_command_does() -> None:
    """`python -m grandpa_kfp`, for editors."""
    done = subprocess.run(
        [sys.executable, "-m", "grandpa_kfp", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(f"grandpa-kfp {__version__}")


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["completion", "bash"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    """It comes at once, since neither verbs' modules nor what they need are loaded."""
    code = (
        "import json, sys\nfrom grandpa_kfp.cli import main\n"
        f"try: main({args!r})\nfinally: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stderr))
    heavy = {"kfp", "rich", "numpy", "pandas", "yaml", "minio", "kubernetes", "jinja2", "cloudpickle", "zstandard"}
    assert not loaded & heavy
    assert not loaded & {f"grandpa_kfp.cli.{verb}" for verb in VERBS if verb not in args}
    assert not loaded & {"grandpa_kfp_compiler.graph", "grandpa_kfp.authoring.tracing", "grandpa_kfp.engine.execute"}


# --- completion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "marks"),
    [
        ("bash", ("complete -o nosort -F", "_GRANDPA_COMPLETE=bash_complete", "COMP_WORDBREAKS", "~/.bashrc")),
        ("zsh", ("#compdef grandpa", "_GRANDPA_COMPLETE=zsh_complete", "~/.zshrc")),
        ("fish", ("complete --no-files --command grandpa", "_GRANDPA_COMPLETE=fish_complete", "completions/grandpa")),
    ],
)
def test_a_completion_script_says_how_to_install_it(project: Project, shell: str, marks: tuple[str, ...]) -> None:
    """On its first line; standard output holds the script alone."""
    ended = project.grandpa("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("# ")
    for mark in marks:
        assert mark in ended.out
    assert marks[-1] in ended.out.splitlines()[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_of_its_language(project: Project, shell: str) -> None:
    """The shell itself reads it, where it is installed."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")
    file = project.write("script", project.grandpa("completion", shell).out)
    done = subprocess.run([program, "-n", file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_wrong_usage(project: Project) -> None:
    """The known ones are named."""
    ended = project.grandpa("completion", "tcsh")
    assert ended.code == 2
    assert "bash" in ended.errors[0]


def completed(project: Project, *words: str) -> list[str]:
    """What bash offers for the last word, by the script and a `grandpa` on its path."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    program = project.write("bin/grandpa", f'#!/bin/sh\nexec "{sys.executable}" -c "{CONSOLE}" "$@"\n')
    program.chmod(0o755)
    script = project.write("completion.bash", project.grandpa("completion", "bash").out)
    asked = f"""
    source '{script}'
    case $COMP_WORDBREAKS in *[:=]*) echo 'bash takes words apart at : or ='; exit 1;; esac
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _grandpa_completion grandpa
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [bash, "--norc", "-c", asked, "bash", "grandpa", *words],
        cwd=project.folder,
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def test_bash_completes_verbs_files_names_and_parameters(project: Project) -> None:
    """Files are read, not run; workflows come before components and nodes."""
    project.flow("raise SystemExit('imported')\n" + FLOW)
    project.write("notes.txt", "")
    project.write("flows/other.py", "")
    assert completed(project, "com") == ["compile", "completion"]
    assert "--threads" in completed(project, "run", "flow.py", "--th")
    assert completed(project, "run", "fl") == ["flow.py", "flows/"]
    assert completed(project, "run", "flow.py:") == [f"flow.py:{name}" for name in ("small", "large", "part", "train")]
    assert completed(project, "run", "flow.py:la") == ["flow.py:large"]
    assert completed(project, "run", "flow.py:small", "-p", "") == ["depth=", "width="]
    assert completed(project, "compile", "flow.py:large", "-p", "r") == ["rate="]
    assert completed(project, "run", "flow.py", "--force", "") == ["train"]


def test_completion_of_a_file_that_does_not_parse_offers_nothing(tmp_path: Path) -> None:
    """Half-written files are what it meets all day."""
    from grandpa_kfp.cli.completing import complete_file, complete_parameter

    file = tmp_path / "half.py"
    file.write_text("@Workflow\ndef flow(:")
    assert complete_file(f"{file}:") == []
    assert complete_parameter(str(file), "") == []
    assert complete_file(f"{tmp_path}/nowhere/x") == []
