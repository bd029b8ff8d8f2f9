"""The image sets as arrays: loading by name, the experiments' normalisation, and CIFAR-10's random crop and flip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets import cifar10, fetch, idx
from tsslbp_ref.datasets.errors import DataError

IMAGE_SETS = ("mnist", "fashion-mnist", "cifar-10")
SPLITS = ("train", "test")
WHITE = 255.0  # the largest pixel value
# Mean and standard deviation of pixels / 255, per channel, as the released code's loaders set them. The released code
# uses MNIST's numbers for Fashion-MNIST too.
MNIST_MEAN = (0.1307,)
MNIST_STD = (0.3081,)
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
NORMALISATION = {
    "mnist": (MNIST_MEAN, MNIST_STD),
    "fashion-mnist": (MNIST_MEAN, MNIST_STD),
    "cifar-10": (CIFAR10_MEAN, CIFAR10_STD),
}
CROP_PAD = 4  # pixels of border on each side, of the paper's CIFAR-10 experiments
FLIP_PROBABILITY = 0.5


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of an image set.

    Attributes
    ----------
    images : ndarray of uint8, (n, C, H, W)
        Raw pixels, read-only.
    labels : ndarray of int64, (n,)
        Classes 0 .. 9, read-only.
    name, split : str
        What was asked for.
    source : str
        The folder or archive it was read from.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    name: str
    split: str
    source: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


def load_images(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    download: bool = True,
    *,
    base_url: str | None = None,
    progress: bool = False,
) -> ImageSet:
    """Load one split of an image set.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist", "cifar-10"}
        Which set.
    split : {"train", "test"}
        Which part.
    data_dir, download, base_url, progress
        Where to look and whether to download; see `tsslbp_ref.datasets.fetch.find_or_download`.

    Returns
    -------
    ImageSet
        Raw pixels; see `normalise`.

    Raises
    ------
    ValueError
        If the name or the split is unknown.
    FileNotFoundError
        If the set is not found (its subclass `DownloadError` if the download failed).
    DataError
        If a file is damaged, a split is incomplete, or the files are those of another set.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:  # two made images, in the format of MNIST's files
    ...     header = [bytes([0, 0, 8, n]) + np.array([2, 28, 28][:n], ">i4").tobytes() for n in (3, 1)]
    ...     _ = Path(folder, "train-images-idx3-ubyte").write_bytes(header[0] + bytes(2 * 28 * 28))
    ...     _ = Path(folder, "train-labels-idx1-ubyte").write_bytes(header[1] + bytes([7, 3]))
    ...     images = load_images("mnist", "train", folder)
    >>> images.images.shape, images.images.dtype, images.labels
    ((2, 1, 28, 28), dtype('uint8'), array([7, 3]))
    """
    checks.one_of("data set", name, IMAGE_SETS)
    checks.one_of("split", split, SPLITS)
    found = fetch.find_or_download(name, split, data_dir, download=download, base_url=base_url, progress=progress)
    if name == "cifar-10":
        images, labels = cifar10.read_split(found, split)
    else:
        images, labels = idx.read_split(found, split)
        refuse_other_set(name, split, labels, found)
    images.setflags(write=False)
    labels.setflags(write=False)
    return ImageSet(images, labels, name, split, str(found))


def refuse_other_set(name: str, split: str, labels: npt.NDArray[np.int64], folder: Path) -> None:
    """Raise `DataError` if the labels are, in number and value, those of another IDX set or split.

    MNIST and Fashion-MNIST use the same file names, so a wrong folder would otherwise be trained on without a word.
    """
    found = hashlib.sha256(idx.labels_content(labels)).hexdigest()
    for other in ("mnist", "fashion-mnist"):
        for other_split, (_, known) in fetch.REMOTE_FILES[other].items():
            if found == known.sha256 and (other, other_split) != (name, split):
                raise DataError(f"{folder}: asked for {name} ({split}), but this is {other} ({other_split})")


def normalise(
    images_uint8: npt.NDArray[np.uint8], name: str, dtype: npt.DTypeLike = "float32"
) -> npt.NDArray[np.floating[Any]]:
    """Return (x / 255 - mean) / std, per channel.

    Parameters
    ----------
    images_uint8 : ndarray of uint8, (n, C, H, W)
        Raw pixels; not changed.
    name : {"mnist", "fashion-mnist", "cifar-10"}
        Whose constants to take: MNIST_MEAN, MNIST_STD for the first two, CIFAR10_MEAN, CIFAR10_STD.
    dtype : {"float32", "float64"}
        Of the result, and of the arithmetic.

    Raises
    ------
    TypeError, ValueError
        If the pixels are not uint8, the shape does not fit, or the name is unknown.

    Examples
    --------
    >>> pixels = np.array([[[[0, 255]]]], np.uint8)
    >>> normalise(pixels, "mnist").round(2)
    array([[[[-0.42,  2.82]]]], dtype=float32)
    """
    mean, std = NORMALISATION[checks.one_of("data set", name, NORMALISATION)]
    kind = checks.float_dtype("dtype", dtype)
    pixels = checks.rectangular_array("images_uint8", images_uint8)
    if pixels.dtype != np.uint8:
        raise TypeError(f"images_uint8 must hold raw pixels of dtype uint8, got {pixels.dtype}")
    if pixels.ndim != 4 or pixels.shape[1] != len(mean):
        raise ValueError(f"images_uint8 must have shape (n, {len(mean)}, H, W) for {name}, got {pixels.shape}")
    result = pixels.astype(kind)
    result /= WHITE  # in place: a training set of floats need not exist twice
    result -= np.array(mean, kind)[:, np.newaxis, np.newaxis]
    result /= np.array(std, kind)[:, np.newaxis, np.newaxis]
    return result


def augment_crop_flip(images: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return each image shifted by up to 4 pixels in both directions, and mirrored left to right in half the cases.

    An image gets a border of 4 zeros, and a window of its own size is cut out at one of the 9 x 9 possible positions,
    drawn evenly. The paper's recipe does this with the raw pixels, BEFORE normalisation, so the border is black. To
    follow it, pass uint8 and normalise the result. With normalised pixels the border would be the mean colour instead.

    Parameters
    ----------
    images : ndarray, (n, C, H, W)
        uint8, float32 or float64; not changed.
    rng : numpy.random.Generator
        The draws are, in this order: n row offsets, n column offsets, n uniform numbers for the flip.

    Returns
    -------
    ndarray, (n, C, H, W)
        A new array of the same dtype.

    Raises
    ------
    TypeError, ValueError
        If the arguments are not of these types or shapes.

    Examples
    --------
    >>> pixels = np.full((2, 3, 32, 32), 255, np.uint8)
    >>> augment_crop_flip(pixels, np.random.default_rng(0)).shape
    (2, 3, 32, 32)
    """
    images = checks.rectangular_array("images", images)
    if images.dtype.name not in ("uint8", *checks.FLOAT_NAMES):
        raise TypeError(f"images must be uint8, float32 or float64, got {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"images must have 4 axes (n, C, H, W), got shape {images.shape}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    n, _, height, width = images.shape
    rows, columns = rng.integers(0, 2 * CROP_PAD + 1, (2, n))
    flipped = rng.random(n) < FLIP_PROBABILITY
    border = (CROP_PAD, CROP_PAD)
    padded = np.pad(images, ((0, 0), (0, 0), border, border))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    result = windows[np.arange(n), :, rows, columns]
    result[flipped] = result[flipped, :, :, ::-1]
    return result
