"""A reader for the part of pickle that checkpoints are made of. It runs nothing and imports nothing.

Python's own unpickler calls what a file names; this one is an interpreter of its own, in which every opcode does one
fixed thing to plain data. Tensors come out as `TensorRecord`, objects of unknown classes as `Record`, a bag of
attributes with the class's name. Whatever else a file asks for is refused by name.
"""

import dataclasses
import pickletools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from flowvocoder.errors import CheckpointError
from flowvocoder.files import reading

MAX_OPCODES = 5_000_000
"""More than ten times what the largest published checkpoint has."""

MAX_COPIES = 1_000_000
"""Items that the file may have copied: one list of it could otherwise be made a tuple many thousand times."""

MAX_NAME = 300
"""Characters of a module's or a class's name."""

MAX_NESTING = 9
"""Levels of lists, tuples, dicts and sets within each other; a checkpoint has about five. Objects start anew."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; nothing but its name is known."""

    text: str


@dataclasses.dataclass(eq=False)
class Record:
    """What the pickle says of an object: its class's name and its attributes."""

    kind: str
    attributes: dict[Any, Any]


@dataclasses.dataclass(frozen=True)
class StorageRecord:
    """A storage of `count` elements, whose bytes are elsewhere in the file under `key`."""

    kind: str
    key: str
    count: int


@dataclasses.dataclass(frozen=True, eq=False)
class TensorRecord:
    """A strided view of a storage, in elements."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


STORAGES = frozenset(
    f"{module}.{kind}Storage"
    for module in ("torch", "torch.cuda")
    for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
)


class Stream(Protocol):
    """Where the bytes come from; nothing is read beyond the end of the pickle."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self) -> bytes: ...


def read_pickle(stream: Stream, path: Path) -> tuple[Any, dict[str, StorageRecord]]:
    """One pickle from where the stream stands to just behind it, and the storages that it refers to, by key.

    Args:
        path: of the file, for messages.

    Raises:
        CheckpointError: truncated, no pickle, too large or too deep, or asks for what no checkpoint needs.
    """
    with reading(path, CheckpointError, "truncated or not a checkpoint"):
        machine = _Machine(str(path))
        value = machine.run(stream)
        _check_nesting(value, str(path))
        return value, machine.storages


class _Machine:
    """The stack machine of the pickle format (see the comments in Python's pickletools)."""

    def __init__(self, what: str):
        self.what = what
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageRecord] = {}
        self.copied = 0

    def run(self, stream: Stream) -> Any:
        operations = pickletools.genops(stream)  # type: ignore[arg-type]  # it reads bytes and lines, no more
        for count, (opcode, argument, _) in enumerate(operations):
            if count == MAX_OPCODES:
                raise CheckpointError(f"{self.what}: more than {MAX_OPCODES} pickle operations: not a checkpoint")
            if opcode.name == "STOP":
                break
            if opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise CheckpointError(
                    f"{self.what}: uses the pickle operation {opcode.name}, which no checkpoint needs"
                )
        (value,) = self.stack
        return value

    def pop_mark(self) -> list[Any]:
        first = self.marks.pop()
        items = self.stack[first:]
        del self.stack[first:]
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("an operation lacks its operands")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def name(self, module: str, name: str) -> None:
        text = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if text not in _CALLS and text not in STORAGES and not _may_be_recorded(module):
            raise self.refusal(text)
        self.stack.append(Name(text))

    def put_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.name(module, name)

    def stack_name(self, _: Any) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str) or max(len(module), len(name)) > MAX_NAME:
            raise ValueError("a name that is no text, or a long one")
        self.name(module, name)

    def put(self, argument: int) -> None:
        self.memo[argument] = self.stack[-1]

    def memoise(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def tuple_of_mark(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_mark()))

    def append(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items for what is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError("items for what is no dict")
        target.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def new_object(self, _: Any) -> None:
        kind, _arguments = self.pop(2)
        self.stack.append(Record(self.class_name(kind), {}))

    def class_name(self, kind: Any) -> str:
        if not isinstance(kind, Name):
            raise ValueError("an object of what is no class")
        if kind.text in _CALLS or kind.text in STORAGES:
            raise self.refusal(kind.text)
        return kind.text

    def call(self, _: Any) -> None:
        function, arguments = self.pop(2)
        text = function.text if isinstance(function, Name) else repr(type(function).__name__)
        if text not in _CALLS or not isinstance(arguments, tuple):
            raise self.refusal(text)
        self.count_copies(*arguments)
        self.stack.append(_CALLS[text](*arguments))

    def count_copies(self, *values: Any) -> None:
        """Before they are copied."""
        self.copied += sum(len(value) for value in values if isinstance(value, list | tuple | set | dict))
        if self.copied > MAX_COPIES:
            raise CheckpointError(
                f"{self.what}: copies more than {MAX_COPIES} items, which no checkpoint needs: refused"
            )

    def build(self, _: Any) -> None:
        (state,) = self.pop(1)
        target = self.stack[-1]
        if isinstance(target, Record):
            if not isinstance(state, dict):
                raise ValueError(f"the state of a {target.kind} is no dict")
            self.count_copies(state)
            target.attributes.update(state)
        elif not isinstance(target, dict):  # an OrderedDict with attributes, such as a state dict's versions
            raise ValueError("a state for what is no object")

    def persistent(self, _: Any) -> None:
        (argument,) = self.pop(1)
        kind, *rest = argument
        if kind == "module" and isinstance(rest[0], Name):  # (class, file, source): the source is not looked at
            self.stack.append(rest[0])
        elif kind == "storage":
            storage = _storage(*rest)
            if self.storages.setdefault(storage.key, storage) != storage:
                raise ValueError(f"two descriptions of storage {storage.key[:40]!r}")
            self.stack.append(storage)
        else:
            raise ValueError("an unknown persistent id")

    def refusal(self, name: str) -> CheckpointError:
        why = "which no checkpoint needs: refused, and nothing in it was run"
        printable = name[:80].encode("unicode_escape").decode()
        return CheckpointError(f"{self.what}: asks for {printable}, {why}")


def _may_be_recorded(module: str) -> bool:
    """Whether a name of this module may be the class of a recorded object; such a name can only be written down.

    Classes of a checkpoint come from torch.nn or from somebody's own modules, never from Python's library.
    """
    root = module.partition(".")[0]
    if root == "torch":
        return module.startswith("torch.nn.")
    return root not in sys.stdlib_module_names and root not in ("builtins", "__builtin__", "copy_reg", "numpy")


def _storage(kind: Any, key: Any, location: Any, count: Any, view: Any = None) -> StorageRecord:
    if not isinstance(kind, Name) or kind.text not in STORAGES or not isinstance(key, str) or view is not None:
        raise ValueError("a storage that is described in an unknown way")
    if type(count) is not int or not 0 <= count < 2**48:
        raise ValueError("a storage of no sensible size")
    return StorageRecord(kind.text, key, count)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRecord:
    numbers = (offset, *size, *stride)
    fine = len(numbers) < 20 and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
    if not isinstance(storage, StorageRecord) or not fine:
        raise ValueError("a tensor that is described in an unknown way")
    elements = 1
    for n in size:
        elements *= n
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if elements else 0
    if elements > storage.count or last >= max(storage.count, 1):
        raise ValueError(f"a tensor of {elements} elements in a storage of {storage.count}")
    return TensorRecord(storage, offset, tuple(size), tuple(stride))


def _parameter(tensor: Any, *_: Any) -> TensorRecord:
    if not isinstance(tensor, TensorRecord):
        raise ValueError("a parameter that is no tensor")
    return tensor


def _pairs(items: Iterable[Any] = ()) -> dict[Any, Any]:
    return {_plain(key): value for key, value in items}


def _plain(value: Any) -> Any:
    """A key or a member of a set: nothing that takes long to hash."""
    if not isinstance(value, str | int | float | None):
        raise ValueError(f"a {type(value).__name__} as a key")
    return value


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _pairs,
    "builtins.set": lambda items=(): set(map(_plain, items)),
    "torch.Size": lambda items=(): tuple(items),
    "torch.device": lambda *_: None,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.backends.thnn._get_thnn_function_backend": lambda: None,  # every module of PyTorch 1.2 and before
}
"""The only things that a file may call, and what is done instead."""

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip

_LITERALS = frozenset({
    "INT", "LONG", "FLOAT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
})  # fmt: skip

_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "GLOBAL": _Machine.put_name,
    "STACK_GLOBAL": _Machine.stack_name,
    "MARK": _Machine.mark,
    "POP": lambda machine, _: machine.pop(1),
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put, "MEMOIZE": _Machine.memoise,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_of_mark,
    "TUPLE1": lambda machine, _: machine.stack.append(machine.pop(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.pop(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.pop(3)),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.pop(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "NEWOBJ": _Machine.new_object,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}  # fmt: skip


def _check_nesting(root: Any, what: str) -> None:
    """Refuse what nests too deep, in a time that grows with what is there and not with the paths through it."""
    deepest: dict[int, int] = {}
    todo: list[tuple[Any, int]] = [(root, 1)]
    while todo:
        value, depth = todo.pop()
        inside = list(_children(value))
        if not inside or deepest.get(id(value), 0) >= depth:
            continue
        deepest[id(value)] = depth
        if depth > MAX_NESTING:
            raise CheckpointError(f"{what}: containers nested {depth} deep, which no checkpoint has: refused")
        todo += [(child, 1 if isinstance(value, Record) else depth + 1) for child in inside]


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Record):
        yield from value.attributes.values()
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
