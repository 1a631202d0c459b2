"""Run configurations: added to what the user has, never at its expense."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp.ide import editors_in_use, entries_for, write_for
from grandpa_kfp.ide.jsonc import JsoncError, appended, is_blank, parse
from grandpa_kfp_runtime.errors import CompileError, LoadError

USERS = """\
// my own configurations
{
\t"version": "0.2.0", /* as VS Code wants it */
\t"inputs": [],
\t"configurations": [
\t\t// the server
\t\t{"name": "Server", "type": "debugpy", "request": "launch", "program": "server.py",}, // port 8000
\t\t/* {"name": "Old"} */
\t],
}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "grandpa.toml").touch()
    path = tmp_path / "flows" / "train.py"
    path.parent.mkdir()
    path.touch()
    return path


def launch_of(folder):
    return folder / ".vscode" / "launch.json"


def names(path):
    return [item["name"] for item in parse(path.read_text(encoding="utf-8")).data["configurations"]]


# --- JSON with comments ---


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": []}', '{"a": [\n    9\n]}'),
        ('{"a": [1]}', '{"a": [1,\n    9\n]}'),
        ('{\n  "a": [\n    1\n  ]\n}', '{\n  "a": [\n    1,\n    9\n  ]\n}'),
        ('{\n  "a": [\n    1,\n  ]\n}', '{\n  "a": [\n    1,\n    9,\n  ]\n}'),
        ('{\n\t"a": [\n\t\t1 // one\n\t]\n}', '{\n\t"a": [\n\t\t1, // one\n\t\t9\n\t]\n}'),
        ('{"a": [\n  1, // one\n  // two: ]\n]}', '{"a": [\n  1, // one\n  // two: ]\n  9,\n]}'),
        ('{\r\n  "a": [ ]\r\n}', '{\r\n  "a": [\r\n    9\r\n  ]\r\n}'),
        ('\ufeff{"a": [/* none */]}', '\ufeff{"a": [/* none */\n    9\n]}'),
        ('{"a": [1], "a": ["]"]}', '{"a": [1], "a": ["]",\n    9\n]}'),
    ],
)
def test_an_item_is_added_and_all_else_stays(before, after):
    """Comments, commas, indentation, line ends, a mark of byte order, a key that stands there twice."""
    found = appended(before, parse(before).members["a"], [("", 9)])
    assert found == after
    assert parse(found).data["a"] == [*parse(before).data["a"], 9]


def test_a_key_is_added_to_an_object():
    """In the file's own indentation."""
    before = '{\n  "version": "2.0.0" // v\n}\n'
    assert appended(before, parse(before), [("tasks", [{"a": 1}])]) == (
        '{\n  "version": "2.0.0", // v\n  "tasks": [\n    {\n      "a": 1\n    }\n  ]\n}\n'
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_reading_agrees_with_json(value, indent, ascii_only):
    """On everything that plain JSON can say."""
    assert parse(json.dumps(value, indent=indent, ensure_ascii=ascii_only)).data == value


@given(st.lists(values, max_size=3), st.lists(values, min_size=1, max_size=2), st.sampled_from([None, 0, 2, "\t"]))
def test_what_is_added_can_be_read_again(there, new, indent):
    """Behind what was there."""
    text = json.dumps({"a": there, "b": 1}, indent=indent)
    found = appended(text, parse(text).members["a"], [("", item) for item in new])
    assert parse(found).data == {"a": there + new, "b": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"a": }', 1), ('{"a" 1}', 1), ("[1 2]", 1), ("[,]", 1), ("{\n'a': 1}", 2), ("[1\n", 2), ("{} {}", 1),
        ("", 1), ("[\n\n// c\nnul]", 4), ('["\\q"]', 1), ("/* open", 1), ("[" * 5000, 1),
    ],
)  # fmt: skip
def test_what_is_no_json_says_its_line(text, line):
    """And never ends in a defect."""
    with pytest.raises(JsoncError, match=rf"^line {line}: "):
        parse(text)


def test_blank_is_space_and_comments():
    """As of a file that was only begun."""
    assert is_blank("\ufeff // a\n/* b */\n")
    assert not is_blank("// a\n{}")


# --- VS Code ---


def test_new_files_hold_each_workflow_four_times(file, tmp_path):
    """Debugging is launch.json's alone."""
    written = write_for("vscode", file, ["train", "predict"])
    assert written.folder == tmp_path
    assert written.added == tuple(entry.name for entry in entries_for("flows/train.py", ["train", "predict"]))
    assert names(launch_of(tmp_path)) == list(written.added)
    tasks = json.loads((tmp_path / ".vscode" / "tasks.json").read_text(encoding="utf-8"))
    assert tasks["version"] == "2.0.0"
    assert [task["label"] for task in tasks["tasks"]] == [name for name in written.added if "Debug" not in name]


def test_what_the_user_has_stays_to_the_byte(file, tmp_path):
    """All lines are there, in their order; only a place between two of them is new."""
    path = launch_of(tmp_path)
    path.parent.mkdir()
    path.write_text(USERS, encoding="utf-8")
    write_for("vscode", file, ["train"])
    after = path.read_text(encoding="utf-8")
    head, tail = USERS.split("\t],\n")
    assert after.startswith(head)
    assert after.endswith("\t],\n" + tail)
    assert names(path)[0] == "Server"
    assert len(names(path)) == 5


def test_a_second_time_changes_nothing(file, tmp_path):
    """Not even the time of the files."""
    launch_of(tmp_path).parent.mkdir()
    launch_of(tmp_path).write_text(USERS, encoding="utf-8")
    for editor in ("vscode", "pycharm"):
        write_for(editor, file, ["train"])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    for editor in ("vscode", "pycharm"):
        written = write_for(editor, file, ["train"])
        assert (written.files, written.added, len(written.kept)) == ((), (), 4)
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()
    }


def test_an_entry_that_the_user_changed_is_kept(file, tmp_path):
    """It is found by its name; a workflow that came since is added behind it."""
    write_for("vscode", file, ["train"])
    path = launch_of(tmp_path)
    path.write_text(
        path.read_text(encoding="utf-8").replace('"justMyCode": true', '"justMyCode": false'), encoding="utf-8"
    )
    changed = path.read_text(encoding="utf-8")
    written = write_for("vscode", file, ["train", "predict"])
    assert len(written.added) == len(written.kept) == 4
    assert path.read_text(encoding="utf-8").startswith(changed.rstrip()[: changed.rindex("}\n    ]")])
    assert path.read_text(encoding="utf-8").count('"justMyCode": false') == 4


@pytest.mark.parametrize("begun", ["", "// mine\n", "{}", '{"version": "0.2.0"}', '{"configurations": []}'])
def test_a_file_that_was_only_begun(file, tmp_path, begun):
    """Becomes a whole one, its comments kept."""
    launch_of(tmp_path).parent.mkdir()
    launch_of(tmp_path).write_text(begun, encoding="utf-8")
    write_for("vscode", file, ["train"])
    text = launch_of(tmp_path).read_text(encoding="utf-8")
    assert parse(text).data["version"] == "0.2.0"
    assert len(names(launch_of(tmp_path))) == 4
    assert ("// mine" in text) == ("// mine" in begun)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"configurations": [', "line 2: a value is expected"),
        ('{\n"configurations": {}\n}', "line 2: configurations must be a list"),
        ("[]", "line 1: an object is expected"),
        ("<<<<<<< HEAD\n{}", "line 1: a value is expected"),
    ],
)
def test_a_file_that_is_wrong_is_not_touched(file, tmp_path, text, said):
    """Nor is the other file written."""
    launch_of(tmp_path).parent.mkdir()
    launch_of(tmp_path).write_text(text, encoding="utf-8")
    with pytest.raises(LoadError, match=said):
        write_for("vscode", file, ["train"])
    assert launch_of(tmp_path).read_text(encoding="utf-8") == text
    assert not (tmp_path / ".vscode" / "tasks.json").exists()


def test_a_link_stays_a_link(file, tmp_path):
    """What it leads to is written."""
    real = tmp_path / "dotfiles.json"
    real.write_text("{}", encoding="utf-8")
    launch_of(tmp_path).parent.mkdir()
    launch_of(tmp_path).symlink_to(real)
    write_for("vscode", file, ["train"])
    assert launch_of(tmp_path).is_symlink()
    assert len(names(real)) == 4


def test_what_cannot_be_written_says_so(file, tmp_path):
    """A file where the folder should be."""
    (tmp_path / ".vscode").write_text("", encoding="utf-8")
    with pytest.raises((CompileError, LoadError), match="vscode"):
        write_for("vscode", file, ["train"])


# --- PyCharm ---


def test_each_entry_is_a_file_that_pycharm_reads(file, tmp_path):
    """Its options are those that PyCharm writes; names are escaped."""
    odd = tmp_path / "flows" / 'a & "b".py'
    odd.touch()
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".idea" / "the-project.iml").touch()
    written = write_for("pycharm", odd, ["train"], profile="<p>")
    assert len(written.files) == 4
    for path, name in zip(written.files, written.added, strict=True):
        assert path.parent == tmp_path / ".run"
        assert path.name.endswith(".run.xml")
        root = ElementTree.parse(path).getroot()
        (configuration,) = root
        assert (root.tag, root.get("name")) == ("component", "ProjectRunConfigurationManager")
        assert configuration.attrib == {
            "default": "false",
            "name": name,
            "type": "PythonConfigurationType",
            "factoryName": "Python",
            "folderName": 'flows/a & "b".py:train',
        }
        assert [item.get("name") for item in configuration.iter("module")] == ["the-project"]
        options = {item.get("name"): item.get("value") for item in configuration.iter("option")}
        assert options["MODULE_MODE"] == "true"
        assert options["WORKING_DIRECTORY"] == "$PROJECT_DIR$"
        assert '"flows/a & \\"b\\".py:train"' in str(options["PARAMETERS"])


def test_pycharm_files_of_the_same_name_are_kept(file, tmp_path):
    """A file of that name with another configuration in it, and a configuration of that name in another file."""
    run = tmp_path / ".run"
    run.mkdir()
    first, second, *_ = entries_for("flows/train.py", ["train"])
    mine = '<component><configuration name="{}" /></component>'
    taken = run / "train_Run_locally_flows_train.py.run.xml"
    taken.write_text(mine.format("something else"), encoding="utf-8")
    (tmp_path / ".idea" / "runConfigurations").mkdir(parents=True)
    (tmp_path / ".idea" / "runConfigurations" / "x.xml").write_text(mine.format(second.name), encoding="utf-8")
    (run / "broken.run.xml").write_text("<component", encoding="utf-8")
    written = write_for("pycharm", file, ["train"])
    assert first.name in written.added
    assert written.kept == (second.name,)
    assert taken.read_text(encoding="utf-8") == mine.format("something else")
    assert written.files[0].name == "train_Run_locally_flows_train.py-2.run.xml"


# --- where ---


def test_the_editors_folder_is_found_upward(file, tmp_path, monkeypatch):
    """A repository opened as a whole, with projects in it; never the home folder, never above the repository."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    project = tmp_path / "repo" / "projects" / "a"
    project.mkdir(parents=True)
    (project / "grandpa.toml").touch()
    (project / "flow.py").touch()
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / ".vscode").mkdir()
    assert write_for("vscode", project / "flow.py", ["f"]).folder == project
    for made in (project / ".vscode").iterdir():
        made.unlink()
    (project / ".vscode").rmdir()
    (tmp_path / "repo" / ".vscode").mkdir()
    written = write_for("vscode", project / "flow.py", ["f"])
    assert written.folder == tmp_path / "repo"
    assert "projects/a/flow.py:f" in launch_of(tmp_path / "repo").read_text(encoding="utf-8")


def test_which_editor_is_in_use(file, tmp_path):
    """Its terminal says it, else the project's folders."""
    assert editors_in_use(file, {"TERM_PROGRAM": "vscode"}) == ("vscode",)
    assert editors_in_use(file, {"TERMINAL_EMULATOR": "JetBrains-JediTerm"}) == ("pycharm",)
    assert editors_in_use(file, {}) == ()
    (tmp_path / ".idea").mkdir()
    (tmp_path / ".vscode").mkdir()
    assert editors_in_use(file, {}) == ("vscode", "pycharm")
