"""N-MNIST: recordings of an event camera that looks at MNIST digits, as address events in .bin files.

A file is a row of events of 40 bits (5 bytes): x, y (one byte each), then one bit of polarity (1 = ON, brighter;
0 = OFF, darker) and 23 bits of time in microseconds, most significant byte first. The sensor has 34 x 34 pixels.
Source: G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting static image datasets to spiking neuromorphic
datasets using saccades", Frontiers in Neuroscience 9:437 (2015), and the authors' published reading routines.

Channels: everywhere in this project channel 0 is OFF and channel 1 is ON, the value of p itself. Axis order is
(channel, y, x): rows are y.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets import fetch, files
from tsslbp_ref.datasets.errors import DataError, MissingSplitError

N_CLASSES = 10
SIDE = 34  # pixels of the sensor, both axes
N_POLARITIES = 2
EVENT_BYTES = 5
POLARITY_BIT = 7  # of the third byte; the seven bits below belong to the time
# The names, order and types of the fields are those of the class NMNIST of the tonic library.
EVENT_DTYPE = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
# The camera marks an overflow of its clock by an event with y = 240; all later times are 2^13 us later. The rule comes
# from the authors' reader and is in tonic too. No recording of N-MNIST seen so far (1,100 of 70,000) has such an event.
OVERFLOW_Y = 240
OVERFLOW_STEP_US = 2**13
MOST_EVENTS = 2**20  # of a file; recordings have some 4,000
MOST_TIME_US = 2**53  # as a whole number that every float up to it can hold
MOST_STEPS = 2**20
SPLIT_FOLDERS = {"train": "Train", "test": "Test"}
RECORDING_SUFFIX = ".bin"
BATCH_SIZE = 50  # the paper's

# The camera's way during a recording: three straight saccades of 105 ms. Values of the data set authors' routine
# "stabilize" (G. Orchard, 2015): where the image stands (x, y), in pixels, at the start and end of each saccade.
SACCADE_US = 105_000
IMAGE_PATH = np.array([[0.0, 0.0], [3.5, 7.0], [7.0, 0.0], [0.0, 0.0]])


def read_events(path: str | Path) -> npt.NDArray[Any]:
    """Return the events of a recording.

    Parameters
    ----------
    path : str or Path
        A .bin file.

    Returns
    -------
    structured array
        Fields x, y (pixel 0 .. 33), t (microseconds, never decreasing), p (0 = OFF, 1 = ON).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no regular file, the size is not a multiple of 5 bytes or above 5 MiB, an address is outside the sensor
        or time goes backwards.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:  # a made event: x, y, p and t
    ...     path = Path(folder, "00001.bin")
    ...     _ = path.write_bytes(bytes([3, 4, 0x80, 0x27, 0x10]))
    ...     events = read_events(path)
    >>> [(name, int(events[name][0])) for name in events.dtype.names]
    [('x', 3), ('y', 4), ('t', 10000), ('p', 1)]
    """
    content = files.read_bounded(files.as_path("path", path), MOST_EVENTS * EVENT_BYTES)
    if len(content) % EVENT_BYTES:
        found = f"{len(content)} bytes"
        raise DataError(f"{path}: the size of an event file must be a multiple of {EVENT_BYTES} bytes, got {found}")
    raw = np.frombuffer(content, np.uint8).reshape(-1, EVENT_BYTES).astype(np.int64)
    events = np.empty(len(raw), EVENT_DTYPE)
    events["x"], events["y"], events["p"] = raw[:, 0], raw[:, 1], raw[:, 2] >> POLARITY_BIT
    events["t"] = (raw[:, 2] & (1 << POLARITY_BIT) - 1) << 16 | raw[:, 3] << 8 | raw[:, 4]
    overflow = events["y"] == OVERFLOW_Y
    if overflow.any():
        events["t"] += OVERFLOW_STEP_US * np.cumsum(overflow)
        events = events[~overflow]
    _check_recording(events, path)
    return events


def _check_recording(events: npt.NDArray[Any], path: str | Path) -> None:
    """Raise `DataError` at the first address outside the sensor and the first step back in time."""
    outside = np.flatnonzero((events["x"] >= SIDE) | (events["y"] >= SIDE))
    if outside.size:
        x, y = events["x"][outside[0]], events["y"][outside[0]]
        raise DataError(f"{path}: addresses must lie in 0 .. {SIDE - 1}, got x = {x}, y = {y} in event {outside[0]}")
    backwards = np.flatnonzero(np.diff(events["t"]) < 0)
    if backwards.size:
        before, after = events["t"][backwards[0] : backwards[0] + 2]
        raise DataError(f"{path}: time goes backwards, from {before} to {after} us in event {backwards[0] + 1}")


def _checked_events(events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return events that fit the sensor as an array of `EVENT_DTYPE`, whatever types their fields have."""
    names = getattr(getattr(events, "dtype", None), "names", None)
    if names is None or not set(EVENT_DTYPE.names or ()) <= set(names):
        found = checks.shown(names or type(events))
        raise TypeError(f"events must be a structured array with the fields x, y, t, p, got {found}")
    if events.ndim != 1:
        raise ValueError(f"events must have 1 axis, got shape {events.shape}")
    whole = np.empty(len(events), EVENT_DTYPE)
    for name, most in (("x", SIDE - 1), ("y", SIDE - 1), ("t", MOST_TIME_US), ("p", N_POLARITIES - 1)):
        whole[name] = _whole_numbers(name, events[name], most)
    return whole


def _whole_numbers(name: str, values: npt.NDArray[Any], most: int) -> npt.NDArray[np.int64]:
    """Return a field of events as whole numbers from 0 to `most`, of which it holds nothing else."""
    if values.dtype.kind == "O":
        values = checks.rectangular_array(f"events: {name}", values.tolist())
    if values.dtype.kind not in "biuf" or values.ndim != 1:
        found = f"dtype {values.dtype} of shape {values.shape}"
        raise TypeError(f"events: {name} must hold whole numbers, got {found}")
    if np.ma.is_masked(values):
        raise ValueError(f"events: {name} must not hold masked values")
    low, high = (values.min().item(), values.max().item()) if values.size else (0, 0)
    if not (low >= 0 and high <= most):  # NaN is neither
        raise ValueError(f"events: {name} must lie in 0 .. {most}, got {low} .. {high}")
    numbers = np.asarray(values).astype(np.int64)
    broken = np.flatnonzero(numbers != values)
    if broken.size:
        raise ValueError(f"events: {name} must hold whole numbers, got {values[broken[0]]} in event {broken[0]}")
    return numbers


def bin_events(events: npt.NDArray[Any], n_steps: int, bin_width_us: int) -> npt.NDArray[np.uint8]:
    """Return the spike trains of a recording: x[k, p, y, x'] = 1 if an event (x', y, p) has k w <= t < (k + 1) w.

    Parameters
    ----------
    events : structured array, (n,)
        Fields x, y, t, p, which hold whole numbers: integers of any width, booleans, floats or objects.
    n_steps : int
        Number of time steps T; later events are left out.
    bin_width_us : int
        Width w of a time step in microseconds. The paper's preparation uses 3000.

    Returns
    -------
    ndarray of uint8, (T, 2, 34, 34)
        0 or 1: several events of a pixel in one step count once. Channel 0 is OFF, 1 is ON; then y, then x.

    Notes
    -----
    The released preparation closes each bin at its right end, k w < t <= (k + 1) w, leaves the last of the T steps
    empty (but for events at t = 0, which its index -1 puts there), and puts x before y. Ours has half-open bins, fills
    all T steps, and has rows y, columns x.

    Raises
    ------
    TypeError, ValueError
        If the events are not of that form or lie outside the sensor, a number is not positive, or n_steps is above
        1,048,576.

    Examples
    --------
    >>> events = np.array([(3, 5, 0, 1), (4, 5, 3100, 0)], [("x", "i2"), ("y", "i2"), ("t", "i4"), ("p", "?")])
    >>> np.argwhere(bin_events(events, n_steps=2, bin_width_us=3000)).tolist()
    [[0, 1, 5, 3], [1, 0, 5, 4]]
    """
    n_steps = _checked_steps(n_steps)
    bin_width_us = checks.positive_integer("bin_width_us", bin_width_us)
    events = _checked_events(events)
    step = events["t"] // min(bin_width_us, MOST_TIME_US + 1)  # no event is later, and int64 holds it
    seen = step < n_steps
    kept = events[seen]
    spikes = np.zeros((n_steps, N_POLARITIES, SIDE, SIDE), np.uint8)
    spikes[step[seen], kept["p"], kept["y"], kept["x"]] = 1
    return spikes


def _checked_steps(n_steps: int) -> int:
    steps = checks.positive_integer("n_steps", n_steps)
    if steps > MOST_STEPS:
        raise ValueError(f"n_steps must be at most {MOST_STEPS}, got {checks.shown(steps)}")
    return steps


def image_position(t: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return where the moving image stands at time t: r(t) = r_i + (r_(i+1) - r_i) (t - i D) / D.

    D = 105 ms is the length of a saccade, i = min(floor(t / D), 2) its number, and r_0 .. r_3 = (0, 0), (3.5, 7),
    (7, 0), (0, 0) the corners of the triangle that the image runs round. After 3 D the last straight line goes on, as
    in the authors' routine (recordings end between 2.8 D and 3.2 D).

    Parameters
    ----------
    t : ndarray of int, (n,)
        Times in microseconds.

    Returns
    -------
    ndarray, (n, 2)
        Displacement (x, y) in pixels since the start.
    """
    saccade = np.minimum(t // SACCADE_US, len(IMAGE_PATH) - 2)
    start, step = IMAGE_PATH[saccade], np.diff(IMAGE_PATH, axis=0)[saccade]
    return start + step * (t - saccade * SACCADE_US)[:, np.newaxis] / SACCADE_US


def remove_saccade_motion(events: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the events with the image's motion taken back: (x, y) -> round((x, y) - r(t)).

    The camera turns in three straight saccades, so the image's position r(t) on the sensor is linear in time in each
    (`image_position`); written out, with t in microseconds:

    ===============  ===========================  ==========================
    time             shift in x                   shift in y
    ===============  ===========================  ==========================
    t <= 105e3       3.5 t / 105e3                7 t / 105e3
    t <= 210e3       3.5 + 3.5 (t-105e3) / 105e3  7 - 7 (t-105e3) / 105e3
    later            7 - 7 (t-210e3) / 105e3      0
    ===============  ===========================  ==========================

    An edge of the digit that was at x_0 at t = 0 makes events at x_0 + r(t), so subtracting r(t) puts them all on x_0.
    Halves round up. Events that leave the sensor are left out.

    Parameters
    ----------
    events : structured array, (n,)
        Fields x, y, t, p, as in `bin_events`; not changed.

    Returns
    -------
    structured array
        A new array of at most as many events, with the types of `read_events`: a boolean x could not hold the result.

    Notes
    -----
    Source of the numbers: the Matlab routine "stabilize" that the data set's first author published in 2015 and that
    the released TSSL-BP preparation applies. That preparation too leaves out the events that leave the sensor; the
    author's Python version of the routine moves them to the border instead.

    Examples
    --------
    >>> types = [("x", "u1"), ("y", "u1"), ("t", "i4"), ("p", "u1")]
    >>> moved = remove_saccade_motion(np.array([(10, 20, 52_500, 1)], types))  # half of the first saccade
    >>> int(moved["x"][0]), int(moved["y"][0])
    (8, 17)
    """
    events = _checked_events(events)
    moved = np.floor(np.stack([events["x"], events["y"]], axis=1) - image_position(events["t"]) + 0.5)
    inside = ((moved >= 0) & (moved < SIDE)).all(axis=1)
    still = events[inside]
    still["x"], still["y"] = moved[inside].T
    return still


class NMNIST:
    """The recordings of one split: a list of paths and labels; events are read only when asked for.

    Parameters
    ----------
    root : str, Path or None
        The folder with ``Train`` and ``Test``, or a parent with a subfolder n-mnist*. None searches TSSLBP_DATA and the
        cache (see `tsslbp_ref.datasets.fetch`).
    split : {"train", "test"}
        Which folder.

    Attributes
    ----------
    paths : tuple of Path
        Sorted by class, then by name.
    labels : ndarray of int64, (n,)
        The digit, from the class folder's name.
    source : str
        The folder that was read.

    Raises
    ------
    FileNotFoundError
        If there is no N-MNIST in the places searched.
    MissingSplitError
        If ``Train`` or ``Test``, or a class folder in it, is missing.
    DataError
        If a class folder holds no recording.
    OSError
        If a folder is there but cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:  # a made recording of one event for each digit
    ...     for digit in range(10):
    ...         place = Path(folder, "Train", str(digit))
    ...         place.mkdir(parents=True)
    ...         _ = (place / "00001.bin").write_bytes(bytes([3, 4, 0x80, 0x27, 0x10]))
    ...     recordings = NMNIST(folder, "train")
    ...     x, y = recordings.batch([2, 5], n_steps=30, bin_width_us=3000)
    >>> len(recordings), x.shape, y, np.argwhere(x[:, 0])
    (10, (30, 2, 2, 34, 34), array([2, 5]), array([[3, 1, 4, 3]]))
    """

    def __init__(self, root: str | Path | None, split: str) -> None:
        name = SPLIT_FOLDERS[checks.one_of("split", split, SPLIT_FOLDERS)]
        parent = fetch.find_or_download("n-mnist", split, root, download=False)
        folder = next(
            (entry for entry in sorted(parent.iterdir()) if entry.name.lower() == name.lower()), parent / name
        )
        if not files.is_folder(folder):
            raise MissingSplitError(f"{folder.parent}: the {split} split is missing, no folder {name}")
        paths: list[Path] = []
        counts: list[int] = []
        for digit in range(N_CLASSES):
            recordings = _recordings(folder / str(digit))
            paths += recordings
            counts.append(len(recordings))
        self.split = split
        self.source = str(folder)
        self.paths = tuple(paths)
        self.labels = np.repeat(np.arange(N_CLASSES, dtype=np.int64), counts)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        """Return path and label of a recording."""
        return self.paths[index], int(self.labels[index])

    def events(self, index: int) -> npt.NDArray[Any]:
        """Return the events of a recording, see `read_events`."""
        return read_events(self.paths[index])

    def batch(
        self,
        indices: npt.ArrayLike,
        n_steps: int,
        bin_width_us: int,
        *,
        stabilise: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Return (x (T, B, 2, 34, 34), y (B,)) of the given recordings; see `bin_events` for the axes.

        `stabilise` applies `remove_saccade_motion` first; `dtype` is float32 or float64.
        """
        chosen = self._checked_indices(indices)
        n_steps = _checked_steps(n_steps)
        x = np.empty((n_steps, len(chosen), N_POLARITIES, SIDE, SIDE), checks.float_dtype("dtype", dtype))
        for position, index in enumerate(chosen):
            events = self.events(index)
            x[:, position] = bin_events(remove_saccade_motion(events) if stabilise else events, n_steps, bin_width_us)
        return x, self.labels[chosen]

    def batches(
        self,
        indices: npt.ArrayLike,
        n_steps: int,
        bin_width_us: int,
        *,
        batch_size: int = BATCH_SIZE,
        stabilise: bool = False,
        dtype: npt.DTypeLike = "float32",
    ) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield `batch` for each `batch_size` of the indices in their order; only one batch is in memory at a time.

        The arguments are checked when this is called, not when the first batch is drawn. The last batch may be smaller.
        """
        chosen = self._checked_indices(indices)
        size = checks.axis_size("batch_size", batch_size)
        steps = _checked_steps(n_steps)
        width = checks.positive_integer("bin_width_us", bin_width_us)
        kind = checks.float_dtype("dtype", dtype)
        parts = (chosen[start : start + size] for start in range(0, len(chosen), size))
        return (self.batch(part, steps, width, stabilise=stabilise, dtype=kind) for part in parts)

    def _checked_indices(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        chosen = checks.rectangular_array("indices", indices)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or chosen.size == 0:
            raise ValueError(f"indices must be a list of integers, got {chosen.dtype} with shape {chosen.shape}")
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise ValueError(f"indices must lie in 0 .. {len(self) - 1}, got {chosen.min()} .. {chosen.max()}")
        return chosen.astype(np.int64)


def _recordings(folder: Path) -> list[Path]:
    """Return the recordings of a class folder by name, without hidden files such as the ._* that macOS adds."""
    if not files.is_folder(folder):
        raise MissingSplitError(f"{folder.parent}: the class folder {folder.name} is missing")
    entries = (path for path in folder.iterdir() if not path.name.startswith("."))
    found = sorted(path for path in entries if path.suffix.lower() == RECORDING_SUFFIX)
    if not found:
        raise DataError(f"{folder}: the class folder is empty, no *{RECORDING_SUFFIX} file in it")
    return found
