"""How a loop is compiled: without the interpreter lock, in its arrays' precision, on disk till a source changes."""

from __future__ import annotations

import glob
import hashlib
import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.typing import signature
from numba.extending import intrinsic, overload
from numba.np import numpy_support
from numba.np.linalg import ensure_blas, get_blas_kind

COMPILED = ("jit.py", "model/*.py", "engine/*.py", "exact/*.py")  # the sources of compiled loops


def _source_digest() -> str:
    """A fingerprint of the package's sources: a compiled loop holds the functions of other files that it calls."""
    text = b"".join(path.read_bytes() for path in sorted(p for f in COMPILED for p in Path(__file__).parent.glob(f)))
    return hashlib.sha256(text).hexdigest()


DIGITS_OF_A_NAME = 16  # of machine code on disk
FLAG_BYTES = 8  # of an int64
LONG_S = 600.0  # in which a process that compiles at the same time has named its code in the index
_SOURCE_DIGEST = _source_digest()


def compiled_contracted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, and products may be added in one instruction, which rounds once where two round twice."""
    return _compiled(function, fastmath={"contract"})


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop and keep the machine code on disk where a folder can be written."""
    return _compiled(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile with Numba's options.

    Numba notices an edit of the file that holds the loop, not of the files whose functions it calls, so its stamp is
    replaced by a digest of the package. Where neither the package's folder nor the user's cache can be written, Numba
    raises ``RuntimeError``, and the function is compiled anew in every process.
    """
    try:
        dispatcher = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(nogil=True, **options)(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = _SOURCE_DIGEST
        cache_file.save = MethodType(_save_apart, cache_file)
        cache_file._load_index = MethodType(_readable_index, cache_file)
    return dispatcher


def _readable_index(cache_file: Any) -> Any:
    """What the index names; nothing where it is of an older source, and holds a class that is not there any more.

    Numba reads an index whole before it compares the stamp.
    """
    try:
        return type(cache_file)._load_index(cache_file)
    except (AttributeError, ImportError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError):
        return {}


def _save_apart(cache_file: Any, key: Any, data: Any) -> None:
    """Keep machine code under a name that no other code has, and name it in the index only once it is there.

    Numba counts its files, and writes the index first. Where two processes compile at the same time, one may then be
    handed the other's code, for other arguments or of an older source.
    """
    base = cache_file._index_name.removesuffix(".nbi")
    digest = hashlib.sha256(f"{cache_file._source_stamp} {key!r}".encode()).hexdigest()
    name = f"{base}.{digest[:DIGITS_OF_A_NAME]}.nbc"
    cache_file._save_data(name, data)
    overloads = cache_file._load_index()
    if not overloads:  # nothing of this source yet: what has been there for long is of an older one
        for path in Path(cache_file._cache_path).glob(f"{glob.escape(base)}.*.nbc"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - LONG_S:
                    path.unlink()
    cache_file._save_index({**overloads, key: name})


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


def add_product(A: Any, B: Any, C: Any) -> None:
    """C += A B for contiguous matrices of one dtype, of which A and B may come as transposed views.

    ``np.dot`` can only overwrite, and a sum of many small products would have to be written and read twice.
    """
    C += A @ B


@overload(add_product)
def _add_product(A: Any, B: Any, C: Any) -> Callable[..., None] | None:
    """Call the BLAS that ``np.dot`` calls, through the same entry of Numba's, with beta = 1.

    BLAS counts columns first and reads a matrix by rows as its transposed, so it is asked for C^T += B^T A^T.
    """
    if not {A.layout, B.layout} <= {"C", "F"} or C.layout != "C" or len({A.dtype, B.dtype, C.dtype}) > 1:
        return None  # the compiler then says that there is no such product
    ensure_blas()
    gemm: Any = types.ExternalFunction("numba_xxgemm", _gemm_signature(types.CPointer(A.dtype)))
    by_rows, by_columns = ord("n"), ord("t")
    order_A, order_B = (by_rows if matrix.layout == "C" else by_columns for matrix in (A, B))
    kind, one = ord(get_blas_kind(A.dtype)), np.ones(1, numpy_support.as_dtype(A.dtype))

    def multiply(A: Any, B: Any, C: Any) -> None:
        (n_rows, n_inner), n_columns = A.shape, B.shape[1]
        if B.shape[0] != n_inner or C.shape != (n_rows, n_columns):
            raise ValueError("the shapes of A, B and C do not fit C += A B")
        run_A = n_inner if order_A == by_rows else n_rows
        run_B = n_columns if order_B == by_rows else n_inner
        sizes = (n_columns, n_rows, n_inner)
        operands = (one.ctypes, B.ctypes, run_B, A.ctypes, run_A, one.ctypes, C.ctypes, n_columns)
        gemm(kind, order_B, order_A, *sizes, *operands)

    return multiply


def multiply(A: Any, B: Any, C: Any, turned_A: bool, turned_B: bool, adds: bool) -> None:
    """C = A B, or C += A B if it adds, with A or B turned on request; matrices of one dtype whose rows are contiguous.

    ``np.dot``, compiled, would copy a matrix whose rows do not follow one another. Shapes are not checked.
    """
    product = (A.T if turned_A else A) @ (B.T if turned_B else B)
    C[:] = C + product if adds else product


@overload(multiply)
def _multiply(A: Any, B: Any, C: Any, turned_A: bool, turned_B: bool, adds: bool) -> Callable[..., None] | None:
    """Call BLAS as `_add_product` does."""
    if len({A.dtype, B.dtype, C.dtype}) > 1 or {A.ndim, B.ndim, C.ndim} != {2}:
        return None
    ensure_blas()
    gemm: Any = types.ExternalFunction("numba_xxgemm", _gemm_signature(types.CPointer(A.dtype)))
    as_it_lies, turned = ord("n"), ord("t")
    kind, numbers = ord(get_blas_kind(A.dtype)), np.arange(2).astype(numpy_support.as_dtype(A.dtype))
    size = numbers.itemsize

    def multiply(A: Any, B: Any, C: Any, turned_A: bool, turned_B: bool, adds: bool) -> None:
        sizes = (C.shape[1], C.shape[0], A.shape[0] if turned_A else A.shape[1])
        orders = (turned if turned_B else as_it_lies, turned if turned_A else as_it_lies)
        # The stride of a single row may be any number, and BLAS asks for one that a row fits in.
        run_A = max(A.strides[0] // size, A.shape[1], 1)
        run_B = max(B.strides[0] // size, B.shape[1], 1)
        run_C = max(C.strides[0] // size, C.shape[1], 1)
        operands = (numbers[1:].ctypes, B.ctypes, run_B, A.ctypes, run_A)
        scale = numbers[1:] if adds else numbers[:1]
        gemm(kind, *orders, *sizes, *operands, scale.ctypes, C.ctypes, run_C)

    return multiply


def _gemm_signature(number: types.Type) -> Any:
    """Kind, orders, sizes; alpha, first matrix and its run, second and its run, beta, result and its run."""
    matrix = [number, types.intp]
    arguments: list[Any] = [*[types.char] * 3, *[types.intp] * 3, number, *matrix, *matrix, number, *matrix]
    return signature(types.intc, *arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Flags by which compiled loops on several threads wait for one another
# ---------------------------------------------------------------------------------------------------------------------


def read_flag(flags: Any, i: int) -> int:
    """flags[i] of an int64 vector as it is now; what another thread wrote before it set the flag can be read after."""
    return int(flags[i])


def set_flag(flags: Any, i: int, value: int) -> None:
    """flags[i] = value, after all that this thread has written before."""
    flags[i] = value


def pause() -> None:
    """Tell the processor that the loop around this waits, where there is an instruction for it."""


def give_way() -> None:
    """Let other threads have the core, if any wait for it, where the system has a call for it (POSIX)."""


@overload(read_flag, strict=False)
def _read_flag(flags: Any, i: int) -> Callable[..., int]:
    return lambda flags, i: _load_acquire(flags, i)


@overload(set_flag, strict=False)
def _set_flag(flags: Any, i: int, value: int) -> Callable[..., None]:
    return lambda flags, i, value: _store_release(flags, i, value)


@overload(pause, strict=False)
def _pause() -> Callable[..., None]:
    return lambda: _pause_instruction()


@overload(give_way, strict=False)
def _give_way() -> Callable[..., None]:
    if os.name != "posix":
        return lambda: None
    sched_yield: Any = types.ExternalFunction("sched_yield", signature(types.intc))

    def give_way() -> None:
        sched_yield()

    return give_way


def _load(typing_context: Any, flags: Any, i: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _flag_place(context, builder, signature, arguments)
        return builder.load_atomic(place, ordering="acquire", align=FLAG_BYTES)

    return types.int64(flags, types.intp), generate


def _store(typing_context: Any, flags: Any, i: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _flag_place(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], place, ordering="release", align=FLAG_BYTES)
        return context.get_dummy_value()

    return types.void(flags, types.intp, types.int64), generate


def _wait(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if builder.module.triple.startswith("x86_64"):
            ir: Any = cgutils.ir  # llvmlite's
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


def _flag_place(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Where flags[i] lies."""
    kind = signature.args[0]
    array = context.make_array(kind)(context, builder, arguments[0])
    return cgutils.get_item_pointer(context, builder, kind, array, [arguments[1]], wraparound=False)


_load_acquire: Any = intrinsic(_load)
_store_release: Any = intrinsic(_store)
_pause_instruction: Any = intrinsic(_wait)
