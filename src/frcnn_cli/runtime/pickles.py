"""Reads pickles with a machine of its own: no code in a pickle is found, imported or called.

A pickle is a program for a stack machine. This one knows the instructions for numbers, strings,
lists, tuples and dicts, and the functions that its caller gives it by name. It stops at anything
else. What a pickle builds takes no more memory than a fixed multiple of its size: there may be one
instruction for every few bytes, and containers that hold containers may not be used twice, since a
pickle of a hundred bytes could otherwise stand for a list of 10^12 entries.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

_FREE_OPERATIONS = 500_000  # that a pickle of any size may have
_BYTES_PER_OPERATION = 8  # of those beyond; arrays have far more
_MAX_SHARED = 1000  # entries of a container that may be used twice
# Instructions that push their argument.
_CONSTANTS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
    | {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME"})

# By "module.name": what stands in for a function that pickles may call.
Functions = Mapping[str, Callable[..., Any]]


class PickleError(Exception):
    """A pickle holds something else than it may; the message says what."""


class Unfinished:
    """What a function returns if the pickle's next instruction is to say more about it.

    Args:
        finish: makes the object from the state that the pickle gives. value: until then.
    """

    def __init__(self, finish: Callable[[Any], Any], value: Any = None) -> None:
        self.finish, self.value = finish, value


def load(
    file: IO[bytes],
    size: int,
    functions: Functions,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Run one pickle; the file is left behind its end.

    Args:
        size: of the file in bytes.
        persistent: returns the object that a persistent id stands for; None if there may be none.
    Raises:
        PickleError: the pickle holds anything else.
        Exception: of nearly any type, where the pickle is damaged.
    """
    machine = _Machine(functions, persistent)
    most = _FREE_OPERATIONS + size // _BYTES_PER_OPERATION
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > most:
            raise PickleError("it has more instructions than arrays need")
        if opcode.name == "STOP":
            return _value(machine.stack.pop())
        machine.step(opcode.name, argument)
    raise PickleError("it is cut off")


def _value(item: Any) -> Any:
    return item.value if isinstance(item, Unfinished) else item


class Function:
    """A function on the stack."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class _Machine:
    """The stack and the memo of a running pickle."""

    def __init__(self, functions: Functions, persistent: Callable[[Any], Any] | None) -> None:
        self._functions, self._persistent = functions, persistent
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks below the marks
        self._memo: dict[int, Any] = {}
        self._shared: set[int] = set()  # ids of containers that were used twice

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction."""
        if name in _CONSTANTS:
            self.stack.append(argument)
        elif name in _NEW:
            self.stack.append(_NEW[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = tuple(map(_value, self.stack[-count:]))
            if len(items) < count:
                raise PickleError("its stack is empty")
            self.stack[-count:] = [items]
        elif name not in _IGNORED:
            instruction = _INSTRUCTIONS.get(name)
            if instruction is None:
                raise PickleError(f"it has the instruction {name}")
            instruction(self, argument)

    def _mark(self, _: Any) -> None:
        self._below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return [_value(item) for item in items]

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self._below.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _put(self, key: Any) -> None:
        self._memo[int(key)] = self.stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _get(self, key: Any) -> None:
        item = self._memo[int(key)]
        if isinstance(item, list | tuple | dict):
            if not _is_flat(item):
                raise PickleError("it uses a container of containers twice")
            self._shared.add(id(item))
        self.stack.append(item)

    def _make(self, kind: Callable[[list[Any]], Any]) -> None:
        items = self._since_mark()
        self.stack.append(kind(items))

    def _append(self, _: Any) -> None:
        item = _value(self.stack.pop())
        self._container(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        self._container(list).extend(items)

    def _set_item(self, _: Any) -> None:
        value, key = _value(self.stack.pop()), self.stack.pop()
        self._container(dict).update(_dict([key, value]))

    def _set_items(self, _: Any) -> None:
        items = self._since_mark()
        self._container(dict).update(_dict(items))

    def _container(self, kind: type) -> Any:
        container = self.stack[-1]
        if not isinstance(container, kind) or id(container) in self._shared:
            raise PickleError(f"it fills something that is no {kind.__name__}, or is used twice")
        return container

    def _global(self, name: Any) -> None:
        name = name.replace(" ", ".")
        if name not in self._functions:
            raise PickleError(f"it asks for {name}")
        self.stack.append(Function(self._functions[name]))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module}.{name}" if isinstance(module, str) else "?")

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise PickleError("it calls something that is no function")
        self.stack.append(function.call(*arguments))

    def _build(self, _: Any) -> None:
        state, item = _value(self.stack.pop()), self.stack[-1]
        if isinstance(item, Unfinished):
            item.value = item.finish(state)
        elif not isinstance(item, dict):  # an OrderedDict may have attributes, which are dropped
            raise PickleError("it changes a function")

    def _persistent_id(self, key: Any) -> None:
        if self._persistent is None:
            raise PickleError("it has persistent ids")
        self.stack.append(self._persistent(self.stack.pop() if key is None else key))


def _is_flat(container: Any) -> bool:
    """Whether a container holds few things, and no containers."""
    items = container.values() if isinstance(container, dict) else container
    return len(container) <= _MAX_SHARED and not any(
        isinstance(item, list | tuple | dict) for item in items
    )


def _dict(items: list[Any]) -> dict[Any, Any]:
    """A dict from keys and values in turn; keys are plain, since others may take long to hash."""
    if len(items) % 2 or not all(isinstance(key, str | int | bytes) for key in items[::2]):
        raise PickleError("a dict has keys that are neither strings nor whole numbers")
    return dict(zip(items[::2], items[1::2], strict=True))


_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "PUT": _Machine._put,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "GET": _Machine._get,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "LIST": lambda machine, _: machine._make(list),
    "TUPLE": lambda machine, _: machine._make(tuple),
    "DICT": lambda machine, _: machine._make(_dict),
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
    "PERSID": _Machine._persistent_id,
    "BINPERSID": _Machine._persistent_id,
}
