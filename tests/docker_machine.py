"""Docker on this machine, for the tests: a server found or started, a base image pulled or made.

    python tests/docker_machine.py COMMAND...    runs a command while there is a Docker, started if need be

Where no Docker can be had the command runs all the same, and the tests that it runs skip themselves, loudly.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grandpa-kfp-dev"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PLAIN_BASE = f"grandpa-test-plain:{MINOR}"
BASE = f"grandpa-test-base:{MINOR}"
"""Python with pip and nothing of ours; with what pip needs on this machine to reach its index."""

_SOCKET = "unix:///var/run/docker.sock"
_STARTS_WITHIN_S = 30.0
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_CERT")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class NoDocker(Exception):
    """Why there is no Docker, or no base image, on this machine."""


def docker(*args: str, within_s: float = 120) -> str:
    """A docker command's output. Raises NoDocker with what it said."""
    try:
        done = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=within_s)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise NoDocker(f"docker {args[0]}: {error}") from error
    if done.returncode:
        raise NoDocker(f"docker {args[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def answers() -> bool:
    try:
        return bool(json.loads(docker("info", "--format", "{{json .}}", within_s=20)).get("ServerVersion"))
    except NoDocker:
        return False


@contextlib.contextmanager
def running() -> Iterator[str]:
    """A Docker server for as long as this lasts; why there is none, empty where there is one."""
    if answers():
        yield ""
        return
    try:
        server = _Server()
        server.start()
    except NoDocker as error:
        yield str(error)
        return
    try:
        yield ""
    finally:
        server.stop()


class _Server:
    """A dockerd of our own: data root, runtime folder and pid file apart from any that the machine has."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise NoDocker("no Docker answers, and starting one needs root")
        if shutil.which("dockerd") is None:
            _install("docker.io")
        self._root = CACHE / "docker"
        self._root.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        pid = self._root / "pid"
        pid.unlink(missing_ok=True)
        with open(self._root / "log", "wb") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--data-root", str(self._root / "data"), "--exec-root", str(self._root / "exec")),
                    *("--pidfile", str(pid), "--host", os.environ.get("DOCKER_HOST", _SOCKET)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + _STARTS_WITHIN_S
        while not answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise NoDocker(f"dockerd does not start:\n{(self._root / 'log').read_text(errors='replace')[-1500:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def base_image() -> str:
    """An image with this Python's minor version, made once and kept by Docker. Raises NoDocker."""
    if _here(BASE):
        return BASE
    given = os.environ.get("GRANDPA_TEST_BASE_IMAGE")
    plain = given or f"python:{MINOR}-slim"
    if not _here(plain):
        try:
            docker("pull", "--quiet", plain, within_s=300)
        except NoDocker as error:
            if given:
                raise
            plain = _debian(f"{plain} cannot be pulled ({error})")
    _check_python(plain)
    with tempfile.TemporaryDirectory() as folder:
        _write_context(Path(folder), plain)
        _run(["docker", "build", "--quiet", "--tag", BASE, folder], {"DOCKER_BUILDKIT": "0"})
    return BASE


def _debian(reason: str) -> str:
    """The distribution of this machine with its own Python, from its own package mirror."""
    if _here(PLAIN_BASE):
        return PLAIN_BASE
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoDocker(f"{reason}, and making a base image needs root and apt")
    if shutil.which("mmdebstrap") is None:
        _install("mmdebstrap")
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    sources = [path for path in map(Path, _SOURCES) if path.is_file() and path.stat().st_size]
    packages = "python3,python3-venv,python3-pip,ca-certificates"
    with tempfile.TemporaryDirectory() as folder:
        rootfs = f"{folder}/rootfs.tar"
        made = ["mmdebstrap", "--variant=minbase", f"--include={packages}", suite, rootfs, *map(str, sources[:1])]
        _run(made, {"TMPDIR": folder})
        docker("import", rootfs, PLAIN_BASE)
    return PLAIN_BASE


_SOURCES = (
    "/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list.d/ubuntu.sources", "/etc/apt/sources.list",
)  # fmt: skip


def _check_python(image: str) -> None:
    found = docker(
        "run", "--rm", "--entrypoint", "python3", image, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    )
    if found.strip() != MINOR:
        raise NoDocker(
            f"the base image has Python {found.strip()} and the tests run Python {MINOR}: run them by "
            f"Python {found.strip()}, or name an image of {MINOR} in GRANDPA_TEST_BASE_IMAGE"
        )


def _write_context(folder: Path, plain: str) -> None:
    """What lets pip reach its index from this machine: certificates and settings, in this test's base alone."""
    lines = [f"FROM {plain}"]
    for source, place in ((_CERTIFICATES, _CERTIFICATES), (Path("/etc/pip.conf"), Path("/etc/pip.conf"))):
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
            lines.append(f"COPY {source.name} {place}")
    lines += [f"ENV {name}={os.environ[name]}" for name in _PIP_SETTINGS if name in os.environ]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")


def _here(image: str) -> bool:
    try:
        docker("image", "inspect", image)
    except NoDocker:
        return False
    return True


def _install(package: str) -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoDocker(f"{package} is not installed, and installing it needs root and apt")
    _run(["apt-get", "update", "--quiet", "--quiet"])
    # The package would start a service of its own; this machine is to be left as it is.
    _run(["apt-get", "install", "--quiet", "--quiet", "--yes", "--no-install-recommends", package],
         {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})  # fmt: skip


def _run(argv: Sequence[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise NoDocker(f"{argv[0]}: {(done.stderr or done.stdout).strip()[-1500:]}")


def main() -> int:
    with running() as reason:
        if reason:
            print(f"NO DOCKER: {reason}", file=sys.stderr)
        return subprocess.run(sys.argv[1:]).returncode


if __name__ == "__main__":
    sys.exit(main())
