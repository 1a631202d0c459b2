"""A workflow's parameters, as its function declares them and as its graph has them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from grandpa_kfp_compiler.graph import MISSING, Constant, Parameter
from grandpa_kfp_runtime.errors import ParameterError, TraceError
from grandpa_kfp_runtime.parameters import convert, loader_of
from grandpa_kfp_runtime.typespec import TypeSpec

from .refs import Promise

NO_DEFAULT = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class WorkflowParameter:
    """One parameter: `annotation` as an object, `type` as data; `default` is inspect's `empty` for none.

    static: fixed while tracing; so is one whose default is a `File`, since its content is packed.
    """

    name: str
    annotation: Any
    type: TypeSpec
    default: Any
    static: bool
    description: str
    where: str

    def convert(self, value: Any) -> Any:
        """The value as the annotation wants it. Raises ParameterError naming the parameter."""
        if isinstance(value, Promise):
            return value
        if is_file(self.default) and isinstance(value, str | PurePath):
            return type(self.default)(value)
        try:
            return convert(value, self.type, loader_of(self.annotation))
        except ParameterError as error:
            raise ParameterError(f"parameter {self.name} ({self.where}) {error}") from None

    def as_graph(self, given: Mapping[str, Any]) -> Parameter:
        """The graph's form; a given value takes the default's place."""
        default = given.get(self.name, self.default)
        if isinstance(default, Promise):
            raise TraceError(f"parameter {self.name} ({self.where}): a default must be a plain value, not {default!r}")
        if default is NO_DEFAULT:
            return Parameter(self.name, self.type, MISSING, self.description)
        try:
            default = self.convert(default)
        except ParameterError:
            if self.name in given:
                raise  # a wrong default stays as it is: `verify` reports it with everything else
        return Parameter(self.name, self.type, Constant(default), self.description)


def is_file(value: Any) -> bool:
    """Whether it is a `File`."""
    return type(value).__module__ == "grandpa_kfp_runtime.values.files"
