"""How a loop is compiled: without the interpreter lock, in its arrays' precision, machine code kept on disk.

Compiled loops take the scalar functions of `model.terms` from here (``from tsslbp_ref.jit import terms``), inlined and
in the precision of their arguments. This file alone imports Numba. Three parts of it are Numba's private matters: the
files of machine code (`_CodeFiles`), float32 literals (`compiled_term`) and BLAS with strides (`gemm`).
"""

from __future__ import annotations

import glob
import hashlib
import os
import pickle
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - compiled products call it: loaded now, so that its threads can be limited
from numba import types
from numba.extending import overload

from tsslbp_ref.model import terms

FunctionCache: Any = object
with suppress(ImportError):  # in another Numba; loops then have Numba's own cache
    from numba.core.caching import FunctionCache

ensure_blas: Any = None
with suppress(ImportError):  # in another Numba; `gemm` then falls back to NumPy's product
    from numba.core.typing import signature
    from numba.np import numpy_support
    from numba.np.linalg import ensure_blas, get_blas_kind

__all__ = [
    "compiled",
    "compiled_contracted",
    "compiled_inlined",
    "compiled_term",
    "exponential",
    "exponential_single",
    "gemm",
    "terms",
]

COMPILED = (  # the sources of compiled loops, and of what the loops call
    "jit.py",
    *(f"model/{name}.py" for name in ("optim", "parameters", "sweeps", "terms")),
    "engine/*.py",
    "exact/*.py",
)
NAME_DIGITS = 16  # of a digest in the name of a file of machine code
DIGEST_BYTES = 32  # of SHA-256
STALE_S = 600.0  # a file of an older source may still be another process's for so long
LARGEST_ARGUMENT = 64.0  # of the surrogate's exp: exp(-64) is nothing beside any other delta


# ---------------------------------------------------------------------------------------------------------------------
# Compiling, and machine code on disk
# ---------------------------------------------------------------------------------------------------------------------


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop and keep the machine code on disk where a folder can be written."""
    return _compiled(function)


def compiled_contracted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, where a product and a sum may become one instruction: it rounds once, two instructions twice."""
    return _compiled(function, fastmath={"contract"})


def compiled_inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, but copied into the loops that call it: a call with many arrays would take seconds to compile."""
    return _compiled(function, inline="always")


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile with Numba's options.

    Where neither the package's folder nor the user's cache can be written, Numba raises ``RuntimeError``, and the loop
    is compiled anew in every process. Where Numba's cache is no longer what `_Cache` extends, Numba's own is used: it
    notices no edit of other files, and a damaged file ends the process.
    """
    # No entry for C code: nobody asks for it, and the compiler takes longer with it.
    whole: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, **options}
    dispatcher = numba.njit(**whole)(function)
    if dispatcher is function:  # NUMBA_DISABLE_JIT
        return function
    with suppress(RuntimeError):
        try:
            dispatcher._cache = _Cache(function)
        except (AttributeError, TypeError):
            dispatcher.enable_caching()
    return dispatcher


def _source_digest() -> str:
    """Fingerprint of the sources and of Numba: a compiled loop holds the functions of other files that it calls."""
    paths = sorted(path for pattern in COMPILED for path in Path(__file__).parent.glob(pattern))
    text = b"".join(path.read_bytes() for path in paths)
    return hashlib.sha256(numba.__version__.encode() + text).hexdigest()[:NAME_DIGITS]


_SOURCE_DIGEST = _source_digest()


class _Cache(FunctionCache):
    """Numba's cache of a function, its files in the hands of `_CodeFiles`; a full or read-only disk is no error."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CodeFiles(Path(self._cache_path), self._impl.filename_base, _SOURCE_DIGEST)

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)


class _CodeFiles:
    """Machine code of one function, a file a signature, instead of Numba's index and data files.

    Numba stamps its index with the time of the file that holds the loop, and so misses an edit of a file that the loop
    calls; two processes that compile at once can be handed each other's code; and an empty or damaged file ends every
    later process. Here the name holds a digest of the package's sources and one of the signature, and the content
    begins with a digest of name and code: what does not match is compiled anew.
    """

    def __init__(self, folder: Path, base: str, stamp: str) -> None:
        self.folder, self.base, self.stamp = folder, base, stamp

    def load(self, key: Any) -> Any:
        """Return the code of a signature, None if there is none or it is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        return pickle.loads(code) if digest == self._digest(path, code) else None

    def save(self, key: Any, data: Any) -> None:
        """Write the code of a signature, whole or not at all, and remove what an older source has left."""
        path, code = self._path(key), pickle.dumps(data)
        passing = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:NAME_DIGITS]}")
        try:
            passing.write_bytes(self._digest(path, code) + code)
            os.replace(passing, path)
        finally:
            passing.unlink(missing_ok=True)
        for other in self.folder.glob(f"{glob.escape(self.base)}.*.nbc"):
            with suppress(OSError):
                if self.stamp not in other.name and other.stat().st_mtime < time.time() - STALE_S:
                    other.unlink()

    def flush(self) -> None:
        """Forget nothing: Numba asks for it when a function is recompiled."""

    def _path(self, key: Any) -> Path:
        return (
            self.folder / f"{self.base}.{self.stamp}.{hashlib.sha256(repr(key).encode()).hexdigest()[:NAME_DIGITS]}.nbc"
        )

    def _digest(self, path: Path, code: bytes) -> bytes:
        return hashlib.sha256(path.name.encode() + code).digest()


# ---------------------------------------------------------------------------------------------------------------------
# Scalar terms in the precision of the arrays
# ---------------------------------------------------------------------------------------------------------------------


def compiled_term(function: Callable[..., Any], single: Callable[..., Any] | None = None, **options: Any) -> None:
    """Let compiled loops call a scalar function by its name, in the precision of its arguments.

    NumPy takes a literal like the 1.0 of (1.0 - theta_m) in the precision of what it meets; Numba takes it for a
    float64, and a float32 loop would compute in float64, at half the speed. So for float32 arguments the same code is
    compiled with float32 literals.

    Parameters
    ----------
    function : callable
        Of numbers, or of numbers and functions.
    single : callable, optional
        What computes the same in float32; the function itself if not given.
    **options
        For `numba.njit`.
    """
    source: Any = single or function
    literals = tuple(np.float32(c) if isinstance(c, float) else c for c in source.__code__.co_consts)
    with_literals = FunctionType(source.__code__.replace(co_consts=literals), source.__globals__, source.__name__)
    with_literals.__defaults__ = source.__defaults__

    def choose(*arguments: types.Type) -> Callable[..., Any]:
        return function if types.float64 in arguments else with_literals

    overload(function, jit_options=options, strict=False)(choose)  # type: ignore[arg-type]


def exponential(x: float) -> float:
    """exp(x) = (exp(x / 64))^64, the inner one by its Taylor series to degree 11.

    Sums and products only, so that the compiler can work on several neurons at once; the library's exp takes them one
    by one, and a step of W2 takes 27.4 % longer. For |x| <= 16 the series is exact to 1e-16, and six squarings make of
    an error 64; up to `LARGEST_ARGUMENT` the result, next to nothing, is good to seven digits, beyond it of no use.
    """
    r = x * (1.0 / 64.0)
    series = 1.0 / 3628800.0 + r * (1.0 / 39916800.0)
    series = 1.0 / 362880.0 + r * series
    series = 1.0 / 40320.0 + r * series
    series = 1.0 / 5040.0 + r * series
    return _short_series(r, series)


def exponential_single(x: float) -> float:
    """`exponential` for float32, to degree 7: exact to 1e-9 for |x| <= 16, and to two digits at `LARGEST_ARGUMENT`."""
    r = x * (1.0 / 64.0)
    return _short_series(r, 1.0 / 5040.0)


def _short_series(r: float, series: float) -> float:
    """(1 + r + ... + r^6 / 720 + r^7 series)^64: the last terms of `exponential`, and its squarings."""
    series = 1.0 / 720.0 + r * series
    series = 1.0 / 120.0 + r * series
    series = 1.0 / 24.0 + r * series
    series = 1.0 / 6.0 + r * series
    series = 0.5 + r * series
    series = 1.0 + r * series
    series = 1.0 + r * series
    for _ in range(6):
        series *= series
    return series


_TERMS: tuple[Callable[..., float], ...] = (
    terms.membrane,
    terms.spike,
    terms.membrane_after_reset,
    terms.psc,
    terms.membrane_rise,
    terms.weighted_input,
    terms.leak,
    terms.psc_by_firing_time,
    terms.reset_by_firing_time,
    terms.moving_average,
)
_DIVIDING_TERMS = (terms.firing_time_by_membrane, terms.surrogate_spike_by_membrane, terms.adamw_weight)
for _term in _TERMS:
    compiled_term(_term)
for _term in _DIVIDING_TERMS:
    # Python's way to divide would leave the loop to look for a zero. No bit has to agree with the literal loops here:
    # a division by what does not change in the loop becomes a product, and products and sums become one instruction.
    compiled_term(_term, error_model="numpy", fastmath={"arcp", "contract"})
compiled_term(_short_series, fastmath={"contract"})
compiled_term(exponential, single=exponential_single, fastmath={"contract"})


# ---------------------------------------------------------------------------------------------------------------------
# Products of matrices
# ---------------------------------------------------------------------------------------------------------------------


def gemm(A: Any, B: Any, C: Any, accumulate: bool = False) -> None:
    """C = A B, or C += A B to accumulate.

    The matrices have one dtype, and each row is contiguous, or each column as in ``M.T``, for A and B; shapes are not
    checked. ``np.dot``, compiled, overwrites C only, and copies a matrix whose rows do not follow one another: so a
    step of W2 takes 14.4 % longer.
    """
    C[:] = C + A @ B if accumulate else A @ B


@overload(gemm)
def _gemm(A: Any, B: Any, C: Any, accumulate: bool = False) -> Callable[..., None] | None:
    """Call the BLAS that ``np.dot`` calls, through the same entry of Numba's; by ``np.dot`` itself where that is gone.

    BLAS counts columns first and reads a matrix by rows as its transposed, so it is asked for C^T = B^T A^T.
    """
    if len({A.dtype, B.dtype, C.dtype}) > 1 or {A.ndim, B.ndim, C.ndim} != {2}:
        return None  # the compiler then says that there is no such product
    if ensure_blas is None:
        return _gemm_by_dot
    ensure_blas()
    number = types.CPointer(A.dtype)
    matrix = [number, types.intp]  # and its stride
    arguments: list[Any] = [*[types.char] * 3, *[types.intp] * 3, number, *matrix, *matrix, number, *matrix]
    blas: Any = types.ExternalFunction("numba_xxgemm", signature(types.intc, *arguments))
    as_is, transposed = ord("n"), ord("t")
    kind, zero_and_one = ord(get_blas_kind(A.dtype)), np.arange(2).astype(numpy_support.as_dtype(A.dtype))
    size = zero_and_one.itemsize

    def gemm(A: Any, B: Any, C: Any, accumulate: bool = False) -> None:
        rows_A, rows_B = A.strides[1] == size, B.strides[1] == size  # else columns are contiguous
        orders = (as_is if rows_B else transposed, as_is if rows_A else transposed)
        # The stride of a single row may be any number, and BLAS asks for one that a row fits in.
        stride_A = max(A.strides[0] // size, A.shape[1], 1) if rows_A else max(A.strides[1] // size, A.shape[0], 1)
        stride_B = max(B.strides[0] // size, B.shape[1], 1) if rows_B else max(B.strides[1] // size, B.shape[0], 1)
        stride_C = max(C.strides[0] // size, C.shape[1], 1)
        operands = (zero_and_one[1:].ctypes, B.ctypes, stride_B, A.ctypes, stride_A)
        beta = zero_and_one[1:] if accumulate else zero_and_one[:1]
        blas(kind, *orders, C.shape[1], C.shape[0], A.shape[1], *operands, beta.ctypes, C.ctypes, stride_C)

    return gemm


def _gemm_by_dot(A: Any, B: Any, C: Any, accumulate: bool = False) -> None:
    product = np.dot(np.ascontiguousarray(A), np.ascontiguousarray(B))
    if accumulate:
        product += C
    C[:] = product
