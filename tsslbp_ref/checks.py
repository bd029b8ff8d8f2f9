"""What the public functions ask of their arguments, each question asked in one place.

Every function either returns the argument in the form that the caller needs or raises ``ValueError`` or ``TypeError``
with one line that names the argument and says what was found.
"""

from __future__ import annotations

import difflib
import operator
import sys
import warnings
from collections.abc import Iterable, Sized
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FLOAT_NAMES = ("float32", "float64")
MOST_SHOWN = 60  # characters of a value that a message repeats
PIXELS_HELP = "uint8 above 1: a network takes normalised images, of datasets.normalise, or x / 255.0"
MOST_LISTED = 400  # characters of the known names
MOST_THREADS_A_CORE = 8
NO_SEQUENCES = (str, bytes, bytearray, memoryview, dict, set, frozenset)  # that can be gone through
LARGEST_SIZE = 2**31 - 1  # of an axis; what is larger fits into no memory

Kind = TypeVar("Kind")


def shortened(text: str) -> str:
    """Return a text, cut to 60 characters."""
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def shown(value: Any) -> str:
    """Return how a message repeats a value: its repr in one line, cut to 60 characters."""
    try:
        text = " ".join(repr(value).splitlines())
    except Exception:  # an integer of 5,000 digits has no repr
        text = f"a value of type {type(value).__name__}"
    return shortened(text)


def printable(text: str) -> str:
    r"""Return a text for a terminal: in one line, with escapes for characters that steer one.

    >>> printable("a\x1b[2Jb\n c")
    'a\\x1b[2Jb c'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def warn(message: str) -> None:
    """Warn at the line outside of this package that led here."""
    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def instance_of(name: str, value: Any, kind: type[Kind]) -> Kind:
    """Return ``value`` if it is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def instance_or_default(name: str, value: Any, kind: type[Kind]) -> Kind:
    """Return ``value`` if it is a `kind`, and a `kind` with its defaults if it is None."""
    return kind() if value is None else instance_of(name, value, kind)


def listed(name: str, value: Any) -> list[Any]:
    """Return ``value`` as a list, a list as it is; an error for text and what has no order or no entries."""
    if isinstance(value, list):
        return value
    if isinstance(value, NO_SEQUENCES) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence, got {shown(value)}")
    return list(value)


def float_dtype(name: str, value: Any) -> np.dtype[Any]:
    """Return ``value`` as the dtype float32 or float64, in this machine's byte order; anything else is an error."""
    wanted = f"{name} must be one of {', '.join(FLOAT_NAMES)}"
    if value is None:  # which NumPy takes for float64
        raise TypeError(f"{wanted}, got None")
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, SyntaxError) as error:
        raise TypeError(f"{wanted}, got {shown(value)}") from error
    if dtype.name not in FLOAT_NAMES:
        raise ValueError(f"{wanted}, got {dtype.name}")
    return dtype.newbyteorder("=")


def converted(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return the array in the dtype; what is too large for it becomes infinite, without a warning."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def finite_array(
    name: str,
    value: npt.ArrayLike,
    ndim: int | None = None,
    dtype: npt.DTypeLike | None = None,
    axes: str | None = None,
) -> npt.NDArray[Any]:
    """Return ``value`` as an array of finite floats.

    Parameters
    ----------
    name : str
        How the caller names the argument; it opens the error message.
    value : array_like
        Real numbers. Floats keep their precision unless `dtype` is given; integers and booleans become float64.
    ndim : int, optional
        The number of axes that the array must have.
    dtype : dtype, optional
        float32 or float64, to convert to.
    axes : str, optional
        What the axes are, for the error: "(T, B, N): steps, batch, neurons".

    Raises
    ------
    TypeError
        If the values are not real numbers.
    ValueError
        If the number of axes is wrong, the array is empty, or a value is NaN, infinite or too large for the dtype.
    """
    given = real_array(name, value)
    array = _floats(given, dtype)
    if ndim is not None and array.ndim != ndim:
        wanted = f"have {ndim} axes" if axes is None else f"be {axes}"
        raise ValueError(f"{name} must {wanted}; got {array.ndim} axes, shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if not all_finite(array):
        first = _first_not_finite(array)
        found = given[first]
        lost = f" in {array.dtype}" if np.isfinite(found) else ""
        raise ValueError(f"{name} must be finite{lost}, got {found} at {at_index(first)}")
    return array


def finite_result(cause: str, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what came out of finite numbers if it is finite; else the error says why not."""
    if not all_finite(array):
        first = _first_not_finite(array)
        raise ValueError(f"{cause}: {name} must be finite, got {array[first]} at {at_index(first)}")
    return array


def _first_not_finite(array: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])


def at_index(index: Iterable[Any]) -> str:
    """Return how a message names a place in an array."""
    return f"index [{', '.join(str(i) for i in index)}]"


def _floats(array: npt.NDArray[Any], dtype: npt.DTypeLike | None) -> npt.NDArray[Any]:
    """Return real numbers in the dtype, or, without one, floats as they are and all others as float64."""
    if dtype is not None:
        return array if array.dtype == dtype else converted(array, float_dtype("dtype", dtype))
    return array if array.dtype.name in FLOAT_NAMES else converted(array, np.float64)


def rectangular_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return ``value`` as an array of whatever it holds, in this machine's byte order, which the loops ask for.

    A masked array is one as long as nothing in it is masked.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error
    except RuntimeError as error:  # a PyTorch tensor that requires its gradient
        raise TypeError(
            f"{name} must be an array, which this {type(value).__name__} does not become: {error}"
        ) from error
    # Records are left out: NumPy cannot say whether one is masked, and no loop takes any.
    is_masked_array = isinstance(value, np.ma.MaskedArray) and array.dtype.names is None
    if is_masked_array and np.ma.is_masked(value):  # np.asarray has taken the numbers below the mask
        raise ValueError(f"{name} must not be masked, got {np.ma.count_masked(value)} masked values")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def real_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return ``value`` as an array of real numbers, of any shape."""
    array = rectangular_array(name, value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def images_or_trains(
    name: str,
    value: npt.ArrayLike,
    sample_shape: tuple[int, ...],
    n_steps: int,
    dtype: npt.DTypeLike,
) -> npt.NDArray[Any]:
    """Return static images (B, ...) or spike trains (T, B, ...) in the dtype; trains that are no floats as they are.

    Parameters
    ----------
    name : str
    value : array_like
    sample_shape : tuple of int
        Shape of one sample at one step.
    n_steps : int
        T.
    dtype : dtype

    Raises
    ------
    ValueError, TypeError
        If the shape is neither, the array is empty, or a value is not finite.
    """
    array = real_array(name, value)
    axes = array.ndim - len(sample_shape)
    if axes not in (1, 2) or array.shape[axes:] != sample_shape:
        sizes = shortened(", ".join(str(size) for size in sample_shape))
        raise ValueError(f"{name} must have shape (B, {sizes}) or ({n_steps}, B, {sizes}), got {array.shape}")
    if axes == 2 and array.shape[0] != n_steps:
        raise ValueError(f"{name} must have T = {n_steps} steps, got {array.shape[0]} (shape {array.shape})")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if axes == 1 and array.dtype == np.uint8 and array.max() > 1:
        warn(f"{name} holds raw pixels, {PIXELS_HELP}")
    if axes == 2 and array.dtype.kind != "f":
        return array
    return finite_array(name, array, dtype=dtype)


def all_finite(array: npt.NDArray[Any]) -> bool:
    """Say whether every value is finite; the sum of squares answers in one pass for all but huge values."""
    flat = array.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        quick = bool(np.isfinite(np.dot(flat, flat)))
    return quick or bool(np.isfinite(array).all())


def one_each(name: str, values: Sized, n: int, owner: str) -> None:
    """Raise unless there are n values, one for every owner, such as a layer."""
    if len(values) != n:
        raise ValueError(f"{name} must be {n}, one a {owner}, got {len(values)}")


def same_shape(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], source: str) -> None:
    """Raise ``ValueError`` unless ``array`` has the shape that `source` asks for."""
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape} to match {source}, got {array.shape}")


def positive_integer(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an int that is at least `minimum`."""
    if isinstance(value, (bool, np.bool_)):  # before NumPy 2.2 the latter has an index, and a warning
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, got {shown(value)}") from error
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(number)}")
    return number


def axis_size(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as the size of an axis, or what is added to one."""
    number = positive_integer(name, value, minimum)
    if number > LARGEST_SIZE:
        raise ValueError(f"{name} must be at most {LARGEST_SIZE}, got {shown(number)}")
    return number


def thread_count(name: str, value: Any, n_cores: int) -> int:
    """Return ``value`` as a number of threads: from 1 to eight times the cores; more cost memory and bring nothing."""
    number, most = positive_integer(name, value), MOST_THREADS_A_CORE * n_cores
    if number > most:
        held = f"{MOST_THREADS_A_CORE} for each of {n_cores} cores"
        raise ValueError(f"{name} must be at most {most} ({held}), got {shown(number)}")
    return number


def real_number(
    name: str, value: Any, *, above: float | None = None, minimum: float | None = None, or_infinite: bool = False
) -> float:
    """Return ``value`` as a finite float, or +infinity if allowed, above `above` and at least `minimum` if given."""
    if isinstance(value, (bool, str)) or not _is_scalar(value):
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a real number, got {shown(value)}") from error
    except OverflowError as error:
        raise ValueError(f"{name} is too large for a float, got {shown(value)}") from error
    if not (np.isfinite(number) or (or_infinite and number == np.inf)):
        raise ValueError(f"{name} must be finite, got {shown(number)}")
    if above is not None and not number > above:
        raise ValueError(f"{name} must be greater than {above:g}, got {number:g}")
    if minimum is not None and not number >= minimum:
        raise ValueError(f"{name} must be at least {minimum:g}, got {number:g}")
    return number


def _is_scalar(value: Any) -> bool:
    """Say whether ``value`` is one number that is real by its type; bytes, which ``float`` reads as text, are not."""
    is_number = hasattr(value, "__float__") or hasattr(value, "__index__")
    kind = getattr(getattr(value, "dtype", None), "kind", "f")  # NumPy's scalars and arrays have one
    return is_number and getattr(value, "ndim", 0) == 0 and kind in "fiu"


def number_or_pair(name: str, value: Any, *, above: float) -> tuple[float, float]:
    """Return two finite floats above `above`: those of the pair ``value``, or the number ``value`` twice."""
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be a number or a pair of numbers, got {shown(value)}")
    first, second = (real_number(name, number, above=above) for number in pair)
    return first, second


def one_of(name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Return the choice that ``value`` is; the error has the nearest one and lists what a line can hold."""
    known = list(choices)
    for choice in known:
        same_kind = isinstance(value, str) if isinstance(choice, str) else type(value) is type(choice)
        if same_kind and value == choice:
            return choice  # text of NumPy's as plain text
    raise ValueError(unknown(name, value, known))


def unknown(name: str, value: Any, known: list[Any]) -> str:
    """Say that a value is not among the known ones, as many of them as a line can hold, and which is nearest."""
    listed = ", ".join(repr(choice) for choice in known)
    if len(listed) > MOST_LISTED:
        whole = listed[:MOST_LISTED].rpartition(", ")[0]
        listed = f"{whole}, ... ({len(known)} in all)"
    return f"unknown {name} {shown(value)}; known: {listed}{nearest(value, known)}"


def nearest(value: Any, known: Iterable[Any]) -> str:
    """Ask whether the nearest of the known names was meant; "" if none is near."""
    close = difflib.get_close_matches(str(value)[:MOST_SHOWN], [str(choice) for choice in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def set_fields(value: Any, **fields: Any) -> None:
    """Set fields of a frozen dataclass that is being made: plain numbers and text, which JSON knows."""
    for name, checked in fields.items():
        object.__setattr__(value, name, checked)


def labels(name: str, value: npt.ArrayLike, batch: int, n_classes: int) -> npt.NDArray[np.int64]:
    """Return ``value`` as (batch,) class labels 0 .. n_classes - 1."""
    array = rectangular_array(name, value)
    if array.ndim == 2 and array.shape == (batch, n_classes) and array.dtype.kind in "fiub":
        shape = f"class labels ({batch},), got shape {array.shape}"
        raise ValueError(f"{name} must be {shape}: scores or one-hot rows become labels by {name}.argmax(axis=1)")
    if array.ndim == 3:
        trains = f"desired trains {array.shape} are of the loss 'spike-train'"
        raise ValueError(f"{name} must be class labels ({batch},): {trains}")
    if array.shape == (batch, 1):
        raise ValueError(f"{name} must be class labels ({batch},), got shape {array.shape}: {name}.ravel() has it")
    if array.dtype.kind not in "iu":
        how = f": whole numbers become labels by {name}.astype(int)" if array.dtype.kind == "f" else ""
        raise TypeError(f"{name} must hold integer class labels, got dtype {array.dtype}{how}")
    same_shape(name, array, (batch,), "the batch")
    whole = array.astype(np.int64)
    if whole.size and whole.view(np.uint64).max() >= n_classes:  # a label below 0 is a large number there
        wrong = array[(array < 0) | (array >= n_classes)][0]
        raise ValueError(f"{name} must lie in 0 .. {n_classes - 1}, got {wrong}")
    return whole
