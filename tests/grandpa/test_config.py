"""The configuration: where a value comes from, what is refused, and with which line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp.config import KEYS, settings_for
from grandpa_kfp.config.secrets import holds_secret, names_secret
from grandpa_kfp.config.toml_lines import line_of, lines_of, parse_toml
from grandpa_kfp_runtime.errors import ConfigError

FULL = """\
store = "s3://project/x"
image = "project:1"
threads = 3
default_profile = "staging"

[profile.staging]
image = "staging:1"
store = "s3://staging/x"

[profile.prod]
image = "prod:1"

[workflows.train]
image = "train:1"

[workflows.train.parameters]
epochs = 5
"""


def project(tmp_path, text, name="grandpa.toml"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / "flow.py"


def faults(tmp_path, text, name="grandpa.toml", **options):
    with pytest.raises(ConfigError) as caught:
        settings_for(project(tmp_path, text, name), "train", environ={}, **options)
    return str(caught.value).splitlines()


def chosen(settings, name="image"):
    found = settings.chosen[name]
    return found.value, found.source


# --- precedence ---


def test_the_command_line_comes_first(tmp_path):
    """Before the environment, which comes before all that the file says."""
    file = project(tmp_path, FULL)
    environ = {"GRANDPA_IMAGE": "environment:1"}
    settings = settings_for(file, "train", given={"image": "mine:1"}, environ=environ)
    assert chosen(settings) == ("mine:1", "command line")
    assert chosen(settings_for(file, "train", environ=environ)) == ("environment:1", "GRANDPA_IMAGE")


def test_workflow_before_profile_before_project_before_default(tmp_path):
    """Each value says where it stands."""
    settings = settings_for(project(tmp_path, FULL), "train", environ={})
    assert chosen(settings, "image") == ("train:1", "workflow train, grandpa.toml:14")
    assert chosen(settings, "store") == ("s3://staging/x", "profile staging, grandpa.toml:8")
    assert chosen(settings, "threads") == (3, "project, grandpa.toml:3")
    assert chosen(settings, "code") == ("auto", "default")
    assert settings.given("image", "threads", "code") == {"image": "train:1", "threads": 3}


def test_another_workflow_has_nothing_of_it(tmp_path):
    """Neither options nor parameters."""
    settings = settings_for(project(tmp_path, FULL), "predict", environ={})
    assert chosen(settings) == ("staging:1", "profile staging, grandpa.toml:7")
    assert settings.parameters == {}


@pytest.mark.parametrize(
    ("asked", "environ", "image"),
    [
        (None, {}, "staging:1"),
        (None, {"GRANDPA_PROFILE": "prod"}, "prod:1"),
        ("staging", {"GRANDPA_PROFILE": "prod"}, "staging:1"),
        ("prod", {}, "prod:1"),
    ],
)
def test_which_profile_holds(tmp_path, asked, environ, image):
    """--profile, then GRANDPA_PROFILE, then default_profile."""
    settings = settings_for(project(tmp_path, FULL), "predict", profile=asked, environ=environ)
    assert chosen(settings)[0] == image


def test_a_workflow_names_its_own_profile(tmp_path):
    """Before the project's."""
    file = project(tmp_path, FULL + '[workflows.predict]\ndefault_profile = "prod"\n')
    assert settings_for(file, "predict", environ={}).profile == "prod"


def test_a_workflow_named_with_its_file_comes_before_its_name_alone(tmp_path):
    """Two files may each have a workflow called train."""
    text = FULL + '[workflows."flow.py:train"]\nimage = "exact:1"\n[workflows."flow.py:train".parameters]\nlr = 0.1\n'
    settings = settings_for(project(tmp_path, text), "train", environ={})
    assert chosen(settings)[0] == "exact:1"
    assert {name: item.value for name, item in settings.parameters.items()} == {"lr": 0.1, "epochs": 5}
    assert chosen(settings_for(tmp_path / "other.py", "train", environ={}))[0] == "train:1"


def test_pyproject_holds_it_as_well(tmp_path):
    """Under [tool.grandpa], with its own lines; the rest of the file is nobody's business here."""
    text = '[project]\nname = "x"\n[tool.other]\nimgae = 1\n'
    text += '[tool.grandpa]\nimage = "a:1"\n[tool.grandpa.profile.p]\nepoch = 2\n'
    settings = settings_for(project(tmp_path, text, "pyproject.toml"), profile="p", environ={})
    assert chosen(settings) == ("a:1", "project, pyproject.toml:6")
    assert chosen(settings, "epoch") == (2, "profile p, pyproject.toml:8")
    assert settings.file == tmp_path / "pyproject.toml"


def test_two_configurations_are_one_too_many(tmp_path):
    """An empty grandpa.toml, which only marks the root, is none."""
    project(tmp_path, '[tool.grandpa]\nimage = "a:1"\n', "pyproject.toml")
    assert chosen(settings_for(project(tmp_path, "# the root\n"), environ={}))[0] == "a:1"
    assert "keep one of them" in faults(tmp_path, 'image = "b:1"\n')[0]


def test_without_a_configuration_there_are_the_defaults(tmp_path):
    """And no file."""
    settings = settings_for(tmp_path / "flow.py", environ={})
    assert settings.file is None
    assert settings.given(*settings.chosen) == {}


# --- the environment ---


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("threads", "3", 3),
        ("bootstrap", "TRUE", True),
        ("record", "off", False),
        ("include", "a/*.csv, b.txt", ["a/*.csv", "b.txt"]),
        ("tags", "team=x,cost=1", {"team": "x", "cost": "1"}),
        ("code", "inline", "inline"),
    ],
)
def test_variables_are_read_by_the_kind_of_their_key(tmp_path, key, text, value):
    """As what the file would hold."""
    settings = settings_for(tmp_path / "flow.py", environ={KEYS[key].environment: text})
    assert chosen(settings, key) == (value, KEYS[key].environment)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("GRANDPA_THREADS", "four", "GRANDPA_THREADS must be a whole number"),
        ("GRANDPA_THREADS", "0", "GRANDPA_THREADS must be at least 1"),
        ("GRANDPA_WAIT", "perhaps", "GRANDPA_WAIT must be true or false"),
        ("GRANDPA_CODE_MODE", "zip", "GRANDPA_CODE_MODE must be one of auto, inline, task, store, not 'zip'"),
        ("GRANDPA_TAGS", "team", "GRANDPA_TAGS must be NAME=VALUE,NAME=VALUE"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path, name, text, said):
    """With what it must be."""
    with pytest.raises(ConfigError) as caught:
        settings_for(tmp_path / "flow.py", environ={name: text})
    assert str(caught.value) == said


def test_what_a_container_travels_in_is_no_setting(tmp_path):
    """GRANDPA_CODE holds a zip there, GRANDPA_PYTHON a version."""
    environ = {"GRANDPA_CODE": "KLUv/QBYAQAA", "GRANDPA_PYTHON": "3.12"}
    assert settings_for(tmp_path / "flow.py", environ=environ).given("code", "python") == {}


# --- what is refused ---


def test_every_fault_is_told_at_once_in_the_order_of_lines(tmp_path):
    """Each with its line and what to write instead."""
    text = 'imgae = "x"\nthreads = "four"\ndefault_profile = "stagin"\n'
    text += '[profile.staging]\nname = "x"\n[workflows.train]\nepochs = 3\n'
    found = faults(tmp_path, text)
    assert found[:3] == [
        "grandpa.toml:1: there is no key 'imgae'; did you mean 'image'?",
        "grandpa.toml:2: threads must be a whole number, but is a text",
        "grandpa.toml:3: there is no profile 'stagin'; did you mean 'staging'?",
    ]
    assert found[3] == "grandpa.toml:5: name cannot stand here, only under [workflows.NAME]"
    assert found[4].startswith("grandpa.toml:7: there is no key 'epochs'")
    assert found[4].endswith("a parameter belongs under [workflows.train.parameters]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.x]\nimage = "a"\n', "grandpa.toml:1: there is no key 'profiles'; did you mean 'profile'?"),
        ('profile = "x"\n', "grandpa.toml:1: profile must hold tables, [profile.NAME], but is a text; "),
        ("[profile]\nimage = 1\n", "grandpa.toml:2: profile.image must be a table, but is a whole number"),
        ("[workflows.train]\nparameters = 3\n", "grandpa.toml:2: parameters must be a table"),
        ("bootstrap = 1\n", "grandpa.toml:1: bootstrap must be true or false, but is a whole number"),
        ("epoch = -1\n", "grandpa.toml:1: epoch must be at least 0"),
        ("tags = {a = 1}\n", "grandpa.toml:1: tags must be a table of texts, but holds a whole number"),
        ("\n\ninclude = [\n 1,\n]\n", "grandpa.toml:3: include must be a list of texts, but holds a whole number"),
        ('pull_policy = "always"\n', "grandpa.toml:1: pull_policy must be one of Always, IfNotPresent, Never"),
        ("threads = \n", "grandpa.toml: this is no TOML: "),
    ],
)
def test_one_fault(tmp_path, text, said):
    """Its line and what was wanted."""
    (found,) = faults(tmp_path, text)
    assert found.startswith(said)


def test_a_profile_that_is_not_there(tmp_path):
    """The nearest is suggested."""
    (found,) = faults(tmp_path, FULL, profile="prd")
    assert found.startswith("--profile prd: there is no profile 'prd'; did you mean 'prod'?")


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f'hf_token = "{SECRET}"\n',
        f'[profile.x]\nsecret_key = "{SECRET}"\n',
        f'store = "s3://bucket/x?endpoint=http://minio:9000&secret_key={SECRET}"\n',
        f'endpoint = "https://me:{SECRET}@kubeflow"\n',
        f'store = "s3://bucket/x?endpoint=http://me:{SECRET}@minio:9000"\n',
        f'[workflows.train.parameters]\ndb_password = "{SECRET}"\n',
        f'[workflows.train.parameters]\nsource = "postgres://me:{SECRET}@db/x"\n',
    ],
)
def test_a_secret_is_refused_and_never_repeated(tmp_path, text):
    """The message says where it belongs."""
    (found,) = faults(tmp_path, text)
    assert found.startswith(f"grandpa.toml:{text.count(chr(10))}: ")
    assert "secrets are never written here" in found
    assert SECRET not in found


def test_a_secret_in_a_variable_is_refused_and_never_repeated(tmp_path):
    """It would end in a YAML."""
    with pytest.raises(ConfigError, match="GRANDPA_STORE holds a password") as caught:
        settings_for(tmp_path / "flow.py", environ={"GRANDPA_STORE": f"s3://b/x?access_key=a&secret_key={SECRET}"})
    assert SECRET not in str(caught.value)


def test_names_that_only_sound_like_secrets():
    """Of the Kubernetes secret the name alone is written, and a count of tokens is none."""
    assert [name for name in ("max_tokens", "token_type", "tokenizer", "keyboard", "key") if names_secret(name)] == []
    assert not holds_secret(KEYS["store"].default)


# --- lines ---

names = st.text("abcé. -'\"\\#=[]", min_size=1, max_size=6)
trees = st.recursive(
    st.one_of(st.integers(), st.text('ab"#[=\n', max_size=8), st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def _toml(table, path=()):
    """A tree as TOML, one statement a line, and the line of each path."""
    import json

    def quoted(name):
        return json.dumps(name, ensure_ascii=False)

    out = []
    for name, value in table.items():
        if not isinstance(value, dict):
            out.append(((*path, name), f"{quoted(name)} = {json.dumps(value, ensure_ascii=False)}  # a = [\n"))
    for name, value in table.items():
        if isinstance(value, dict):
            header = ".".join(map(quoted, (*path, name)))
            out.append(((*path, name), f"[{header}] # b = 1\n"))
            out += _toml(value, (*path, name))
    return out


@given(st.dictionaries(names, trees, max_size=3))
def test_lines_agree_with_the_parser(tree):
    """Whatever keys, values and comments hold."""
    statements = _toml(tree)
    text = "".join(line for _, line in statements)
    assert parse_toml(text) == tree
    expected = {path: number for number, (path, _) in enumerate(statements, 1)}
    assert lines_of(text) == expected


def test_values_over_several_lines_hide_no_key_behind_them():
    """Texts, lists and inline tables."""
    text = 'a = """\n[x]\nb = 1 \\"""\n"""\nc = [ # ]\n  "]",\n  [1],\n]\n'
    text += "d = '''\ne = 1'''\nf = {g = 1}\r\n\n\n[h]\ni.j = 2\n"
    found = lines_of(text)
    assert (found[("c",)], found[("d",)], found[("f",)], found[("h", "i", "j")]) == (5, 9, 11, 15)
    assert line_of(found, ("f", "g")) == 11
    assert ("b",) not in found
