"""CIFAR-10's pickles: hostile ones end in one line, within little memory and time."""

import contextlib
import struct
import time
import tracemalloc

import numpy as np
import pytest
from test_datasets_cifar10 import ENCODINGS, make_batch

from tsslbp_ref.datasets import DataError, cifar10, pickled

BATCH = make_batch(3, 1)


def short(text):
    return b"U" + bytes([len(text)]) + text


def batch_of(data, labels=b"](K\x01K\x02K\x03e"):
    """The pickle of a dictionary with these opcodes for the pixels and the labels."""
    return b"\x80\x02}(" + short(b"data") + data + short(b"labels") + labels + b"u."


def frombuffer(pixels, shape=b"K\x03M\x00\x0c\x86", dtype=None):
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"\x85R" if dtype is None else dtype
    return b"cnumpy.core.numeric\n_frombuffer\n(" + pixels + dtype + shape + b"X\x01\0\0\0C" + b"tR"


PIXELS = b"T" + struct.pack("<i", 3 * 3072) + BATCH[0].tobytes()
DOUBLED = b")" + b"q\0h\0\x86" * 40  # a tuple of two equal tuples of two ..., 2^40 in all
DEEP = b")" + b"\x85" * 131_640  # deep enough to end Python where something goes down into it
HOSTILE = {
    "memo index 2^27": b"\x80\x02}r\xff\xff\xff\x07.",
    "memo index 2^31": b"\x80\x02}r\xff\xff\xff\x7f.",
    "doubled key": b"\x80\x02})" + b"2\x86" * 40 + b"Ns.",
    "doubled key by memo": b"\x80\x02}" + DOUBLED + b"Ns.",
    "deep key": b"\x80\x02}" + DEEP + b"Ns.",
    "doubled labels": batch_of(frombuffer(PIXELS), DOUBLED),
    "doubled lists as labels": batch_of(frombuffer(PIXELS), b"]q\0" + b"]q\1h\0ah\0aq\0" * 40),
    "labels that hold themselves": batch_of(frombuffer(PIXELS), b"]q\0h\0a"),
    "doubled shape": batch_of(frombuffer(PIXELS, shape=DOUBLED)),
    "doubled item of the shape": batch_of(frombuffer(PIXELS, shape=b"K\x03" + DOUBLED + b"\x86")),
    "doubled dtype": batch_of(frombuffer(PIXELS, dtype=DOUBLED)),
    "doubled name of the dtype": batch_of(frombuffer(PIXELS, dtype=b"cnumpy\ndtype\n" + DOUBLED + b"\x85R")),
    "calls of calls": b"\x80\x02" + b"cnumpy\ndtype\n" * 20_000 + b")" + b"R\x85" * 20_000 + b".",
    "a number of bytes": batch_of(frombuffer(b"J\xff\xff\xff\x7f")),
    "promised bytes": b"\x80\x02}T\xff\xff\xff\x7fabc.",
    "promised bytes of protocol 4": b"\x80\x04}\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "a long number": b"\x80\x02}\x8b" + struct.pack("<i", 10**6) + b"\xff" * 10**6 + b".",
    "a number in digits": b"I" + b"9" * 10**6 + b"\n.",
    "a text of no number": b"I" + b"x" * 10**6 + b"\n.",
    "a long name": b"c" + b"x" * 10**6 + b"\ny\n.",
    "an unknown memo": b"\x80\x02h\x07.",
    "the same key twice": b"\x80\x02}(" + short(b"data") + b"N" + short(b"data") + b"Nu.",
    "a protocol that there is not": b"\x80\xa4" + batch_of(frombuffer(PIXELS))[2:],
    "no dictionary": b"\x80\x02].",
    "two values": b"\x80\x02}}.",
    "nothing": b"\x80\x02.",
    "no end": b"\x80\x02}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path, name):
    path = tmp_path / "test_batch"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(DataError, match="test_batch: not a CIFAR-10 python batch") as caught:
        cifar10.read_split(tmp_path, "test")
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 300
    assert peak < 32 * 2**20
    assert seconds < 20


def test_the_number_of_opcodes_is_bounded(monkeypatch):
    monkeypatch.setattr(pickled, "MOST_OPCODES", 1000)
    with pytest.raises(ValueError, match="more than 1000 opcodes"):
        pickled.read_dictionary(b"\x80\x02" + b"]" * 2000 + b".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"}(U\x01aNU\x01aNu.", "a key is no text, or comes twice"),
        (b"}(K\x01Nu.", "a key is no text, or comes twice"),
        (b"].", "a dictionary is wanted, got list"),
        (b"}}.", "too many values to unpack"),
        (b"}N0.", "the opcode POP is not allowed"),
        (b"}I1\n0.", "the opcode INT is not allowed"),
        (b"}cnumpy\nload\n.", "the name 'numpy.load' is not allowed"),
        (b"c_codecs\nencode\nU\x00U\x05utf-8\x86R.", "a text encoding other than latin1"),
    ],
)
def test_what_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        pickled.read_dictionary(b"\x80\x02" + content)


def test_the_made_pickles_are_read_when_they_are_not_hostile(tmp_path):
    """The parts of which the hostile pickles are made are right: only their hostile part is refused."""
    (tmp_path / "test_batch").write_bytes(batch_of(frombuffer(PIXELS)))
    images, labels = cifar10.read_split(tmp_path, "test")
    np.testing.assert_array_equal(images, BATCH[0])
    assert labels.tolist() == [1, 2, 3]


def test_the_short_forms_that_python_2_wrote_for_the_official_files():
    """Memo, short numbers and short text, which the writer of the other tests does not use."""
    content = b"\x80\x02}q\x01(" + short(b"batch_label") + b"q\x02" + short(b"testing batch 1 of 1") + b"q\x03"
    content += short(b"labels") + b"q\x04](K\x03K\x08M\x00\x01J\xff\xff\xff\xffe"
    content += short(b"filenames") + b"r\x05\x00\x00\x00]q\x06(" + short(b"a.png") + b"h\x02j\x05\x00\x00\x00eu."
    assert pickled.read_dictionary(content) == {
        "batch_label": b"testing batch 1 of 1",
        "labels": [3, 8, 256, -1],
        "filenames": [b"a.png", b"batch_label", b"filenames"],
    }


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "binary"])
def test_every_cut_and_many_wrong_bytes_give_a_data_error_or_pictures(encoding):
    whole = ENCODINGS[encoding][0](*BATCH)
    rng = np.random.default_rng(0)
    for place in (*range(200), *range(len(whole) - 200, len(whole))):  # between them are pixels, which may be anything
        wrong = whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :]
        for content in (whole[:place], wrong):
            with contextlib.suppress(DataError):
                images, labels = cifar10._read_python_batch(content, "batch")
                assert images.shape == (len(labels), 3, 32, 32)


def test_a_value_that_nobody_asks_for_may_be_nested_to_any_depth():
    assert pickled.read_dictionary(b"\x80\x02}" + short(b"other") + DEEP + b"s.")["other"] != ()
