"""How bytes, values and texts are broken: at random, by a generator that the caller seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

MOST_CHANGES = 4
LENGTHS = (1, 2, 4, 8, 64)
WORDS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\xff\xff\xff\x7f",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x80",
    b"\n",
    b"'",
    b"../",
    b"\xed\xa0\x80",
)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 2**31, 2**63, 10**30, 0.0, -0.0, 0.5, 1e-320, 1e300, -1e300, math.nan,
    math.inf, -math.inf, "", "0", "nan", "\n", "a\nb", "\0", "\u202e", "x" * 5000, "../../x", [], [[]], [1], [1,
    2, 3], ["a"], [None], [1e300] * 3, {}, {"a": 1}, {"": {}}, [[[[[[[[]]]]]]]],
)  # fmt: skip


def broken_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with one to four changes: flipped, cut, put in twice, left out, or written over."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, MOST_CHANGES + 1))):
        where, length = int(rng.integers(len(data) + 1)), int(rng.choice(LENGTHS))
        match int(rng.integers(7)):
            case 0 if where < len(data):
                data[where] ^= 1 << int(rng.integers(8))
            case 1:
                del data[where:]
            case 2:
                del data[where : where + length]
            case 3:
                data[where:where] = data[where : where + length]
            case 4:
                data[where:where] = rng.bytes(length)
            case 5:
                word = WORDS[rng.integers(len(WORDS))]
                data[where : where + len(word)] = word
            case _:  # the beginning of a file decides most
                early = int(rng.integers(min(len(data), 64) + 1))
                data[early : early + 1] = rng.bytes(1)
    return bytes(data)


def hostile_value(rng: np.random.Generator) -> Any:
    """A value that nobody should give."""
    return copy.deepcopy(VALUES[rng.integers(len(VALUES))])


def broken_value(value: Any, rng: np.random.Generator) -> Any:
    """A JSON value in which one or two leaves are hostile, or a key is missing, is new or has another's value."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 3))):
        places = list(_places(value))
        if not places:
            return hostile_value(rng)
        holder, key = places[rng.integers(len(places))]
        match int(rng.integers(8)):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[f"{key}{rng.integers(10)}"] = hostile_value(rng)
            case 2:
                other, other_key = places[rng.integers(len(places))]
                holder[key] = copy.deepcopy(other[other_key])
            case 3 if type(holder[key]) in (int, float):
                holder[key] = holder[key] * [-1, 2, 1000, 1e-3][rng.integers(4)]
            case _:
                holder[key] = hostile_value(rng)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All (container, key) below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)


def broken_text(text: str, rng: np.random.Generator, alphabet: str) -> str:
    """A text in which some characters are others of an alphabet, missing, or twice there."""
    letters = list(text)
    for _ in range(int(rng.integers(1, MOST_CHANGES + 1))):
        where = int(rng.integers(len(letters) + 1))
        match int(rng.integers(3)):
            case 0:
                letters[where : where + 1] = [alphabet[rng.integers(len(alphabet))]]
            case 1:
                del letters[where : where + 1]
            case _:
                letters[where:where] = [alphabet[rng.integers(len(alphabet))]]
    return "".join(letters)
