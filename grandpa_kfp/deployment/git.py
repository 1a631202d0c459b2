"""The commit that a workflow's file stands at; recorded with the run, never in the YAML."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Commit:
    """dirty: whether files that git knows, or new ones it does not ignore, differ from the commit."""

    sha: str
    dirty: bool

    @property
    def short(self) -> str:
        return self.sha[:10] + ("-dirty" if self.dirty else "")


def commit_of(folder: Path) -> Commit | None:
    """The commit of the repository that a folder lies in; None where there is none, or no git."""
    sha = _git(folder, "rev-parse", "--verify", "HEAD")
    if not sha:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return Commit(sha.strip(), changes is None or bool(changes.strip()))


def _git(folder: Path, *args: str) -> str | None:
    """What git prints; None where it fails. It asks nobody anything and takes no lock."""
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
