"""Class nodes: marking a class, and `Instance`, what calling a marked class gives.

A marked class stays the same class object. Its own `__new__` is replaced by a `ClassMark`, which returns
an Instance (a description) for the marked class itself and makes real objects for everything else:
subclasses, `construct`, unpickling and copying (by way of `ReduceMark`, since `copyreg.__newobj__` would
call `__new__`). A metaclass could not be assigned to classes with slots or a metaclass of their own.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from grandpa_kfp_compiler.graph import NO_OPTIONS, Options
from grandpa_kfp_runtime.errors import RefAttributeError, TraceError
from grandpa_kfp_runtime.keeping import KEEP

from .arguments import Opened, open_argument
from .definitions import Definition
from .options import check_name, read_options
from .refs import Promise, Ref
from .where import here


def mark_class(cls: type, *, name: str | None, options: Options, outputs: tuple[str, ...] | None, where: str) -> None:
    """Makes a class a node, in place."""
    own = vars(cls)
    mark = ClassMark(own.get("__new__"), name or cls.__name__, options, outputs, where)
    setattr(cls, "__new__", mark)  # noqa: B010
    setattr(cls, "__reduce_ex__", ReduceMark(own.get("__reduce_ex__")))  # noqa: B010
    setattr(cls, "__grandpa_construct__", classmethod(construct))  # noqa: B010
    setattr(cls, "__grandpa_node__", cls)  # noqa: B010
    if options.keep:
        setattr(cls, KEEP, True)


def construct(cls: type, *args: Any, **kwargs: Any) -> Any:
    """A real object of a marked class, or of a class below one."""
    mark = vars(cls).get("__new__")
    if not isinstance(mark, ClassMark):
        return cls(*args, **kwargs)
    made = mark.create(cls, args, kwargs)
    if isinstance(made, cls):
        type(made).__init__(made, *args, **kwargs)
    return made


class ClassMark:
    """`__new__` of a marked class, and what the class node knows."""

    __slots__ = ("_definition", "name", "options", "original", "outputs", "where")

    def __init__(self, original: Any, name: str, options: Options, outputs: tuple[str, ...] | None, where: str) -> None:
        self.original = original
        self.name = name
        self.options = options
        self.outputs = outputs
        self.where = where
        self._definition: Definition | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        # `@dataclass(slots=True)` above `@Node` builds the class anew from the marked one's namespace
        setattr(owner, "__grandpa_node__", owner)  # noqa: B010
        self._definition = None

    def __call__(self, cls: type, /, *args: Any, **kwargs: Any) -> Any:
        if vars(cls).get("__new__") is self:
            return Instance(self.definition(cls), args, kwargs)
        return self.create(cls, args, kwargs)

    def definition(self, cls: type) -> Definition:
        """The node, made at its first use."""
        found = self._definition
        if found is None or found.target is not cls:
            found = Definition(cls, self.name, self.options, self.outputs, self.where, is_class=True)
            self._definition = found
        return found

    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `cls.__new__` would have made without the mark; `__init__` has not run."""
        if self.original is not None:
            return getattr(self.original, "__func__", self.original)(cls, *args, **kwargs)
        owner = next(base for base in cls.__mro__ if vars(base).get("__new__") is self)
        new: Callable[..., Any] = super(owner, cls).__new__  # type: ignore[arg-type]
        if new is not object.__new__:
            return new(cls, *args, **kwargs)
        if (args or kwargs) and cls.__init__ is object.__init__:  # type: ignore[misc]
            raise TypeError(f"{cls.__name__}() takes no arguments")
        return new(cls)

    def __reduce__(self) -> Any:
        return type(self), (self.original, self.name, self.options, self.outputs, self.where)


class ReduceMark:
    """`__reduce_ex__` of a marked class: copies and pickles name functions that make real objects."""

    __slots__ = ("original",)

    def __init__(self, original: Any) -> None:
        self.original = original

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, instance: Any, protocol: Any) -> Any:
        if self.original is not None:
            reduced = self.original.__get__(instance, type(instance))(protocol)
        else:
            mro = type(instance).__mro__
            owner = next(base for base in mro if vars(base).get("__reduce_ex__") is self)
            reduced = super(owner, instance).__reduce_ex__(protocol)  # type: ignore[arg-type]
        if isinstance(reduced, tuple):
            if reduced[0] is copyreg.__newobj__:  # type: ignore[attr-defined]
                return (new_object, *reduced[1:])
            if reduced[0] is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
                return (new_object_ex, *reduced[1:])
        return reduced

    def __reduce__(self) -> Any:
        return type(self), (self.original,)


def new_object(cls: type, *args: Any) -> Any:
    """`cls.__new__(cls, *args)` past the mark; pickles of marked classes' objects name it."""
    return new_object_ex(cls, args, {})


def new_object_ex(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`cls.__new__(cls, *args, **kwargs)` past the mark."""
    mark = vars(cls).get("__new__")
    if isinstance(mark, ClassMark):
        return mark.create(cls, args, kwargs)
    return cls.__new__(cls, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What `.options(...)` sets for calls: options, a pinned name, what to wait for."""

    options: Options = NO_OPTIONS
    name: str = ""
    after: tuple[Ref[Any], ...] = ()

    def updated(self, of: str, name: str | None, after: Any, options: dict[str, Any]) -> CallOptions:
        """These, with more set. Raises TraceError for what cannot be, with the place."""
        if "outputs" in options:
            raise TraceError(f"{here()}: outputs of {of} belong to the node, write them at its @Node(...)")
        if options.get("keep") is not None:
            raise TraceError(f"{here()}: keep belongs to the class, write it at its @Node(...)")
        return CallOptions(
            read_options(options, of=of).over(self.options) if options else self.options,
            self.name if name is None else check_name(name, of="a task"),
            self.after + read_after(after, of),
        )


NO_CALL_OPTIONS = CallOptions()


def read_after(after: Any, of: str) -> tuple[Ref[Any], ...]:
    """The Refs in `after`: one, or any structure of them."""
    if after is None:
        return ()
    skeleton, holes = open_argument([after])
    refs = tuple(leaf for _, leaf in holes)
    if not all(isinstance(ref, Ref) for ref in refs) or (not refs and not _is_empty(skeleton[0])):
        raise TraceError(f"{here()}: after of {of} must be a list of what nodes returned, but is {after!r}")
    return refs


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple) and not value


class Instance(Promise):
    """A class node with its init arguments, not constructed: each task makes its own object from it.

    Call it, or its `process` or `apply`, to make a task; pass it to a node to hand over the live object.
    """

    __slots__ = ("__weakref__", "_args", "_chosen", "_definition", "_identity", "_kwargs", "_where")
    __array_ufunc__ = None
    _identity: object  # shared with what `.options(...)` makes of it
    _definition: Definition
    _args: tuple[Opened, ...]
    _kwargs: tuple[tuple[str, Opened], ...]
    _where: str
    _chosen: CallOptions

    def __init__(self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        definition.check(definition.name, "__init__", len(args), kwargs)
        kwargs = definition.shape("__init__").with_files(len(args), kwargs)
        if inspect.isabstract(definition.target):
            raise TraceError(f"{here()}: the class {definition.name} is abstract, it cannot be constructed")
        set_slot = object.__setattr__
        set_slot(self, "_identity", object())
        set_slot(self, "_definition", definition)
        set_slot(self, "_args", tuple([open_argument(arg) for arg in args]))
        set_slot(self, "_kwargs", tuple([(name, open_argument(arg)) for name, arg in kwargs.items()]))
        set_slot(self, "_where", here())
        set_slot(self, "_chosen", NO_CALL_OPTIONS)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        methods = self._definition.methods()
        if not methods:
            raise TraceError(
                f"{here()}: the class {self._definition.name} has no method __call__, process or apply to call"
            )
        return call_instance(self, methods[0], args, kwargs)

    def options(self, *, name: str | None = None, after: Any = None, **options: Any) -> Instance:
        """The same instance with options for the calls made through what is returned."""
        return self._with(self._chosen.updated(f"the node {self._definition.name}", name, after, options))

    def _with(self, chosen: CallOptions) -> Instance:
        made: Instance = object.__new__(Instance)
        for slot in ("_identity", "_definition", "_args", "_kwargs", "_where"):
            object.__setattr__(made, slot, getattr(self, slot))
        object.__setattr__(made, "_chosen", chosen)
        return made

    @property
    def map(self) -> Any:
        """`map(*lists, window=None, parallelism=None)`: a call for each element, as of a function node, unless the
        class has its own."""
        if hasattr(self._definition.target, "map"):
            return self.__getattr__("map")
        return functools.partial(_map, self)

    def resolve(self) -> Any:
        """The live object, constructed from the init arguments; outside a workflow."""
        from .growing import resolve_all

        return resolve_all([self])[0]

    @staticmethod
    def __grandpa_resolve__(instances: list[Any]) -> list[Any]:
        from .growing import resolve_all

        return resolve_all(instances)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        definition = self._definition
        if name in definition.methods():
            return functools.partial(_call_method, self, name)
        attribute = inspect.getattr_static(definition.target, name, None)
        if hasattr(type(getattr(attribute, "__func__", attribute)), "__grandpa_bind__"):  # a node of its own
            return attribute.__get__(self, definition.target)
        mark = "mark that method with @Node to call it as a task, or " if inspect.isroutine(attribute) else ""
        raise RefAttributeError(
            f"{here()}: the attribute {name!r} of {self!r} was read, but the object is constructed only when a task "
            f"runs; {mark}read it inside a node that takes the instance; outside a workflow "
            f"resolve({definition.name}(...)) constructs one"
        )

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise RefAttributeError(
            f"{here()}: the attribute {name!r} of {self!r} was set, but the object is constructed only when a task "
            "runs; pass the value to its __init__"
        )

    def __bool__(self) -> bool:
        cls = self._definition.target
        if hasattr(cls, "__bool__") or hasattr(cls, "__len__"):
            _touched(self, "was asked for its truth value")
        return True

    def __repr__(self) -> str:
        return f"<Instance {self._definition.name} ({self._where})>"

    def __copy__(self) -> Instance:
        return self

    def __deepcopy__(self, memo: Any) -> Instance:
        return self


def _map(instance: Instance, /, *lists: Any, window: int | None = None, parallelism: int | None = None) -> Any:
    from .mapping import map_instance

    return map_instance(instance, lists, window, parallelism)


def _call_method(instance: Instance, method: str, /, *args: Any, **kwargs: Any) -> Any:
    return call_instance(instance, method, args, kwargs)


def call_instance(instance: Instance, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Records one call of an instance."""
    from .tracing import record

    return record(instance._definition, method, instance, args, kwargs, instance._chosen)


def _touched(instance: Instance, tried: str) -> NoReturn:
    raise TraceError(
        f"{here()}: {instance!r} {tried}, but the object is constructed only when a task runs; do it inside a node "
        "that takes the instance"
    )


def _touching(name: str, tried: str) -> Callable[..., NoReturn]:
    def touched(self: Instance, *args: Any) -> NoReturn:
        _touched(self, tried)

    touched.__name__ = touched.__qualname__ = name
    return touched


_TOUCHES = {
    "__len__": "was asked for its length",
    "__iter__": "was iterated over",
    "__contains__": "was searched with `in`",
    "__getitem__": "was indexed",
    "__setitem__": "had an item set",
    "__enter__": "was used in a `with` statement",
    "__exit__": "was used in a `with` statement",
    "__int__": "was converted with int()",
    "__float__": "was converted with float()",
    "__index__": "was used as an index",
    "__fspath__": "was used as a path",
    "__reduce_ex__": "was pickled",
    **{
        f"__{side}{name}__": f"was used with the operator `{symbol}`"
        for name, symbol in {"add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "mod": "%"}.items()
        for side in ("", "r")
    },
}
for _name, _tried in _TOUCHES.items():
    setattr(Instance, _name, _touching(_name, _tried))
