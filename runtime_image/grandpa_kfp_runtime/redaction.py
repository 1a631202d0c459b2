"""Secrets out of texts: what a task writes into records and reports passes through a `Redactor`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from .contract import ENV_REDACT
from .typespec import Json

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)
_SHORTEST = 6
"""A shorter value of a variable that merely looks like a secret's would blacken half of every text."""


class Redactor:
    """Replaces each of the given values wherever it stands.

    >>> Redactor({"DB_PASSWORD": "hunter22"}).text("login with hunter22 failed")
    'login with [DB_PASSWORD] failed'
    """

    __slots__ = ("_names", "_pattern")

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {value: name for name, value in secrets.items() if value}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @classmethod
    def from_environment(cls, names: Iterable[str] = (), env: Mapping[str, str] = os.environ) -> Redactor:
        """The environment's secrets: those named by GRANDPA_REDACT and `names`, and all whose name looks like one."""
        named = {name for name in env.get(ENV_REDACT, "").split(",") if name} | set(names)
        return cls(
            {
                name: value
                for name, value in sorted(env.items())
                if name in named or (len(value) >= _SHORTEST and _SECRET_NAME.search(name) and name != ENV_REDACT)
            }
        )

    def text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"[{self._names[found.group()]}]", text)

    def json(self, value: Json) -> Json:
        """The value with every string in it redacted, keys of dicts included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.json(item) for key, item in value.items()}
        return value


_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s\"']+@")


def without_credentials(text: str) -> str:
    """The text with user and password taken out of every URL in it.

    >>> without_credentials("Looking in indexes: https://ann:hunter22@host/simple")
    'Looking in indexes: https://host/simple'
    """
    return _URL_CREDENTIALS.sub("", text)


NOTHING_SECRET = Redactor({})
