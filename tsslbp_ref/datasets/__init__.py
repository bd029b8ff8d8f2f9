"""The data sets of the paper's experiments: MNIST, Fashion-MNIST, CIFAR-10 (images) and N-MNIST (events).

Where they are looked for is described in `fetch`; each format has its own file (`idx`, `cifar10`, `nmnist`). One more,
points in three classes for networks in continuous time, is made by a formula: `yin_yang`. A user's own data is in
NumPy's files: `arrays`. Handwritten digits of 8x8 pixels come with the package: `digits`.
"""

from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.datasets.arrays import load_arrays
from tsslbp_ref.datasets.digits import load_digits
from tsslbp_ref.datasets.errors import DataError, DownloadError, MissingSplitError
from tsslbp_ref.datasets.fetch import available
from tsslbp_ref.datasets.images import IMAGE_SETS, ImageSet, augment_crop_flip, load_images, normalise
from tsslbp_ref.datasets.nmnist import NMNIST, bin_events, read_events, remove_saccade_motion

__all__ = [
    "IMAGE_SETS",
    "NMNIST",
    "DataError",
    "DownloadError",
    "ImageSet",
    "MissingSplitError",
    "augment_crop_flip",
    "available",
    "bin_events",
    "load_arrays",
    "load_digits",
    "load_images",
    "normalise",
    "read_events",
    "remove_saccade_motion",
    "yin_yang",
]
