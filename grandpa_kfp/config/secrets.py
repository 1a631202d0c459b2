"""What must never stand in a configuration file: it is committed, copied and shown.

`reading` and `settings` refuse it, without ever writing the value itself anywhere.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_LAST = frozenset({
    "password", "passwd", "passphrase", "pwd", "token", "secret", "secrets", "credential", "credentials", "apikey",
    "accesskey", "secretkey", "privatekey", "cookie", "cookies", "authorization", "bearer",
})  # fmt: skip
_LAST_TWO = frozenset({
    ("api", "key"), ("access", "key"), ("secret", "key"), ("private", "key"), ("account", "key"), ("signing", "key"),
    ("encryption", "key"), ("key", "id"),
})  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

ELSEWHERE = (
    "secrets are never written here: give them by environment variables on this machine, "
    "and by a Kubernetes secret in the cluster"
)


def names_secret(name: str) -> bool:
    """Whether a key's name says that its value is a secret: by its last word or two.

    >>> [names_secret(name) for name in ("hf_token", "dbPassword", "AWS_SECRET_ACCESS_KEY", "max_tokens", "token_type")]
    [True, True, True, False, False]
    """
    words = tuple(word.lower() for word in _WORD.findall(name))
    return words[-1:] != () and (words[-1] in _LAST or words[-2:] in _LAST_TWO)


def holds_secret(value: Any) -> bool:
    """Whether a text is an address with a password in it.

    >>> holds_secret("s3://bucket/a?endpoint=http://minio:9000"), holds_secret("https://me:pw@kubeflow.example.com")
    (False, True)
    """
    if isinstance(value, list):
        return any(map(holds_secret, value))
    if isinstance(value, dict):
        return any(map(holds_secret, value.values()))
    if not isinstance(value, str) or "://" not in value:
        return False
    try:
        parts = urlsplit(value)
        pairs = parse_qsl(parts.query)
    except ValueError:  # no address after all
        return False
    return parts.password is not None or any(names_secret(name) or holds_secret(item) for name, item in pairs)
