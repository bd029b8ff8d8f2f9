"""Made sets in the format of MNIST, and a place without this machine's data, that the tests of datasets share."""

import struct

import numpy as np

from tsslbp_ref.datasets import fetch

NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def idx_files(n, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)
    images = struct.pack(">4I", 0x0803, n, 28, 28) + pixels.tobytes()
    return images, struct.pack(">2I", 0x0801, n) + bytes(i % 10 for i in range(n))


def write_idx_set(folder, splits=("train", "test"), n=3):
    folder.mkdir(parents=True)
    for split in splits:
        for name, content in zip(NAMES[split], idx_files(n), strict=True):
            (folder / name).write_bytes(content)
    return folder


def see_nothing_of_this_machine(tmp_path, monkeypatch):
    """Hide this machine's data, cache, proxies and settings from a test."""
    monkeypatch.delenv("TSSLBP_DATA", raising=False)
    monkeypatch.setenv("TSSLBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(fetch.SYSTEM_FOLDERS, "fashion-mnist", (tmp_path / "debian" / "fashion-mnist",))
    for name in ("mnist", "fashion-mnist", "cifar-10"):
        monkeypatch.setitem(fetch.BASE_URLS, name, "http://127.0.0.1:9/")  # no test leaves this machine
        monkeypatch.delenv("TSSLBP_BASE_URL_" + name.upper().replace("-", "_"), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
