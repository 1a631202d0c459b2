"""`Definition`: what is known of a node once, however often it is called.

Both kinds of nodes (`nodes.FunctionNode`, marked classes) hold one; tracing makes the graph's
`PythonNode` from it, growing runs its target.
"""

from __future__ import annotations

import inspect
from typing import Any

from grandpa_kfp_compiler.graph import NO_OPTIONS, RESULT, Node, Options, PythonNode, Signature
from grandpa_kfp_runtime.errors import TraceError

from .annotations import plain_signature, signature_of
from .options import check_name
from .signatures import Shape, mismatch, shape_of
from .where import here

METHODS = ("__call__", "process", "apply")
"""The methods of a class node, in the order in which a call looks for them."""


class Definition:
    """A node: its callable, its name, its options; signatures are worked out at the first call and kept.

    in_bodies: the graph's form of it where bodies call it, made at the first such call.
    """

    __slots__ = (
        "_methods", "_plain", "_shapes", "in_bodies", "is_class", "name", "options", "outputs", "target", "where",
    )  # fmt: skip

    def __init__(
        self, target: Any, name: str, options: Options, outputs: tuple[str, ...] | None, where: str, *, is_class: bool
    ) -> None:
        self.target = target
        self.name = name
        self.options = options
        self.outputs = outputs
        self.where = where
        self.is_class = is_class
        self._shapes: dict[str, Shape] = {}
        self._methods: list[str] | None = None
        self._plain: tuple[tuple[str, Signature], ...] | None = None
        self.in_bodies: Node | None = None

    @property
    def is_container(self) -> bool:
        """Whether a task of it is a container of another image."""
        return False

    @property
    def only_output(self) -> str | None:
        """The name of a single declared output, which is the whole result."""
        return self.outputs[0] if self.outputs is not None and len(self.outputs) == 1 else None

    def methods(self) -> list[str]:
        """The methods that a class node's instances can be called by."""
        if self._methods is None:
            names = _names(self.target)
            self._methods = [name for name in METHODS if name in names and callable(getattr(self.target, name))]
        return self._methods

    def shape(self, method: str = "") -> Shape:
        """The signature of the function, of a method (without `self`), or of construction (`__init__`)."""
        shape = self._shapes.get(method)
        if shape is None:
            shape = self._shapes[method] = shape_of(self._signature(method))
        return shape

    def _signature(self, method: str) -> inspect.Signature:
        if not self.is_class:
            return signature_of(self.target)
        if method == "__init__":
            return _construction(self.target)
        function = inspect.getattr_static(self.target, method)
        if isinstance(function, staticmethod | classmethod):
            bound = signature_of(function.__func__)
            return bound if isinstance(function, staticmethod) else _without_first(bound)
        return _without_first(signature_of(function))

    def returns(self, method: str = "") -> Any:
        """The resolved annotation of what a call gives."""
        return self.shape(method).signature.return_annotation

    def plain_signatures(self) -> tuple[tuple[str, Signature], ...]:
        """The signatures as the graph holds them."""
        if self._plain is None:
            methods = ["__init__", *self.methods()] if self.is_class else [""]
            self._plain = tuple((name, plain_signature(self.shape(name).signature)) for name in methods)
        return self._plain

    def check(self, task: str, method: str, count: int, names: Any, *, bound: int = 0) -> None:
        """Raises TraceError when a call's arguments do not match the signature."""
        what = f"{self.name}.__init__" if method == "__init__" else "the node"
        fault = mismatch(self.shape(method), count, names, bound=bound, what=what)
        if fault is not None:
            raise TraceError(f"{task} ({here()}): {fault}")

    def python_node(self, key: str) -> Node:
        """The graph's form, under the key by which a worker finds the node."""
        description = getattr(self.target, "__doc__", None) if self.is_class or _has_own_doc(self.target) else None
        return PythonNode(
            key,
            self.name,
            self.is_class,
            self.plain_signatures(),
            self.outputs or (RESULT,),
            where=self.where,
            description=inspect.cleandoc(description) if isinstance(description, str) else "",
            target=self.target,
        )


class BuiltinDefinition(Definition):
    """A function of the runtime's own as what calls are recorded of: its node is the same in every graph."""

    __slots__ = ("_node",)

    def __init__(self, target: Any, node: PythonNode) -> None:
        super().__init__(target, node.name, NO_OPTIONS, None, "", is_class=False)
        self._node = node

    def python_node(self, key: str) -> PythonNode:
        return self._node


def read_outputs(outputs: Any, *, of: str) -> tuple[str, ...] | None:
    """The declared outputs. Raises TraceError for what are no names, or not distinct ones."""
    if outputs is None:
        return None
    if isinstance(outputs, str) or not isinstance(outputs, list | tuple) or not outputs:
        raise TraceError(
            f"{here()}: outputs of {of} must be names such as ('mean', 'std'), with a comma behind a single one, "
            f"but is {outputs!r}"
        )
    for name in outputs:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise TraceError(f"{here()}: an output of {of} must have a name such as 'mean', but is {name!r}")
        if name in ("resolve", "run"):
            raise TraceError(f"{here()}: an output of {of} cannot be called {name!r}, which is a method of every Ref")
    if len(set(outputs)) != len(outputs):
        raise TraceError(f"{here()}: outputs of {of} names one of them twice: {outputs!r}")
    return tuple(outputs)


def name_of(target: Any, given: str | None, *, kind: str = "the node") -> str:
    """The given name, else the callable's own."""
    if given is not None:
        return check_name(given, of=kind)
    while not hasattr(target, "__name__") and hasattr(target, "func"):
        target = target.func
    name = getattr(target, "__name__", type(target).__name__)
    return "lambda" if name == "<lambda>" else str(name)


def _names(cls: type) -> set[str]:
    # `callable(cls)` is not what makes instances callable: look for the method in the classes' own names
    return {name for base in cls.__mro__ for name in METHODS if name in vars(base)}


def _construction(cls: type) -> inspect.Signature:
    """What `cls(...)` takes: of `__init__`, of the user's `__new__` where there is no `__init__`."""
    if cls.__init__ is not object.__init__:  # type: ignore[misc]
        return _without_first(signature_of(cls.__init__))  # type: ignore[misc]
    for base in cls.__mro__:
        made = vars(base).get("__new__")
        made = getattr(made, "original", made)  # below our own mark
        if made is not None and base is not object:
            return _without_first(signature_of(getattr(made, "__func__", made)))
    return inspect.Signature()


def _without_first(signature: inspect.Signature) -> inspect.Signature:
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _has_own_doc(target: Any) -> bool:
    return getattr(target, "__doc__", None) is not getattr(type(target), "__doc__", None)
