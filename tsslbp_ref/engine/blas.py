"""BLAS beside the engine's threads: which library the products come from, and its limit of one thread.

The last bits of a product depend on the number of BLAS threads, and two thread pools on the same cores fight for them.
"""

from __future__ import annotations

import _thread
import ctypes
import importlib
import os
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

# Extensions that multiply matrices for us: NumPy's, and SciPy's, from which Numba's compiled products come.
PRODUCT_MODULES = ("numpy._core._multiarray_umath", "scipy.linalg.cython_blas")
# What the product of float32 matrices is called: plain, in the wheels' OpenBLAS, with long integers, in Accelerate.
PRODUCT_NAMES = ("cblas_sgemm", "sgemm_")
PRODUCT_FORMS = ("{}", "scipy_{}", "scipy_{}64_", "{}64_", "{}_64", "{}$NEWLAPACK", "{}$NEWLAPACK$ILP64")

# ---------------------------------------------------------------------------------------------------------------------
# Which library
# ---------------------------------------------------------------------------------------------------------------------


class BlasLibrary(NamedTuple):
    """A library that products come from, its version, and whether its threads can be limited."""

    library: str
    version: str
    limited: bool


class _SymbolInfo(ctypes.Structure):
    """What the C function dladdr says of an address."""

    _fields_ = (
        ("library", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


@lru_cache
def product_libraries() -> tuple[BlasLibrary, ...]:
    """Find the libraries from which the products of NumPy and of Numba's compiled loops come.

    Returns
    -------
    tuple of BlasLibrary
        A library's threads can be limited where threadpoolctl knows it. Where the system does not say which library
        is used, all that threadpoolctl knows are returned, or what NumPy was built with.
    """
    known = {os.path.realpath(library.filepath): library for library in _blas_controllers()}
    used = dict.fromkeys(path for module in PRODUCT_MODULES if (path := _product_library(module)) is not None)
    found = [_described(path, known.get(path)) for path in used or known]
    return tuple(found) or (_built_with(),)


def _blas_controllers() -> list[Any]:
    """All loaded BLAS libraries that threadpoolctl knows."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _described(path: str, controller: Any) -> BlasLibrary:
    version = "unknown" if controller is None else controller.version or "unknown"
    return BlasLibrary(Path(path).name, version, controller is not None)


def _product_library(module: str) -> str | None:
    """Path of the library where a loaded extension finds its product of float32 matrices; None if that is not told."""
    try:
        extension = ctypes.CDLL(importlib.import_module(module).__file__)
        where = ctypes.CDLL(None).dladdr  # Windows has none
    except (ImportError, OSError, TypeError, AttributeError):
        return None
    for name in (form.format(name) for name in PRODUCT_NAMES for form in PRODUCT_FORMS):
        product, info = getattr(extension, name, None), _SymbolInfo()
        if product is not None and where(product, ctypes.byref(info)) and info.library:
            return os.path.realpath(os.fsdecode(info.library))
    return None


def _built_with() -> BlasLibrary:
    """What NumPy was built with; without any BLAS it multiplies by loops of its own, on one thread."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return BlasLibrary(blas.get("name", "unknown"), blas.get("version", "unknown"), not blas.get("found", True))


@lru_cache
def warn_of_unlimited_blas() -> None:
    """Warn, once in a process, of libraries whose threads cannot be limited."""
    free = [one.library for one in product_libraries() if not one.limited]
    if free:
        warnings.warn(
            f"matrix products come from {', '.join(free)}, which threadpoolctl does not know: if it has threads of its "
            "own, they are not limited to one, fight with the engine's, and the last bits of results may differ from "
            "run to run; OMP_NUM_THREADS=1 (macOS: VECLIB_MAXIMUM_THREADS=1) at the start limits them",
            RuntimeWarning,
            stacklevel=2,
        )


# ---------------------------------------------------------------------------------------------------------------------
# Its threads
# ---------------------------------------------------------------------------------------------------------------------


def _set_threads(library: Any, n_threads: int) -> None:
    """Set the number of threads of a BLAS library, from any thread.

    From threadpoolctl 3.7 on, the thread that first sets OpenBLAS's number alone may, until it is cleared; calls of
    all others do nothing, without a word, and an interrupt can leave its lock held. `_BlasLimit` has a lock itself.
    """
    getattr(library, "_real_set_num_threads", library.set_num_threads)(n_threads)


class Lock(_thread.RLock):  # type: ignore[misc]
    """A lock that an interrupt leaves free: from Python 3.14 on one may come behind `__enter__`, before the block.

    An RLock, since no other lock knows whether this thread has it.
    """

    def __enter__(self) -> bool:  # type: ignore[override]
        try:
            self.acquire()
        except BaseException:
            if self._is_owned():  # type: ignore[attr-defined]
                self.release()
            raise
        return True


class _Holder:
    """Somebody who asks for one BLAS thread."""


class _BlasLimit:
    """One BLAS thread for as long as anybody in this process asks for it; then as many as there were before.

    The number of BLAS threads is the whole process's, so those who ask for one are counted. Unlike
    `ThreadpoolController.limit`, this asks no library for all that it can tell, which a short step feels.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = Lock()
        self._holders: weakref.WeakSet[_Holder] = weakref.WeakSet()  # also of those that an interrupt kept from leaving
        self._before: list[tuple[Any, int]] = []
        self._libraries: list[Any] | None = None

    def hold(self, holder: _Holder) -> None:
        """Limit BLAS, until every holder has released it."""
        with self._lock:
            if self._libraries is None:
                self._libraries = _blas_controllers()
                warn_of_unlimited_blas()
            if not list(self._holders):  # its length can count one that has gone, if an interrupt fell into its going
                # A library that an interrupt left limited stays in the list, and has its threads back after this limit.
                self._before += [(library, n) for library in self._libraries if (n := library.num_threads) != 1]
                for library, _ in self._before:
                    _set_threads(library, 1)
            self._holders.add(holder)

    def release(self, holder: _Holder) -> None:
        """Give BLAS its threads back if this was the last holder."""
        with self._lock:
            self._holders.discard(holder)
            if not list(self._holders):
                for library, n_threads in self._before:
                    _set_threads(library, n_threads)
                self._before = []


_BLAS_LIMIT = _BlasLimit()  # of the process, as the number of BLAS threads is


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the end of the block."""
    holder = _Holder()
    try:  # also around `hold`: an interrupt may come at any moment
        _BLAS_LIMIT.hold(holder)
        yield
    finally:
        _BLAS_LIMIT.release(holder)
