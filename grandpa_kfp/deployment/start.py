"""Starts a run in its experiment: name from a template, parameters, and what is recorded with it.

KFP's runs have no tags, so tags, the commit and our version stand in the run's description: readable text,
and one line of JSON that `remote` reads back.
"""

from __future__ import annotations

import json
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grandpa_kfp_runtime.errors import DeployError, ParameterError

from .git import Commit
from .server import Server
from .upload import Version

DEFAULT_EXPERIMENT = "Default"
DEFAULT_RUN_NAME = "{pipeline}-{time}"
_MARK = "grandpa: "
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Provenance:
    """What is recorded with a run. tags: by name; commit: None outside of a repository."""

    tags: Mapping[str, str] = field(default_factory=dict)
    commit: Commit | None = None
    version: str = ""
    store: str = ""

    def description(self) -> str:
        """The run's description."""
        lines = [f"{name}={value}" for name, value in sorted(self.tags.items())]
        facts: dict[str, Any] = {"version": self.version, "store": self.store, "tags": dict(sorted(self.tags.items()))}
        if self.commit is not None:
            lines.append(f"git {self.commit.sha}{' with changes' if self.commit.dirty else ''}")
            facts["git"] = {"commit": self.commit.sha, "dirty": self.commit.dirty}
        return "\n".join((*lines, _MARK + json.dumps(facts, ensure_ascii=False, sort_keys=True)))

    @classmethod
    def of_description(cls, text: str) -> Provenance:
        """What `description` wrote; empty for a run of other making.

        >>> Provenance.of_description(Provenance({"team": "a"}, Commit("b" * 40, True)).description()).commit.dirty
        True
        """
        line = next((item for item in text.splitlines() if item.startswith(_MARK)), "")
        try:
            facts = json.loads(line.removeprefix(_MARK))
            git = facts.get("git")
            commit = Commit(git["commit"], bool(git["dirty"])) if git else None
            tags = {str(name): str(value) for name, value in facts.get("tags", {}).items()}
            return cls(tags, commit, str(facts.get("version", "")), str(facts.get("store", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


def run_name(template: str, pipeline: str, params: Mapping[str, Any], commit: Commit | None, now: float) -> str:
    """A run's name. Fields: `{pipeline}`, `{time}`, `{date}`, `{git}` and the workflow's parameters.

    Raises ParameterError for a field that does not exist.

    >>> run_name("{pipeline} lr={rate} {date}", "train", {"rate": 0.1}, None, 0.0)
    'train lr=0.1 1970-01-01'
    """
    moment = time.gmtime(now)
    known = {
        **{name: str(value) for name, value in params.items()},
        "pipeline": pipeline,
        "time": time.strftime("%Y%m%d-%H%M%S", moment),
        "date": time.strftime("%Y-%m-%d", moment),
        "git": commit.short if commit else "no-git",
    }
    made = []
    try:
        for text, name, spec, conversion in string.Formatter().parse(template):
            made.append(text)
            if name is not None:
                if spec or conversion or name not in known:
                    raise ParameterError(_wrong_field(template, name, known))
                made.append(known[name])
    except ValueError as error:
        raise ParameterError(f"the run name {template!r} is no template: {error}; write {{{{ for a brace") from None
    name = " ".join("".join(made).split())
    if not name:
        raise ParameterError(f"the run name {template!r} comes to nothing")
    return name[:_LONGEST_NAME]


def _wrong_field(template: str, name: str, known: Mapping[str, str]) -> str:
    fields = ", ".join(f"{{{item}}}" for item in sorted(known))
    return f"the run name {template!r} asks for {{{name}}}; there are {fields}, without formats"


def ensure_experiment(server: Server, name: str) -> str:
    """The id of the experiment of a name, made if it is not there; a race with another deploy is none."""
    found = server.experiment_named(name)
    if found is None:
        try:
            found = server.create_experiment(name)
        except DeployError as error:
            found = server.experiment_named(name) if error.status == 409 else None
            if found is None:
                raise
    return str(found["experiment_id"])


def start_run(
    server: Server, experiment_id: str, version: Version, name: str, params: Mapping[str, Any], provenance: Provenance
) -> str:
    """Starts a run and gives its id. params: JSON values as KFP carries them."""
    import kfp_server_api

    run = kfp_server_api.V2beta1Run(
        experiment_id=experiment_id,
        display_name=name,
        description=provenance.description(),
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(params)),
    )
    return str(server.create_run(run)["run_id"])
