"""What can be known from here of an image that tasks will run in: its Python and its distributions.

The tag of a Python image says its version. An image that the local Docker has is asked itself, without
network and with nothing mounted. Of any other nothing is known; the task then checks when it starts.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_ASK = (
    "import json, sys\n"
    "from importlib import metadata\n"
    "found = {item.metadata['Name']: item.version for item in metadata.distributions() if item.metadata['Name']}\n"
    "print(json.dumps({'python': '%d.%d' % sys.version_info[:2], 'distributions': found}))\n"
)
_TIMEOUT_S = 60.0
_PYTHON_TAG = re.compile(r"(?:^|/)python:(\d+\.\d+)(?:[.-]|$)|-py(\d+\.\d+)$")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """python: `3.12`, empty where it is not known; distributions: None where they are not known."""

    python: str = ""
    distributions: Mapping[str, str] | None = None


def facts_of(image: str) -> ImageFacts:
    """What is known of an image; never fails, never pulls."""
    return _asked(image) or ImageFacts(python_of_tag(image))


def python_of_tag(image: str) -> str:
    """The Python that an image's name tells, empty where it tells none.

    >>> [python_of_tag(image) for image in ("python:3.12-slim", "ghcr.io/team/runtime:0.1.0-py3.11", "x:4")]
    ['3.12', '3.11', '']
    """
    found = _PYTHON_TAG.search(image)
    return (found[1] or found[2]) if found else ""


def _asked(image: str) -> ImageFacts | None:
    docker = shutil.which("docker")
    if docker is None or _run(docker, "image", "inspect", "--format", "{{.Id}}", image) is None:
        return None
    text = _run(docker, "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _ASK)
    try:
        facts = json.loads(text or "")
        return ImageFacts(str(facts["python"]), dict(facts["distributions"]))
    except (ValueError, KeyError, TypeError):
        return None  # no Python in it, or none by that name: its tag is all there is


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
