"""Where a data set is looked for, and its verified download.

Search order:

1. the folder given as `data_dir`; if the set is not in it, that is an error,
2. the folder named by the environment variable TSSLBP_DATA; if there is nothing under that name, that is an error,
3. for Fashion-MNIST the folder of Debian's package dataset-fashion-mnist,
4. the cache: TSSLBP_CACHE, or pooch's folder for this user,
5. download into the cache with pooch, where it is allowed.

A folder counts for 1 to 3 if it holds the files itself or has a subfolder named after the set, as ``mnist``, ``MNIST``,
``FashionMNIST`` or ``fashion_mnist``. In either the files may lie in a subfolder ``raw`` or ``extract``, where other
libraries put them; CIFAR-10's extracted folder may lie up to two folders deeper. ``~`` is the home folder in 1, 2 and
4. The sets' own checksums are asked of downloads and of the cache only: a folder of yours may hold a part of a set.

MNIST and Fashion-MNIST are distributed as .gz files. Distributors compress them anew (Debian's Fashion-MNIST files have
other sizes than the originals), so the checksum here is of the unpacked content, and the cache holds unpacked files.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from tsslbp_ref import checks
from tsslbp_ref.datasets import files, idx
from tsslbp_ref.datasets.errors import DataError, DownloadError

DATA_VARIABLE = "TSSLBP_DATA"
REMEDY = f"name its folder with data_dir, --data on the command line, or {DATA_VARIABLE}"
CACHE_VARIABLE = "TSSLBP_CACHE"
BASE_URL_VARIABLE = "TSSLBP_BASE_URL_"  # + the set's name in capitals, "-" as "_"
CACHE_NAME = "tsslbp_ref"
TIMEOUT_S = 30.0  # without an answer or any further byte
INNER_FOLDERS = ("raw", "extract")  # torchvision's name and that of others, inside a set's folder


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: its name on the server, its name in the cache, the sha256 of the file in the cache."""

    remote_name: str
    cache_name: str
    sha256: str


@dataclass(frozen=True)
class SetLayout:
    """What tells that a folder holds a set.

    `folder_pattern` is the name of the subfolder that a parent has for it, where capitals, dashes, underscores and dots
    do not count; `marks` are the patterns of which at least one must be found in it, where capitals do not count;
    `deeper` are patterns of folders that are the set's wherever they are found.
    """

    folder_pattern: str
    marks: tuple[str, ...]
    deeper: tuple[str, ...] = ()


IDX_MARKS = (
    "train-images[-.]idx3-ubyte*",
    "train-labels[-.]idx1-ubyte*",
    "t10k-images[-.]idx3-ubyte*",
    "t10k-labels[-.]idx1-ubyte*",
)
LAYOUTS = {
    "mnist": SetLayout("mnist", IDX_MARKS),
    "fashion-mnist": SetLayout("fashion-mnist", IDX_MARKS),
    "cifar-10": SetLayout(
        "cifar-10*",
        ("data_batch_*", "test_batch*", "cifar-10-batches-*", "cifar-10-*.tar.gz"),
        ("*/cifar-10-batches-*", "*/*/cifar-10-batches-*"),
    ),
    "n-mnist": SetLayout("n-mnist*", ("Train", "Test")),
}
SYSTEM_FOLDERS = {"fashion-mnist": (Path("/usr/share/datasets/fashion-mnist"),)}  # Debian: dataset-fashion-mnist


def _idx(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(name + ".gz", name, sha256)


_CIFAR_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
REMOTE_FILES: dict[str, dict[str, tuple[RemoteFile, ...]]] = {
    "mnist": {
        "train": (
            _idx("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            _idx("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ),
        "test": (
            _idx("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            _idx("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
    },
    "fashion-mnist": {
        "train": (
            _idx("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            _idx("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        ),
        "test": (
            _idx("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            _idx("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    },
    "cifar-10": {"train": (_CIFAR_ARCHIVE,), "test": (_CIFAR_ARCHIVE,)},
}
BASE_URLS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "cifar-10": "https://www.cs.toronto.edu/~kriz/",
}
BY_HAND = {
    "n-mnist": "it has no server to download from unattended: get Train.zip and Test.zip from "
    "https://www.garrickorchard.com/datasets/n-mnist and unpack both into one folder"
}


def find_in(name: str, folder: str | Path) -> Path | None:
    """Return the folder that holds the set: a subfolder named after it, or `folder` itself; None if neither.

    MNIST and Fashion-MNIST have the same file names, so a folder that is named after another set is never taken.
    A folder that cannot be read is an ``OSError``.
    """
    layout = LAYOUTS[checks.one_of("data set", name, LAYOUTS)]
    folder = files.as_path("data_dir", folder)
    if name == "cifar-10" and folder.name.lower().endswith(".tar.gz") and folder.is_file():  # an archive named directly
        return folder
    if not files.is_folder(folder):
        return None
    named = [entry for entry in folder.iterdir() if _is_named(entry.name, layout.folder_pattern)]
    places = sorted(filter(files.is_folder, named), key=lambda entry: (entry.name != name, entry.name))
    if not _named_after_another(name, folder):
        places.append(folder)
    for place in places:
        for inner in (place, *(place / part for part in INNER_FOLDERS)):
            if files.is_folder(inner) and any(_is_mark(entry.name, layout) for entry in inner.iterdir()):
                return inner
    deeper = (entry for place in places for pattern in layout.deeper for entry in sorted(place.glob(pattern)))
    return next((entry for entry in deeper if files.is_folder(entry)), None)


def _is_named(folder_name: str, pattern: str) -> bool:
    plain_name, plain_pattern = (re.sub("[-_. ]", "", text.lower()) for text in (folder_name, pattern))
    return fnmatch.fnmatchcase(plain_name, plain_pattern)


def _is_mark(entry_name: str, layout: SetLayout) -> bool:
    return any(fnmatch.fnmatchcase(entry_name.lower(), mark.lower()) for mark in layout.marks)


def _named_after_another(name: str, folder: Path) -> bool:
    """Say whether a folder, or the one around it if it is called raw or extract, is named after another set."""
    place = folder.resolve()
    named = place.parent if place.name in INNER_FOLDERS else place
    return any(_is_named(named.name, layout.folder_pattern) for other, layout in LAYOUTS.items() if other != name)


def search_folders(name: str) -> tuple[Path, ...]:
    """Return the folders in which a set is looked for when none is given, without the cache, in order.

    Raises
    ------
    FileNotFoundError
        If TSSLBP_DATA is set, but there is nothing under that name.
    """
    named = os.environ.get(DATA_VARIABLE, "")
    if not named:
        return SYSTEM_FOLDERS.get(name, ())
    folder = files.as_path(DATA_VARIABLE, named)
    if not os.path.lexists(folder):
        raise FileNotFoundError(f"{name}: {DATA_VARIABLE} names {folder}, but there is no such folder")
    return (folder, *SYSTEM_FOLDERS.get(name, ()))


def cache_folder() -> Path | None:
    """Return the cache: TSSLBP_CACHE, or pooch's folder for this user; None where there is neither."""
    named = os.environ.get(CACHE_VARIABLE, "")
    if named:
        return files.as_path(CACHE_VARIABLE, named)
    try:
        import pooch
    except ImportError:
        return None
    return Path(pooch.os_cache(CACHE_NAME))


def available(name: str, data_dir: str | Path | None = None) -> Path | None:
    """Return where a set is found without the network, or None.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist", "cifar-10" or "n-mnist".
    data_dir : str or Path, optional
        The only folder to look in; without it, the search order of this module.

    Notes
    -----
    A folder that holds a part of the set is returned, so that reading it can say what is missing. The cache counts only
    if it is complete, because a download can complete it.

    Raises
    ------
    OSError
        If a folder to look in is there but cannot be read.

    Examples
    --------
    >>> available("mnist", "no such folder") is None
    True
    """
    checks.one_of("data set", name, LAYOUTS)
    for folder in (data_dir,) if data_dir is not None else search_folders(name):
        found = find_in(name, folder)
        if found is not None:
            return found
    cache = cache_folder() if data_dir is None else None
    if cache is None:
        return None
    if name not in REMOTE_FILES:
        return find_in(name, cache)
    wanted = [cache / name / file.cache_name for split in REMOTE_FILES[name].values() for file in split]
    return cache / name if all(path.is_file() for path in wanted) else None


def find_or_download(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    *,
    download: bool = True,
    base_url: str | None = None,
    progress: bool = False,
) -> Path:
    """Return the folder (or archive) that holds a set, downloaded into the cache if need be.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist", "cifar-10" or "n-mnist".
    split : {"train", "test"}
        What is downloaded.
    data_dir : str or Path, optional
        The only folder to look in; without it, the search order of this module.
    download : bool
        Whether the network may be used.
    base_url : str, optional
        The folder on the server; by default the variable TSSLBP_BASE_URL_<SET>, then the original server.
    progress : bool
        Whether a progress bar is shown.

    Raises
    ------
    FileNotFoundError
        If the set is not in `data_dir`, or nowhere and must not or cannot (N-MNIST) be downloaded.
    DownloadError
        If the download fails, does not match the checksum, or pooch is not installed.
    DataError
        If the cache is damaged and must not be renewed.
    OSError
        If a folder to look in is there but cannot be read.
    """
    checks.one_of("data set", name, LAYOUTS)
    if data_dir is not None:
        data_dir = files.as_path("data_dir", data_dir)
    folders = (data_dir,) if data_dir is not None else search_folders(name)
    for folder in folders:
        found = find_in(name, folder)
        if found is not None:
            return found
    if data_dir is not None:
        hint = " (not taken: its name is another set's)" if _named_after_another(name, data_dir) else ""
        raise FileNotFoundError(f"{name} not found: looked for {_description(name)} in {data_dir}{hint}")
    cache = cache_folder()
    if cache is not None:
        cached = find_in(name, cache) if name in BY_HAND else _from_cache(name, split, cache, download)
        if cached is not None:
            return cached
    places = ", ".join(str(folder) for folder in (*folders, cache) if folder is not None) or "no folder at all"
    if download and name not in BY_HAND:
        try:
            return _download_split(name, split, cache, base_url, progress)
        except DownloadError as error:
            raise DownloadError(f"{error} (before that, looked in {places}; {REMEDY})") from error
    remedy = f"{BY_HAND.get(name, 'download is off')}; {REMEDY}"
    raise FileNotFoundError(f"{name} not found: looked for {_description(name)} in {places}; {remedy}")


def _description(name: str) -> str:
    layout = LAYOUTS[name]
    return f"{', '.join(layout.marks)} or a subfolder {layout.folder_pattern}"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_cache(name: str, split: str, cache: Path, renew: bool) -> Path | None:
    """Return the set's folder in the cache if the split is complete and intact, None if it must be downloaded."""
    for file in REMOTE_FILES[name][split]:
        path = cache / name / file.cache_name
        if not path.is_file():
            return None
        found = file_sha256(path)
        if found != file.sha256:
            if renew:
                return None
            raise DataError(f"{path}: damaged file in the cache, expected sha256 {file.sha256}, got {found}")
    return cache / name


def _download_split(name: str, split: str, cache: Path | None, base_url: str | None, progress: bool) -> Path:
    variable = BASE_URL_VARIABLE + name.upper().replace("-", "_")
    base = checks.instance_of("base_url", base_url or os.environ.get(variable, "") or BASE_URLS[name], str)
    if len(base) > files.MOST_PATH:
        raise ValueError(f"base_url must have at most {files.MOST_PATH} characters, got {checks.shown(base)}")
    if cache is None:
        raise DownloadError(_no_pooch(name))
    for file in REMOTE_FILES[name][split]:
        download_file(file, f"{base.rstrip('/')}/{file.remote_name}", cache / name, name=name, progress=progress)
    return cache / name


def _no_pooch(name: str) -> str:
    return f"{name} not found, and downloading it needs the package pooch: pip install 'tsslbp-ref[data]'"


def download_file(file: RemoteFile, url: str, folder: Path, *, name: str, progress: bool = False) -> Path:
    """Download one file into a folder, all or nothing, and return its path.

    pooch writes to a temporary file in the same folder, compares the checksum, and only then renames it; so the final
    name never holds a half-written or wrong file, and a failure leaves nothing behind. (A process killed outright may
    leave its temporary file, which nobody reads.)

    Raises
    ------
    DownloadError
        One line with the URL and the reason.
    """
    try:
        import pooch
    except ImportError as error:
        raise DownloadError(_no_pooch(name)) from error
    # Without compression by the server: its bytes are to be the file's.
    fetch_bytes = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    packed = file.remote_name != file.cache_name
    pooch.get_logger().setLevel("WARNING")  # what is said of a download is said by the caller, in one line
    try:
        path = pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}",
            fname=file.cache_name,
            path=folder,
            downloader=_unpacking(fetch_bytes) if packed else fetch_bytes,
        )
    except (OSError, ValueError, EOFError, zlib.error) as error:  # requests' errors are OSErrors, pooch's a ValueError
        raise DownloadError(f"{name}: could not download {url}: {_reason(error)}") from error
    return Path(path)


def _unpacking(fetch_bytes: Callable[[str, str, Any], None]) -> Callable[[str, str, Any], None]:
    """Return a pooch downloader that unpacks the .gz it receives, so that pooch checks the unpacked content."""

    def download(url: str, output_file: str, manager: Any) -> None:
        with tempfile.TemporaryDirectory(dir=Path(output_file).parent) as folder:
            packed = Path(folder) / "packed"
            fetch_bytes(url, str(packed), manager)
            with packed.open("rb") as stream:
                is_gzip = stream.read(len(files.GZIP_MAGIC)) == files.GZIP_MAGIC
            # Some servers unpack .gz files on the way; the checksum decides whether the content is right.
            with gzip.open(packed, "rb") if is_gzip else packed.open("rb") as source, open(output_file, "wb") as target:
                target.writelines(files.Bounded(cast(BinaryIO, source), idx.MOST_BYTES, url).chunks())

    return download


def _reason(error: BaseException) -> str:
    """Return why a download failed, in one line: the server's status, or the innermost cause."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answered {response.status_code} {response.reason}"
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return " ".join(str(error).split()) or type(error).__name__
