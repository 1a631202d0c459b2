"""Every key of the configuration. A key that is not here is a fault in the file.

`reading` checks against it, `settings` resolves it, `grandpa config` lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from grandpa_kfp_compiler.kfp.options import CODE_MODES, DEFAULT_SECRET, DEFAULT_STORE, MODES

Kind = Literal["text", "number", "amount", "switch", "list", "table", "amounts"]
Place = Literal["project", "profile", "workflow"]
EVERYWHERE: tuple[Place, ...] = ("project", "profile", "workflow")
_KINDS: dict[Kind, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a text"),
    "number": ((int,), "a whole number"),
    "amount": ((int, str), "a whole number or a text"),
    "switch": ((bool,), "true or false"),
    "list": ((list,), "a list of texts"),
    "table": ((dict,), "a table of texts"),
    "amounts": ((dict,), "a table of numbers and texts"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key. default: what holds where nothing is said; told: that in words, where it is no plain value.

    variable: its environment variable, by default GRANDPA_ and the name. least: of a number. places: where it
    may stand.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    told: str = ""
    choices: tuple[str, ...] = ()
    least: int | None = None
    variable: str = ""
    places: tuple[Place, ...] = EVERYWHERE

    @property
    def environment(self) -> str:
        return self.variable or f"GRANDPA_{self.name.upper()}"

    def fault(self, value: Any) -> str:
        """What is wrong with a value, empty for nothing.

        >>> KEYS["threads"].fault("four"), KEYS["threads"].fault(0), KEYS["threads"].fault(4)
        ('must be a whole number, but is a text', 'must be at least 1', '')
        """
        kinds, told = _KINDS[self.kind]
        if type(value) not in kinds:
            return f"must be {told}, but is {kind_of(value)}"
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        held: tuple[type, ...] = (int, float, str) if self.kind == "amounts" else (str,)
        for item in items:
            if type(item) not in held:
                return f"must be {told}, but holds {kind_of(item)}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}, not {value!r}"
        if self.least is not None and isinstance(value, int) and value < self.least:
            return f"must be at least {self.least}"
        return ""

    def parse(self, text: str) -> Any:
        """The value of an environment variable's text. Raises ValueError that says what is wanted.

        >>> KEYS["tags"].parse("team=vision,cost=12"), KEYS["bootstrap"].parse("on")
        ({'team': 'vision', 'cost': '12'}, True)
        """
        value: Any = text
        if self.kind == "number":
            try:
                value = int(text)
            except ValueError:
                raise ValueError("must be a whole number") from None
        elif self.kind == "switch":
            value = _SWITCH.get(text.strip().lower())
            if value is None:
                raise ValueError("must be true or false")
        elif self.kind == "list":
            value = [item.strip() for item in text.split(",") if item.strip()]
        elif self.kind in ("table", "amounts"):
            pairs = [item.partition("=") for item in text.split(",") if item.strip()]
            if not all(equals for _, equals, _ in pairs):
                raise ValueError("must be NAME=VALUE,NAME=VALUE")
            value = {name.strip(): item.strip() for name, _, item in pairs}
        if fault := self.fault(value):
            raise ValueError(fault)
        return value


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def kind_of(value: Any) -> str:
    """A TOML value in words: its type alone, since the value may be what nobody should read."""
    for kind, told in ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a text")):
        if isinstance(value, kind):
            return told
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else "a date or time"


_ALL = (
    Key(
        "default_profile",
        "text",
        "the profile that holds where --profile names none",
        variable="GRANDPA_PROFILE",
        places=("project", "workflow"),
    ),
    # compile, deploy
    Key("image", "text", "the image of every node that names none itself", told="the released runtime"),
    Key("store", "text", "where values go in the cluster", DEFAULT_STORE),
    Key("secret", "text", "the Kubernetes secret with the store's keys: its name alone", DEFAULT_SECRET),
    # GRANDPA_CODE is what a container's code travels in
    Key("code", "text", "how the code reaches its tasks", "auto", choices=CODE_MODES, variable="GRANDPA_CODE_MODE"),
    Key("fuse", "text", "which tasks share a container", "auto", choices=MODES),
    Key("epoch", "number", "raised to make Kubeflow forget what it has cached", 0, least=0),
    Key("bootstrap", "switch", "the image is any Python; tasks install the runtime first", False),
    Key("python", "text", "the Python of the default image", told="the one at work", variable="GRANDPA_IMAGE_PYTHON"),
    Key("pull_policy", "text", "when images are pulled", choices=("Always", "IfNotPresent", "Never")),
    Key("include", "list", "more files of the project to carry along", []),
    Key("name", "text", "the pipeline's name", told="the workflow's", places=("workflow",)),
    # deploy
    Key("endpoint", "text", "the URL of the Kubeflow Pipelines server", told="found as kfp.Client finds it"),
    Key("namespace", "text", "the namespace of runs, in a multi-user Kubeflow"),
    Key("experiment", "text", "the experiment of runs", told="the server's default"),
    Key("run_name", "text", "a template for the names of runs"),
    Key("tags", "table", "put on each run", {}),
    Key("context", "text", "the kubeconfig's context", told="the current one"),
    Key("wait", "switch", "follow a run until it ends", False),
    # run
    Key("processes", "amount", "worker processes of a run on this machine: a number, or auto for one a core", 0),
    Key("threads", "number", "tasks at once in a run on this machine", told="cores and four", least=1),
    Key("memory", "amount", "shared memory for values between worker processes", told="half of the machine's"),
    Key("limits", "amounts", "what running tasks on this machine may hold together", {}, told="what the machine has"),
    Key("local_store", "text", "where values of a run on this machine go", told=".grandpa/store"),
    Key("keep_going", "switch", "after a failure go on with what does not depend on it", False),
    Key("record", "switch", "keep a record of each run on this machine in .grandpa/", True),
)
KEYS = {item.name: item for item in _ALL}
"""Every key by its name, in the order in which they are shown."""
