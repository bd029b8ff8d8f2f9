"""The pickled dictionaries of CIFAR-10's python version, read without unpickling.

A pickle is a program: its opcodes can call any function of any module, and even without calls they can take any amount
of memory or time (`pickle.Unpickler` gives a memo index of 2^31 its 32 GiB, and hashes a tuple of tuples to any depth).
So the opcodes are only read, by `pickletools.genops`, and those with which Python 2 and 3 write such a dictionary are
carried out here: they make bytes, text, integers, lists, tuples, dictionaries with text as keys, and `Call`, which
keeps the name of a function and its arguments and calls nothing. Anything else is an error.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tsslbp_ref import checks

MOST_OPCODES = 800_000  # 16 for each of 50,000 images; the most that Python 2 and 3 write is 9
PROTOCOLS = range(2, 6)  # those before are written in text, those behind there are not
VALUES = ("BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE")
BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
PYTHON_2_TEXT = ("BINSTRING", "SHORT_BINSTRING")  # bytes, which pickletools gives as Latin-1 text
SINGLETONS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CODECS_ENCODE = "_codecs.encode"  # with which Python 3 writes bytes in protocol 2
ADMITTED = (
    CODECS_ENCODE,
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
)
MARK = object()


class Name(NamedTuple):
    """A function or class that a pickle mentions."""

    text: str


@dataclass(eq=False)
class Call:
    """What a pickle would have called: a name, its arguments, and the state that was set afterwards."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


def read_dictionary(content: bytes) -> dict[str, Any]:
    """Return the dictionary that a pickle of protocol 2 to 5 describes.

    Raises
    ------
    Exception
        Of any type, if the content is damaged, is no dictionary, or needs more than a CIFAR-10 batch does.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(content)
    for count, (opcode, argument, _) in enumerate(opcodes):
        if count >= MOST_OPCODES:
            raise ValueError(f"more than {MOST_OPCODES} opcodes")
        if opcode.name in VALUES:
            stack.append(argument)
        elif opcode.name in BYTES:
            stack.append(bytes(argument))
        elif opcode.name in PYTHON_2_TEXT:
            stack.append(argument.encode("latin-1"))
        elif opcode.name in SINGLETONS:
            stack.append(SINGLETONS[opcode.name])
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif opcode.name == "PROTO" and argument not in PROTOCOLS:
            raise ValueError(f"there is no protocol {argument}")
        elif opcode.name not in ("PROTO", "FRAME", "STOP"):
            _build(stack, opcode.name, argument)
    (result,) = stack
    if not isinstance(result, dict):
        raise ValueError(f"a dictionary is wanted, got {type(result).__name__}")
    return result


def _build(stack: list[Any], opcode: str, argument: Any) -> None:
    """Carry out an opcode that makes something of the top of the stack."""
    match opcode:
        case "MARK":
            stack.append(MARK)
        case "EMPTY_DICT":
            stack.append({})
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_TUPLE":
            stack.append(())
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(_popped(stack, int(opcode[-1]))))
        case "TUPLE":
            stack.append(tuple(_since_mark(stack)))
        case "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        case "APPENDS":
            values = _since_mark(stack)
            stack[-1].extend(values)
        case "SETITEM":
            _set_items(_popped(stack, 2), stack[-1])
        case "SETITEMS":
            _set_items(_since_mark(stack), stack[-1])
        case "GLOBAL":
            stack.append(_admitted(argument.replace(" ", ".")))
        case "STACK_GLOBAL":
            stack.append(_admitted(".".join(_popped(stack, 2))))
        case "REDUCE":
            stack.append(_called(*_popped(stack, 2)))
        case "BUILD":
            state = stack.pop()
            stack[-1].state = state
        case _:
            raise ValueError(f"the opcode {opcode} is not allowed")


def _popped(stack: list[Any], number: int) -> list[Any]:
    """Take the top of the stack away and return it, the lowest first."""
    values = stack[-number:]
    del stack[-number:]
    return values


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark, and the mark, away and return the former."""
    values: list[Any] = []
    while (value := stack.pop()) is not MARK:
        values.append(value)
    return values[::-1]


def _set_items(keys_and_values: list[Any], target: dict[str, Any]) -> None:
    for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
        text = key.decode("latin-1") if isinstance(key, bytes) else key
        if not isinstance(text, str) or text in target:  # a tuple as a key would be hashed to any depth
            raise ValueError("a key is no text, or comes twice")
        target[text] = value


def _admitted(name: str) -> Name:
    if name not in ADMITTED:
        raise ValueError(f"the name {checks.shown(name)} is not allowed")
    return Name(name)


def _called(function: Name, arguments: tuple[Any, ...]) -> bytes | Call:
    if function.text != CODECS_ENCODE:
        return Call(function.text, arguments)
    text, encoding = arguments
    if encoding != "latin1":
        raise ValueError("a text encoding other than latin1 is not allowed")
    return text.encode("latin-1")
