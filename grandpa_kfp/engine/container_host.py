"""What containers find on this machine, looked at before the first of them starts.

Who they run as, how they reach the store, their secrets, their images: `prepare` finds all that is wrong at
once. `containers.py` asks for it with each container.
"""

from __future__ import annotations

import contextlib
import os
import platform
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from grandpa_kfp_runtime.contract import ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN
from grandpa_kfp_runtime.errors import ContainerError
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.stores.file import FileStore

from ..images import docker
from .kfp_containers import Container
from .kfp_pipeline import YamlPipeline
from .yaml_tasks import Echo

OWNER_LABEL = "grandpa-kfp.owner"
STORE = "/grandpa/store"
"""Where a container finds a store that is a folder."""

_NOBODY = 65532
"""Whom containers run as when root starts them: a user whom no image gives any rights."""

_STORE_SECRETS = (
    ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN,
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip
_LOOPBACK = ("localhost", "127.", "::1")
_DESKTOPS_HOST = "host.docker.internal"


@dataclass(frozen=True, slots=True)
class Host:
    """user: `uid:gid` of the containers; location: the store as they know it; mounts: folders by where a
    container finds them; network: empty for Docker's own default."""

    server: docker.Server
    user: str
    location: str
    network: str = ""
    mounts: Mapping[str, Path] = field(default_factory=dict)

    def secrets(self, container: Container) -> dict[str, str]:
        """The variables that a cluster's secrets and config maps would fill, from this process's environment."""
        store = container.is_ours and self.location.startswith("s3:")
        names = {*container.platform.variables, *(_STORE_SECRETS if store else ())}
        return {name: os.environ[name] for name in sorted(names) if name in os.environ}

    def hand_over(self, *folders: Path, anyone: bool = False) -> None:
        """Makes folders that a container may write to. anyone: also one that runs as whomever its image says."""
        uid, gid = map(int, self.user.split(":"))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0 and not self.server.rootless:
                os.chown(folder, uid, gid)
            if anyone:
                folder.chmod(0o777)


def prepare(pipeline: YamlPipeline, store: Store, echo: Echo) -> Host:
    """The host for a run of this pipeline, its images fetched where they are not here.

    Raises ContainerError with everything that is wrong, a line each.
    """
    server = docker.server()
    remove_left_behind()
    containers = {container.label: (task, container) for task, _, container in pipeline.dag.containers()}
    location, network, mounts = _reach(store, server)
    host = Host(server, _user(server), location, network, mounts)
    faults = [fault for task, container in containers.values() for fault in _faults(task, container)]
    faults += _fetch([(task, container) for task, container in containers.values()], echo) if not faults else []
    if faults:
        raise ContainerError("\n".join(faults))
    if unheeded := sorted({name for _, container in containers.values() for name in container.platform.unheeded}):
        echo("docker", f"note: what only a cluster can do is left aside: {', '.join(unheeded)}")
    if isinstance(store, FileStore):
        host.hand_over(store.root)
        _hand_over_content(store.root, host)
    return host


def owner() -> str:
    """Names this process: as long as it lives, its containers are somebody's."""
    return f"{platform.node()}:{os.getpid()}:{_born(os.getpid())}"


def remove_left_behind() -> None:
    """Containers whose run was killed before it could remove them."""
    listed = docker.docker(
        "ps", "--all", "--filter", f"label={OWNER_LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{OWNER_LABEL}"}}}}'
    )
    left = []
    for line in listed.splitlines():
        number, _, whose = line.partition(" ")
        node, pid, born = whose.rsplit(":", 2) if whose.count(":") >= 2 else ("", "", "")
        if node == platform.node() and pid.isdigit() and _born(int(pid)) != born:
            left.append(number)
    docker.remove_containers(left)


def _born(pid: int) -> str:
    """When the process started, in the system's own unit; empty where no such process is alive."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc").is_dir():
            return ""
        with contextlib.suppress(OSError):  # no Linux: alive or not is all that can be told
            os.kill(pid, 0)
            return "alive"
        return ""
    return text.rpartition(")")[2].split()[19]


def _user(server: docker.Server) -> str:
    if server.rootless:
        return "0:0"  # which is the user who started Docker, seen from outside
    if os.getuid() == 0:
        return f"{_NOBODY}:{_NOBODY}"
    return f"{os.getuid()}:{os.getgid()}"


def _reach(store: Store, server: docker.Server) -> tuple[str, str, dict[str, Path]]:
    """Location, network and mounts by which a container gets to the store."""
    if isinstance(store, FileStore):
        return f"file://{STORE}", "", {STORE: store.root}
    endpoint = parse_qs(urlsplit(store.location).query).get("endpoint", [""])[0]
    name = urlsplit(endpoint).hostname or ""
    if not name.startswith(_LOOPBACK):
        return store.location, "", {}
    if not server.desktop:
        return store.location, "host", {}
    there = endpoint.replace(f"[{name}]" if ":" in name else name, _DESKTOPS_HOST, 1)
    return store.location.replace(quote(endpoint, safe=":/[]"), there, 1), "", {}


def _faults(task: str, container: Container) -> list[str]:
    faults = []
    asked = container.platform
    needed = [name for name in asked.variables if name not in asked.optional and name not in _STORE_SECRETS]
    missing = [name for name in needed if name not in os.environ]
    if missing:
        faults.append(
            f"{task}: its secrets come from your environment here, and {', '.join(missing)} is not set there: export it"
        )
    if asked.cluster_only:
        faults.append(f"{task}: it asks for {', '.join(asked.cluster_only)}, which a cluster alone has")
    if not container.image:
        faults.append(f"{task}: the YAML names no image for it; compile it again")
    return faults


def _fetch(containers: Sequence[tuple[str, Container]], echo: Echo) -> list[str]:
    """Gets each image once, as its pull policy says."""
    faults = []
    policies: dict[str, set[str]] = {}
    for _, container in containers:
        policies.setdefault(container.image, set()).add(container.platform.pull_policy)
    for name, wanted in policies.items():
        task = next(task for task, container in containers if container.image == name)
        here = docker.image(name) is not None
        if here and "Always" not in wanted:
            continue
        if wanted == {"Never"}:
            faults.append(f"{task}: the image {name} is not here, and its pull policy is Never")
            continue
        echo("docker", f"pulling {name}")
        try:
            docker.pull(name)
        except ContainerError as error:
            missing = "cannot be pulled" if here else "is not here and cannot be pulled"
            faults.append(
                f"{task}: the image {name} {missing}: {error}; "
                "build one with `grandpa image build --tag NAME`, and compile with --image NAME"
            )
    return faults


def _hand_over_content(root: Path, host: Host) -> None:
    """What root has put into a folder store before, containers that are not root must read and add to."""
    if os.getuid() != 0 or host.server.rootless:
        return
    uid, gid = map(int, host.user.split(":"))
    for folder, _, files in os.walk(root):
        os.chown(folder, uid, gid)
        for name in files:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if not os.lstat(path).st_mode & stat.S_IROTH:
                    os.lchown(path, uid, gid)
