"""The table of options: for each name of `graph.Options`, how it is read, checked, written, merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grandpa_kfp_runtime.values.handles import CONSTANT_LIMIT_BYTES, is_constant_handle

from .messages import AFFINITY, EXECUTOR_CONFIG, message_rule
from .names import NAME_MISTAKE, is_label, is_label_key, is_label_value, is_object, is_resource, variable_mistakes
from .packages import INDEX_URL, PACKAGES
from .placement import TOLERATIONS
from .rules import (
    CACHE,
    COUNT,
    CPU,
    FACTOR,
    FLAG,
    IMAGE,
    MEMORY,
    SECONDS,
    SIZE,
    TEXT,
    VERSION,
    Rule,
    Wrong,
    by_name_rule,
    is_text,
    list_rule,
    plain,
    rule,
    texts_by_name,
)
from .volumes import VOLUMES, path_mistakes


def _env_mistakes(name: str, text: str) -> Iterator[str]:
    yield from variable_mistakes(name)


def _source_mistakes(name: str, text: str, kind: str) -> Iterator[str]:
    """Of a secret or config map: `variable: object/key`, or `/folder: object`."""
    source, _, key = text.partition("/")
    if name.startswith("/"):
        yield from path_mistakes(name)
        if key:
            yield (
                f"must name a {kind} alone for the folder {name}, where each key becomes a file: write "
                f"{name!r}: {source!r} and read {name}/{key}"
            )
        elif not is_label(source):
            yield f"names {text!r} for {name}: {NAME_MISTAKE}"
        return
    yield from variable_mistakes(name)
    if not source or not key or "/" in key:
        yield f"must name a {kind} and a key in it for {name}, as '{kind.replace(' ', '-')}/key', but has {text!r}"
    elif not is_object(source):
        yield f"names the {kind} {source!r} for {name}, which is no name that Kubernetes takes"


def _sources(kind: str) -> Rule:
    return texts_by_name(lambda name, text: _source_mistakes(name, text, kind))


def _label_mistakes(name: str, text: str) -> Iterator[str]:
    if not is_label_key(name):
        yield f"holds {name!r}, which is no key of a label: letters, digits, '-', '_', '.', at most 63 of them"
    if not is_label_value(text):
        yield f"has {text!r} as {name}; a label is letters, digits, '-', '_', '.', at most 63 of them"


def _annotation_mistakes(name: str, text: str) -> Iterator[str]:
    if not is_label_key(name):
        yield f"holds {name!r}, which is no key of an annotation: letters, digits, '-', '_', '.', at most 63 of them"


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise Wrong(f"must hold whole numbers, but the value of {name} is {value!r}")
    return value


def _token_mistakes(name: str, count: Any) -> Iterator[str]:
    if not is_text(name):
        yield f"holds {name!r}, which is no name of a resource"
    elif name in ("cpu", "memory", "gpu"):
        yield f"holds {name!r}, which is an option of its own: write {name}={count!r}"
    if type(count) is not int or count < 1:
        yield f"must hold whole numbers from 1 on, but the value of {name} is {count!r}"


RULES: dict[str, Rule] = {
    "retries": COUNT,
    "timeout_s": SECONDS,
    "cpu": CPU,
    "memory": MEMORY,
    "gpu": COUNT,
    "env": texts_by_name(_env_mistakes),
    "image": IMAGE,
    "packages": PACKAGES,
    "secrets": _sources("secret"),
    "cache": CACHE,
    "version": VERSION,
    "verbose": FLAG,
    "keep": FLAG,
    "index_url": INDEX_URL,
    "backoff_s": SECONDS,
    "backoff_factor": FACTOR,
    "backoff_max_s": SECONDS,
    "uses": by_name_rule("a dict of names to whole numbers", _whole, _token_mistakes, plain),
    "always": FLAG,
    "artifact": TEXT,
    "gpu_type": rule("a resource of Kubernetes such as 'nvidia.com/gpu' or 'amd.com/gpu'", (str,), is_resource),
    "shm": SIZE,
    "disk": SIZE,
    "volumes": VOLUMES,
    "config_maps": _sources("config map"),
    "node_selector": texts_by_name(_label_mistakes),
    "tolerations": TOLERATIONS,
    "affinity": message_rule(AFFINITY, "Affinity"),
    "labels": texts_by_name(_label_mistakes),
    "annotations": texts_by_name(_annotation_mistakes),
    "image_pull_secrets": list_rule("names of secrets", is_object),
    "kubernetes": message_rule(EXECUTOR_CONFIG, "KubernetesExecutorConfig"),
    "fallback": rule(
        f"a value of at most {CONSTANT_LIMIT_BYTES:,} bytes, in a graph file its handle", (str,), is_constant_handle
    ),
}
