"""Code that is not what was packed, or for another Python: refused in the task before anything of it is run."""

from __future__ import annotations

import re
import sys

import pytest
from command_line import Project, says

FLOW = """
from pathlib import Path
import os
if "T_LOADED" in os.environ:
    Path(os.environ["T_LOADED"]).write_text("loaded")

@Node
def one(x: int) -> int:
    return x

@Workflow
def flow(x: int = 1):
    return one(x)
"""
SCALED = """
def scaled(k):
    return Node(lambda x: k * x)
"""
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def compiled(project: Project) -> Project:
    project.flow(FLOW)
    assert project.grandpa("compile", "flow.py").code == 0
    (project.folder / "flow.py").unlink()
    return project


def text_of(project: Project) -> str:
    return (project.folder / "flow.yaml").read_text(encoding="utf-8")


def variable(text: str, name: str) -> str:
    """The value of an environment variable in the YAML."""
    found = re.search(rf'name: {name}\W+value: "?([^"\s}}]+)', text)
    assert found is not None
    return found[1]


def refused(project: Project, text: str, *parts: str) -> None:
    """The task fails with the message, and the user's module was never imported."""
    project.write("other.yaml", text)
    loaded = project.folder / "loaded"
    says(project.process("run", "other.yaml", env={"T_LOADED": str(loaded)}), 3, "one failed", *parts)
    assert not loaded.exists()


def test_the_code_as_it_was_packed(compiled: Project) -> None:
    """What the others are held against: the module is imported, without its source at hand."""
    loaded = compiled.folder / "loaded"
    ended = compiled.process("run", "flow.yaml", env={"T_LOADED": str(loaded)})
    assert (ended.code, ended.value, loaded.exists()) == (0, 1, True), ended.err


def test_a_wrong_hash(compiled: Project) -> None:
    text = text_of(compiled)
    right = variable(text, "GRANDPA_CODE_SHA256")
    refused(compiled, text.replace(right, "0" * 64), "SHA-256", right, "compile the pipeline again")


def test_other_code_under_the_same_hash(compiled: Project) -> None:
    """Somebody's own zip in the place of the packed one."""
    from grandpa_kfp_runtime.code.payload import decode_code_env, encode_code_env

    text = text_of(compiled)
    code = variable(text, "GRANDPA_CODE")
    packed = decode_code_env(code)
    other = encode_code_env(packed.replace(b"return x\n", b"return 7\n"))
    assert other != code
    refused(compiled, text.replace(code, other), "SHA-256", "compile the pipeline again")


@pytest.mark.parametrize("change", ["cut", "changed", "no base64", "empty"])
def test_damaged_code(compiled: Project, change: str) -> None:
    """In whichever way, the message says to compile again."""
    text = text_of(compiled)
    code = variable(text, "GRANDPA_CODE")
    middle = len(code) // 2
    other = {
        "cut": code[: middle // 4 * 4],
        "changed": code[:middle] + ("A" if code[middle] != "A" else "B") + code[middle + 1 :],
        "no base64": "&" + code[1:],
        "empty": "",
    }[change]
    refused(
        compiled,
        text.replace(code, other),
        "compile the pipeline again" if change != "empty" else "GRANDPA_CODE is empty",
    )


def test_another_python_minor(project: Project) -> None:
    """A node that travels by value: both versions, and the ways out."""
    project.flow(FLOW.replace("return one(x)", "return scaled(3)(x)") + SCALED)
    assert project.grandpa("compile", "flow.py").code == 0
    text = text_of(project)
    assert f'"{HERE}"' in text
    ways_out = (f"compile with Python {HERE}", "--image", "top of a module")
    project.write("other.yaml", text.replace(f'"{HERE}"', '"3.9"'))
    says(project.process("run", "other.yaml"), 3, "lambda failed", "by Python 3.9", HERE, *ways_out)


def test_modules_travel_as_source_to_any_python(compiled: Project) -> None:
    compiled.write("other.yaml", text_of(compiled).replace(f'"{HERE}"', '"3.9"'))
    assert compiled.process("run", "other.yaml").value == 1


def test_another_version_of_the_contract(compiled: Project) -> None:
    """An image of another age than the compiler's."""
    text = text_of(compiled)
    changed = re.sub(r'(--contract"?,\s*"?|- "?--contract"?\n\s*- "?)1\b', r"\g<1>99", text)
    assert changed != text
    compiled.write("other.yaml", changed)
    ended = compiled.process("run", "other.yaml")
    assert ended.code in (1, 3)
    says(ended, ended.code, "99", "contract")


def test_code_that_lies_damaged_in_the_store(compiled: Project) -> None:
    """`--code task`: the first task puts it there, and the others check what they get."""
    compiled.flow(FLOW.replace("def one(x: int) -> int:", "def one(x: int) -> int:\n    import os"))
    assert compiled.grandpa("compile", "flow.py", "--code", "task").code == 0
    assert compiled.process("run", "flow.yaml").code == 0
    (stored,) = compiled.objects()
    content = stored.read_bytes()
    stored.chmod(0o600)
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    says(compiled.process("run", "flow.yaml"), 3, "one failed", "is damaged", str(stored))
    stored.unlink()
    assert compiled.process("run", "flow.yaml").value == 1
