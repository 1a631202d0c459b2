"""A workflow written as a class: its fields are parameters, its `run` is the body."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from grandpa_kfp_runtime.errors import TraceError
from grandpa_kfp_runtime.parameters import field_types

from .annotations import signature_of
from .where import here

_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_NO_DEFAULT = inspect.Parameter.empty


def function_of_class(cls: type) -> Callable[..., Any]:
    """A function of a class's fields and its `run`'s parameters, which makes one object and calls `run`.

    Fields are the arguments of its constructor (a dataclass's too), else its annotated attributes.
    Raises TraceError for a class without `run`, or a name that is both.
    """
    run = getattr(cls, "run", None)
    if run is None:
        raise TraceError(f"{here()}: the workflow class {cls.__name__} has no method run")
    has_init = cls.__init__ is not object.__init__  # type: ignore[misc]
    own = list(signature_of(run).parameters.values())[1:]
    fields = list(signature_of(cls.__init__).parameters.values())[1:] if has_init else _annotated_fields(cls)  # type: ignore[misc]
    twice = {item.name for item in fields} & {item.name for item in own}
    if twice:
        raise TraceError(f"{here()}: {cls.__name__} has a field and a parameter of run called {sorted(twice)[0]!r}")

    def function(**values: Any) -> Any:
        given = {item.name: values[item.name] for item in fields}
        workflow = cls(**given) if has_init else cls()
        if not has_init:
            for name, value in given.items():
                setattr(workflow, name, value)
        return workflow.run(**{item.name: values[item.name] for item in own})

    ordered = [item.replace(kind=_KEYWORD_ONLY) for item in (*fields, *own)]
    returns = signature_of(run).return_annotation
    function.__signature__ = inspect.Signature(ordered, return_annotation=returns)  # type: ignore[attr-defined]
    function.__doc__ = run.__doc__
    return function


def _annotated_fields(cls: type) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(name, _KEYWORD_ONLY, default=getattr(cls, name, _NO_DEFAULT), annotation=annotation)
        for name, annotation in field_types(cls).items()
        if typing.get_origin(annotation) is not typing.ClassVar and not name.startswith("_")
    ]
