"""Everything that can be checked before anything is sent, all at once; `deploying` calls `preflight`.

An error stops the deployment, a warning does not: it tells what the user will not have.
"""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from grandpa_kfp_compiler.graph import Code
from grandpa_kfp_compiler.kfp import Compiled
from grandpa_kfp_compiler.kfp.bootstrap import BOOTSTRAP_COMMAND
from grandpa_kfp_compiler.kfp.sizes import (
    UPLOAD_LIMIT_BYTES,
    WORKFLOW_BUDGET_BYTES,
    WORKFLOW_LIMIT_BYTES,
    predict_workflow,
)
from grandpa_kfp_runtime.code.requirements import requirement_name
from grandpa_kfp_runtime.contract import ENV_PACKAGES
from grandpa_kfp_runtime.errors import ContainerError, DeployError, StoreDenied, StoreError, StoreUnavailable
from grandpa_kfp_runtime.stores.base import key_of

from ..images.probe import Facts, check_contract, known_facts
from .reaching import Reached
from .server import Health, Server

_MANIFEST = "__grandpa__/manifest.json"
_PROBE = "preflight/probe.json"
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """level: `error` stops the deployment. about: `server`, `store`, `image`, `size`."""

    level: Literal["ok", "warning", "error"]
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.about}: {self.text}"


def preflight(
    server: Server, reached: Reached, compiled: Compiled, code: Code, *, needs_store: bool, write: bool = True
) -> list[Finding]:
    """Every finding, in this order: server, store, images, sizes. Nothing raises.

    needs_store: something has to be written from here. write: try that, else only look.
    """
    images = _images(compiled)
    with ThreadPoolExecutor(max_workers=4) as pool:
        of_server = pool.submit(check_server, server)
        of_store = pool.submit(check_store, reached, needed=needs_store, write=write)
        of_images = [(image, pool.submit(known_facts, image.name)) for image in images]
        findings = [of_server.result(), of_store.result()]
        findings += [finding for image, facts in of_images for finding in check_image(image, facts.result(), code)]
    return [*findings, *check_sizes(compiled)]


def check_server(server: Server) -> Finding:
    """Whether the server is there, which version it is, and whether it needs a namespace."""
    try:
        health = server.health()
    except DeployError as error:
        return Finding("error", "server", str(error))
    told = f"{server.host}, {_version(health)}"
    if health.version and (major := re.match(r"v?(\d+)\.", health.version)) and int(major[1]) < 2:
        return Finding("error", "server", f"{told}: pipelines of grandpa-kfp need Kubeflow Pipelines 2")
    if health.multi_user and not server.namespace:
        return Finding("error", "server", f"{told} has several users: say whose runs these are, by --namespace NAME")
    return Finding("ok", "server", told)


def _version(health: Health) -> str:
    return f"Kubeflow Pipelines {health.version}" if health.version else "Kubeflow Pipelines of unknown version"


def check_store(reached: Reached, *, needed: bool, write: bool = True) -> Finding:
    """Whether the store takes a record and gives it back, with the credentials that are here."""
    store = reached.store
    level: Literal["warning", "error"] = "error" if needed else "warning"
    lost = "the code cannot be put there" if needed else "tracebacks of failing tasks will not be shown here"
    if store is None:
        return Finding(level, "store", f"{reached.why}; {lost}")
    try:
        if not write:
            store.exists(key_of(b""))
            return Finding("ok", "store", f"{store.location} answers")
        probe = {"probe": os.urandom(8).hex()}
        store.put_record(_PROBE, probe)
        read = store.get_record(_PROBE)
        if read != probe and not isinstance(read, dict):  # another deploy may have written its own meanwhile
            return Finding("error", "store", f"{store.location} does not give back what is written to it")
        return Finding("ok", "store", f"{store.location} is writable")
    except (StoreDenied, StoreUnavailable) as error:
        return Finding(level, "store", f"{error}; {lost}")
    except StoreError as error:
        return Finding("error", "store", str(error))


@dataclass(frozen=True, slots=True)
class UsedImage:
    """An image that tasks run in. installs: names of the packages that they ask for; bootstrap: and the runtime."""

    name: str
    installs: frozenset[str] = frozenset()
    bootstrap: bool = False


def _images(compiled: Compiled) -> list[UsedImage]:
    installs: dict[str, set[str]] = {}
    ours = [leaf for leaf in compiled.pipeline.leaves() if not leaf.theirs]
    for leaf in ours:
        asked = json.loads(dict(leaf.executor.env).get(ENV_PACKAGES, "[]"))
        installs.setdefault(leaf.executor.image, set()).update(map(requirement_name, asked))
    bootstrap = any(leaf.executor.command == BOOTSTRAP_COMMAND for leaf in ours)
    return [UsedImage(name, frozenset(found), bootstrap) for name, found in sorted(installs.items())]


def check_image(image: UsedImage, facts: Facts, code: Code) -> list[Finding]:
    """The image's runtime, Python and distributions against what the code was packed with."""
    if not facts.python:
        return [Finding("ok", "image", f"{image.name} is not known here; its tasks check themselves when they start")]
    if facts.distributions is not None and (problem := _runtime_problem(image, facts)):
        return [Finding("error", "image", problem)]
    manifest = _manifest(code)
    if facts.python != code.python and (values := manifest.get("values")):
        told = f"{image.name} has Python {facts.python} and {_some(values)}, which travels by value, was packed by "
        advice = f"use an image of Python {code.python}, or deploy from Python {facts.python}"
        return [Finding("error", "image", f"{told}{code.python}: {advice}")]
    if facts.distributions is None:
        return [Finding("ok", "image", f"{image.name} has Python {facts.python}")]
    return [_distributions(image, facts, manifest.get("distributions", {}))]


def _runtime_problem(image: UsedImage, facts: Facts) -> str:
    if image.bootstrap:
        return "" if facts.pip else f"{image.name} has no pip, which --bootstrap needs: use another Python image"
    try:
        check_contract(image.name, facts)
    except ContainerError as error:
        return f"{error}, or compile with --bootstrap"
    return ""


def _distributions(image: UsedImage, facts: Facts, needed: Mapping[str, str]) -> Finding:
    have = {_normal(name): version for name, version in (facts.distributions or {}).items()}
    needed = {name: version for name, version in needed.items() if _normal(name) not in image.installs}
    missing = [name for name in needed if _normal(name) not in have]
    other = [
        f"{name} {have[_normal(name)]} (here {version})"
        for name, version in needed.items()
        if version and have.get(_normal(name), version) != version
    ]
    if missing:
        told = f"{image.name} lacks {_some(missing)}, which the code imports: name it in packages=, or use an image "
        return Finding("warning", "image", f"{told}that has it")
    if other:
        return Finding("warning", "image", f"{image.name} has other versions than here: {_some(other)}")
    return Finding("ok", "image", f"{image.name} has Python {facts.python} and all that the code imports")


def _manifest(code: Code) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(code.zip)) as archive:
        manifest: dict[str, Any] = json.loads(archive.read(_MANIFEST))
    return manifest


def check_sizes(compiled: Compiled) -> list[Finding]:
    """The YAML against what the server takes, the predicted Argo Workflow against what Kubernetes stores."""
    yaml = len(compiled.text.encode())
    workflow = predict_workflow(compiled.pipeline).total
    argo = f"Argo Workflow about {_kib(workflow)} of {_kib(WORKFLOW_LIMIT_BYTES)}"
    told = f"{compiled.tasks:,} tasks, YAML {_kib(yaml)}, {argo}"
    if yaml > UPLOAD_LIMIT_BYTES:
        limit = _kib(UPLOAD_LIMIT_BYTES)
        return [Finding("error", "size", f"the YAML takes {_kib(yaml)} and the server takes {limit}: use --code store")]
    if workflow > WORKFLOW_LIMIT_BYTES:
        advice = "the run would never end: do more in each node, or use --code store"
        return [Finding("error", "size", f"{told}; {advice}")]
    if workflow > WORKFLOW_BUDGET_BYTES:
        return [Finding("warning", "size", f"{told}; it grows with what tasks report, so stay under half")]
    return [Finding("ok", "size", told)]


def _kib(size_bytes: int) -> str:
    return f"{-(-size_bytes // 1024):,} KiB"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else ""
    return ", ".join(items[:_MOST_NAMED]) + more


def raise_errors(findings: list[Finding]) -> None:
    """Raises one DeployError with every finding that is an error."""
    errors = [str(finding) for finding in findings if finding.level == "error"]
    if errors:
        raise DeployError("\n".join((*errors, "nothing was sent")))
