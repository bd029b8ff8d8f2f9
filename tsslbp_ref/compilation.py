"""How a loop is compiled: without the interpreter lock, in its arrays' precision, on disk till a source changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload


def _source_digest() -> str:
    """A fingerprint of the package's sources: a compiled loop holds the functions of other files that it calls."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(text).hexdigest()


_SOURCE_DIGEST = _source_digest()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop and keep the machine code on disk where a folder can be written.

    Numba notices an edit of the file that holds the loop, not of the files whose functions it calls, so its stamp is
    replaced by a digest of the package. Where neither the package's folder nor the user's cache can be written, Numba
    raises ``RuntimeError``, and the function is compiled anew in every process.
    """
    try:
        dispatcher = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = _SOURCE_DIGEST
    return dispatcher


def compiled_term(function: Callable[..., Any], **options: Any) -> None:
    """Let compiled loops call a scalar function by its name, in the precision of its arguments.

    NumPy takes a literal like the 1.0 of (1.0 - theta_m) in the precision of what it meets; Numba takes it for a
    float64, and a float32 loop would compute in float64, at half the speed. So for float32 arguments the same code is
    compiled with float32 literals.

    Parameters
    ----------
    function : callable
        Of numbers, or of numbers and functions.
    **options
        For `numba.njit`.
    """
    literals = tuple(np.float32(c) if isinstance(c, float) else c for c in function.__code__.co_consts)
    single = FunctionType(function.__code__.replace(co_consts=literals), function.__globals__, function.__name__)
    single.__defaults__ = function.__defaults__

    def choose(*arguments: types.Type) -> Callable[..., Any]:
        return function if types.float64 in arguments else single

    overload(function, jit_options=options, strict=False)(choose)  # type: ignore[arg-type]
