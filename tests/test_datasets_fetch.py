"""The download against a server on this machine: success and every failure leave the cache clean."""

import gzip
import hashlib
import http.server
import io
import logging
import string
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pooch
import pytest
from made_idx import NAMES, idx_files, see_nothing_of_this_machine

from tsslbp_ref.datasets import DataError, DownloadError, available, fetch, load_images


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    see_nothing_of_this_machine(tmp_path, monkeypatch)


def test_every_checksum_is_a_sha256():
    sums = [file.sha256 for splits in fetch.REMOTE_FILES.values() for files in splits.values() for file in files]
    assert all(len(text) == 64 and set(text) <= set(string.hexdigits) for text in sums)
    assert len(set(sums)) == 9  # two IDX sets of four files, and one CIFAR-10 archive for both splits


class Server:
    """A web server with files in memory; `broken` maps a name to the way in which it is served wrongly."""

    def __init__(self):
        self.files, self.broken, self.requests = {}, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/files/"
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler):
        name = handler.path.removeprefix("/files/")
        self.requests.append(name)
        how, content = self.broken.get(name), self.files.get(name)
        if content is None or how == "404":
            handler.send_error(404)
            return
        handler.send_response(200)
        if how != "cut without length":
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if how in ("cut", "cut without length"):
            content = content[: len(content) // 2]
        elif how == "corrupt":
            content = content[:20] + bytes([content[20] ^ 255]) + content[21:]
        elif how == "other content":
            content = gzip.compress(b"x" * len(content))[: len(content)].ljust(len(content), b"\0")
        handler.wfile.write(content)

    def stop(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.stop()


def cached(tmp_path):
    """Return every file and every temporary folder below the cache."""
    entries = (tmp_path / "cache").rglob("*")
    return sorted(str(entry.relative_to(tmp_path / "cache")) for entry in entries if entry.name != "mnist")


@pytest.fixture
def remote_mnist(server, monkeypatch):
    """Put a small MNIST on the server and its checksums, of the unpacked files, instead of the pinned ones."""
    splits = {}
    for split, n in (("train", 6), ("test", 4)):
        files = []
        for name, content in zip(NAMES[split], idx_files(n, seed=n), strict=True):
            server.files[name + ".gz"] = gzip.compress(content)
            files.append(fetch.RemoteFile(name + ".gz", name, hashlib.sha256(content).hexdigest()))
        splits[split] = tuple(files)
    monkeypatch.setitem(fetch.REMOTE_FILES, "mnist", splits)
    return server


def test_download_then_cache(tmp_path, remote_mnist):
    loaded = load_images("mnist", "train", base_url=remote_mnist.url)
    assert loaded.images.shape == (6, 1, 28, 28)
    assert loaded.source == str(tmp_path / "cache" / "mnist")
    assert cached(tmp_path) == ["mnist/train-images-idx3-ubyte", "mnist/train-labels-idx1-ubyte"]
    assert available("mnist") is None  # the test split is not there yet
    load_images("mnist", "test", base_url=remote_mnist.url.rstrip("/"))
    assert available("mnist") == tmp_path / "cache" / "mnist"
    asked = list(remote_mnist.requests)
    assert len(asked) == 4
    again = load_images("mnist", "train", download=False)
    np.testing.assert_array_equal(again.images, loaded.images)
    load_images("mnist", "test", base_url=remote_mnist.url)
    assert remote_mnist.requests == asked


def test_a_download_leaves_the_terminal_to_its_caller(remote_mnist):
    """A failure is one line, and a bar is drawn only if it is asked for: pooch's own messages stay away."""
    pooch.get_logger().setLevel(logging.INFO)
    load_images("mnist", "train", base_url=remote_mnist.url)
    assert pooch.get_logger().level == logging.WARNING


def test_base_url_from_the_environment(tmp_path, remote_mnist, monkeypatch):
    monkeypatch.setenv("TSSLBP_BASE_URL_MNIST", remote_mnist.url)
    assert len(load_images("mnist", "test")) == 4


def test_server_that_unpacks_on_the_way(tmp_path, remote_mnist):
    for name in list(remote_mnist.files):
        remote_mnist.files[name] = gzip.decompress(remote_mnist.files[name])
    assert len(load_images("mnist", "test", base_url=remote_mnist.url)) == 4


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("404", "the server answered 404 Not Found"),
        ("cut", "IncompleteRead"),
        ("cut without length", "ended before the end-of-stream"),
        ("corrupt", ""),
        ("other content", "does not match the known hash"),
    ],
)
@pytest.mark.parametrize("name", NAMES["train"])
def test_failed_download_leaves_nothing_behind(tmp_path, remote_mnist, how, reason, name):
    remote_mnist.broken[name + ".gz"] = how
    with pytest.raises(DownloadError) as caught:
        load_images("mnist", "train", base_url=remote_mnist.url)
    text = str(caught.value)
    assert text.startswith(f"mnist: could not download {remote_mnist.url}{name}.gz: ")
    assert reason in text
    assert "\n" not in text
    intact = [f"mnist/{NAMES['train'][0]}"] if name == NAMES["train"][1] else []
    assert cached(tmp_path) == intact
    remote_mnist.broken.clear()
    assert len(load_images("mnist", "train", base_url=remote_mnist.url)) == 6


@pytest.mark.parametrize("packed", [True, False])
def test_no_more_is_unpacked_than_the_set_has(tmp_path, remote_mnist, packed):
    name = NAMES["train"][0] + ".gz"
    content = bytes(48_000_000)
    remote_mnist.files[name] = gzip.compress(content, 1) if packed else content
    with pytest.raises(DownloadError, match=r"more than 47040016 bytes, which is more than the data set has"):
        load_images("mnist", "train", base_url=remote_mnist.url)
    assert cached(tmp_path) == []


def test_server_gone(tmp_path, remote_mnist):
    gone = Server()
    gone.stop()
    with pytest.raises(
        DownloadError,
        match=r"could not download http://127.0.0.1:\d+/files/train-images\S+: \[Errno \d+\] Connection refused "
        r"\(before that, looked in \S+; name its folder with data_dir, --data on the command line, or TSSLBP_DATA\)$",
    ):
        load_images("mnist", "train", base_url=gone.url)
    assert cached(tmp_path) == []


def test_url_that_is_none(tmp_path, remote_mnist):
    with pytest.raises(DownloadError, match=r"could not download nonsense/train-images-idx3-ubyte.gz: .*"):
        load_images("mnist", "train", base_url="nonsense")
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        (3, r"^base_url must be a str, got int$"),
        ("x" * 10**5, r"^base_url must have at most 4096 .*, got 'x{56}\.\.\.$"),
    ],
)
def test_a_url_of_another_type_or_without_end(base_url, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load_images("mnist", "train", base_url=base_url)


def test_damaged_cache_is_renewed_or_reported(tmp_path, remote_mnist):
    load_images("mnist", "train", base_url=remote_mnist.url)
    path = tmp_path / "cache" / "mnist" / NAMES["train"][0]
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: damaged file in the cache, expected sha256"):
        load_images("mnist", "train", download=False)
    load_images("mnist", "train", base_url=remote_mnist.url)
    assert path.read_bytes() == intact


def test_damaged_cache_survives_a_failed_renewal(tmp_path, remote_mnist):
    load_images("mnist", "train", base_url=remote_mnist.url)
    before = cached(tmp_path)
    path = tmp_path / "cache" / "mnist" / NAMES["train"][0]
    path.write_bytes(b"damaged")
    remote_mnist.broken[NAMES["train"][0] + ".gz"] = "404"
    with pytest.raises(DownloadError, match="404"):
        load_images("mnist", "train", base_url=remote_mnist.url)
    assert cached(tmp_path) == before


def test_cache_folder_that_cannot_be_made(tmp_path, remote_mnist):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(DownloadError, match=r"could not download \S+: .*cache") as caught:
        load_images("mnist", "train", base_url=remote_mnist.url)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "cache").read_text() == "a file in the way"


def test_cifar_archive_is_downloaded_once_for_both_splits(tmp_path, server, monkeypatch):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, labels in (("data_batch_1.bin", [1, 2]), ("test_batch.bin", [3])):
            content = b"".join(bytes([label]) + bytes(3072) for label in labels)
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    server.files["cifar-10-binary.tar.gz"] = buffer.getvalue()
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    file = fetch.RemoteFile("cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz", digest)
    monkeypatch.setitem(fetch.REMOTE_FILES, "cifar-10", {"train": (file,), "test": (file,)})
    monkeypatch.setenv("TSSLBP_BASE_URL_CIFAR_10", server.url)
    assert load_images("cifar-10", "train").labels.tolist() == [1, 2]
    assert load_images("cifar-10", "test").labels.tolist() == [3]
    assert server.requests == ["cifar-10-binary.tar.gz"]
    server.broken["cifar-10-binary.tar.gz"] = "corrupt"
    monkeypatch.setenv("TSSLBP_CACHE", str(tmp_path / "second cache"))
    with pytest.raises(DownloadError, match="does not match the known hash"):
        load_images("cifar-10", "train")
    assert [entry for entry in (tmp_path / "second cache").rglob("*") if entry.is_file()] == []


def test_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    for cache in (str(tmp_path / "cache"), ""):
        monkeypatch.setenv("TSSLBP_CACHE", cache)
        with pytest.raises(DownloadError, match=r"needs the package pooch: pip install 'tsslbp-ref\[data\]'"):
            load_images("mnist", "train")
        with pytest.raises(FileNotFoundError, match="download is off"):
            load_images("mnist", "train", download=False)
        assert available("mnist") is None


def test_pooch_is_imported_only_to_look_in_the_cache_or_download():
    code = "import sys, tsslbp_ref.datasets; sys.exit('pooch' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
