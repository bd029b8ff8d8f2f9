"""N-MNIST: the 40-bit events, binning, the compensation of the camera's motion, and the streaming of batches."""

import tracemalloc

import numpy as np
import pytest

from tsslbp_ref.datasets import (
    NMNIST,
    DataError,
    MissingSplitError,
    bin_events,
    nmnist,
    read_events,
    remove_saccade_motion,
)


def make_events(rows):
    return np.array([tuple(row) for row in rows], nmnist.EVENT_DTYPE)


def encode(rows):
    """Write the 40 bits of each event (x, y, t, p) as text, then as bytes: an encoder unlike the reader."""
    bits = "".join(f"{x:08b}{y:08b}{p:01b}{t:023b}" for x, y, t, p in rows)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def random_rows(n, seed, last=310_000):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, last, n))
    return [(int(rng.integers(34)), int(rng.integers(34)), int(t), int(rng.integers(2))) for t in times]


def test_layout_of_the_bits(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([3, 33, 0x80 | 0x01, 0x02, 0x03, 33, 0, 0x7F, 0xFF, 0xFF]))
    events = read_events(path)
    assert events.dtype.names == ("x", "y", "t", "p")
    assert events.tolist() == [(3, 33, 0x010203, 1), (33, 0, 2**23 - 1, 0)]


def test_reading_is_the_inverse_of_writing(tmp_path):
    rows = random_rows(500, 0)
    (tmp_path / "a.bin").write_bytes(encode(rows))
    assert read_events(tmp_path / "a.bin").tolist() == rows


def test_overflow_markers_add_8192_us_and_are_left_out(tmp_path):
    rows = [(1, 2, 8000, 1), (0, 240, 0, 0), (3, 4, 5, 0), (0, 240, 0, 0), (5, 6, 7, 1)]
    (tmp_path / "a.bin").write_bytes(encode(rows))
    assert read_events(tmp_path / "a.bin").tolist() == [(1, 2, 8000, 1), (3, 4, 8197, 0), (5, 6, 16391, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (encode(random_rows(3, 1))[:-1], "multiple of 5 bytes, got 14 bytes"),
        (encode([(1, 1, 0, 0), (34, 2, 1, 0)]), "addresses must lie in 0 .. 33, got x = 34, y = 2 in event 1"),
        (encode([(1, 255, 0, 0)]), "addresses must lie in 0 .. 33, got x = 1, y = 255 in event 0"),
        (encode([(1, 1, 50, 0), (1, 1, 60, 0), (1, 1, 59, 0)]), "time goes backwards, from 60 to 59 us in event 2"),
    ],
)
def test_damaged_recording(tmp_path, content, message):
    path = tmp_path / "00001.bin"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_events(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_recording_has_at_most_a_million_events(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(5 * 2**20))
    assert len(read_events(path)) == 2**20
    path.write_bytes(bytes(5 * 2**20 + 5))
    with pytest.raises(DataError, match=r"a\.bin: more than 5242880 bytes"):
        read_events(path)


def test_a_name_of_control_characters_is_escaped(tmp_path):
    path = tmp_path / "\x1b[31mred\n.bin"
    path.write_bytes(b"abc")
    with pytest.raises(DataError, match=r"\\x1b\[31mred\\n\.bin: the size") as caught:
        read_events(path)
    assert str(caught.value).isprintable()


def test_missing_recording(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"00001\.bin"):
        read_events(tmp_path / "00001.bin")


def test_binning_follows_its_definition():
    rows = random_rows(800, 2)
    n_steps, width = 20, 9_000
    expected = np.zeros((n_steps, 2, 34, 34), np.uint8)
    for x, y, t, p in rows:
        for k in range(n_steps):
            if k * width <= t < (k + 1) * width:
                expected[k, p, y, x] = 1
    result = bin_events(make_events(rows), n_steps, width)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)
    assert 0 < result.sum() < 800


def test_bin_edges_and_repeated_events():
    events = make_events([(1, 2, 0, 1), (1, 2, 999, 1), (1, 2, 1000, 1), (5, 6, 2999, 0), (7, 8, 3000, 0)])
    spikes = bin_events(events, 3, 1000)
    assert np.argwhere(spikes).tolist() == [[0, 1, 2, 1], [1, 1, 2, 1], [2, 0, 6, 5]]
    assert spikes.max() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((make_events([(1, 1, 1, 1)]), 0, 1000), ValueError, "n_steps must be at least 1, got 0"),
        ((make_events([(1, 1, 1, 1)]), 5, 0), ValueError, "bin_width_us must be at least 1, got 0"),
        ((make_events([(1, 1, 1, 1)]), 5, 1.5), TypeError, "bin_width_us must be an integer"),
        ((make_events([(1, 1, 1, 1)]), 2**20 + 1, 10), ValueError, "n_steps must be at most 1048576, got 1048577"),
        ((make_events([(1, 1, 1, 1)]), 10**5000, 10), ValueError, "n_steps must be at most 1048576, got a value of"),
        ((make_events([(34, 1, 1, 1)]), 5, 10), ValueError, r"x must lie in 0 \.\. 33"),
        ((make_events([(1, -1, 1, 1)]), 5, 10), ValueError, r"y must lie in 0 \.\. 33"),
        ((make_events([(1, 1, 1, 2)]), 5, 10), ValueError, r"p must lie in 0 \.\. 1"),
        ((make_events([(1, 1, -1, 1)]), 5, 10), ValueError, r"t must lie in 0 \.\. 9007199254740992, got -1"),
        ((np.zeros((3, 4)), 5, 10), TypeError, "structured array with the fields x, y, t, p"),
    ],
)
def test_binning_checks_its_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        bin_events(*arguments)


ROWS = [(1, 0, 0, 1), (0, 1, 90, 0), (1, 1, 120, 1)]


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "u2", "<i4", ">i4", "u8", ">i8", "f2", "f4", ">f8", "g", "O"])
@pytest.mark.parametrize("field", ["x", "y", "t", "p"])
def test_fields_of_any_type_that_hold_whole_numbers(field, kind):
    rows = [(x, y, int(t > 0), p) for x, y, t, p in ROWS] if (field, kind) == ("t", "?") else ROWS
    events = make_events(rows)
    other = events.astype([(name, kind if name == field else "i8") for name in "xytp"])
    np.testing.assert_array_equal(bin_events(other, 5, 30), bin_events(events, 5, 30))
    np.testing.assert_array_equal(bin_events(other, 5, 10**400), bin_events(events, 5, 10**6))
    still = remove_saccade_motion(other)
    assert still.dtype == nmnist.EVENT_DTYPE
    np.testing.assert_array_equal(still, remove_saccade_motion(events))


def test_a_boolean_polarity_is_no_mask():
    events = np.array([(1, 2, 0, True), (3, 4, 0, True)], [("x", "i2"), ("y", "i2"), ("t", "i4"), ("p", "?")])
    assert np.argwhere(bin_events(events, 1, 1000)).tolist() == [[0, 1, 2, 1], [0, 1, 4, 3]]


def test_boolean_addresses_may_leave_0_and_1():
    """At t = 330,000 us the picture stands one pixel to the left of its start."""
    events = np.array([(True, True, 330_000, 1)], [("x", "?"), ("y", "?"), ("t", "u4"), ("p", "u1")])
    assert remove_saccade_motion(events).tolist() == [(2, 1, 330_000, 1)]


@pytest.mark.parametrize("function", [lambda events: bin_events(events, 5, 10), remove_saccade_motion])
@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("t", np.array([0.0, 1.5]), "t must hold whole numbers, got 1.5 in event 1"),
        ("x", np.array([0.0, np.nan]), r"x must lie in 0 .. 33, got nan .. nan"),
        ("t", np.array([0.0, np.inf]), r"t must lie in 0 .. 9007199254740992, got 0.0 .. inf"),
        (
            "t",
            np.array([0, 2**64 - 1], np.uint64),
            r"t must lie in 0 .. 9007199254740992, got 0 .. 18446744073709551615",
        ),
        ("p", np.array([0, -1], np.int8), r"p must lie in 0 .. 1, got -1 .. 0"),
        ("p", np.array(["0", "1"]), "p must hold whole numbers, got dtype <U1"),
        ("p", np.array([1j, 0]), "p must hold whole numbers, got dtype complex128"),
        ("t", np.array([0, 1], "m8[us]"), r"t must hold whole numbers, got dtype timedelta64\[us\]"),
        ("t", np.array([0, None]), "t must hold whole numbers, got dtype object"),
        ("t", np.array([0, 10**30]), "t must hold whole numbers, got dtype object"),
        ("x", np.array([0, "1"], object), "x must hold whole numbers, got dtype <U"),
        ("x", np.array([[0, 1], [1, 1]]), "x must hold whole numbers, got dtype int64 of shape"),
    ],
)
def test_fields_that_hold_something_else(function, field, values, message):
    kinds = [
        (name, values.dtype if name == field else np.dtype("i8"), values.shape[1:] * (name == field)) for name in "xytp"
    ]
    events = np.zeros(2, kinds)
    events[field] = values
    with pytest.raises((TypeError, ValueError), match=f"^events: {message}"):
        function(events)


@pytest.mark.parametrize("function", [lambda events: bin_events(events, 5, 10), remove_saccade_motion])
def test_masked_events_and_events_of_another_shape(function):
    events = make_events(ROWS)
    masked = np.ma.array(events, mask=[(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0)])
    with pytest.raises(ValueError, match="events: t must not hold masked values"):
        function(masked)
    np.testing.assert_array_equal(function(np.ma.array(events)), function(events))
    np.testing.assert_array_equal(function(events.view(np.recarray)), function(events))
    for shape in ((3, 1), ()):
        with pytest.raises(ValueError, match="events must have 1 axis, got shape"):
            function(events.reshape(shape) if shape else events[0])
    assert not any(function(events[:0]).tobytes())


def published_shift(t):
    """Return the three cases of the data set authors' routine as the docstring's table has them."""
    if t <= 105e3:
        return 3.5 * t / 105e3, 7 * t / 105e3
    if t <= 210e3:
        return 3.5 + 3.5 * (t - 105e3) / 105e3, 7 - 7 * (t - 105e3) / 105e3
    return 7 - 7 * (t - 210e3) / 105e3, 0.0


def test_picture_path_is_the_published_one_and_continuous():
    times = np.concatenate([np.arange(0, 336_040, 997), [0, 105_000, 105_001, 210_000, 210_001, 315_000]])
    expected = np.array([published_shift(t) for t in times])
    np.testing.assert_allclose(nmnist.image_position(times), expected, rtol=0, atol=1e-12)
    steps = np.diff(nmnist.image_position(np.arange(0, 330_000, 10)), axis=0)
    assert np.abs(steps).max() < 1e-3


def test_a_point_that_moves_with_the_picture_stands_still():
    times = np.arange(0, 315_000, 500)
    there = np.rint(np.array([10.0, 12.0]) + [published_shift(t) for t in times]).astype(int)
    events = make_events([(x, y, t, 1) for (x, y), t in zip(there, times, strict=True)])
    assert len({(event["x"], event["y"]) for event in events}) > 20
    still = remove_saccade_motion(events)
    assert len(still) == len(events)
    assert np.abs(still["x"] - 10).max() <= 1  # the sensor's own rounding leaves up to one pixel
    assert np.abs(still["y"] - 12).max() <= 1
    np.testing.assert_array_equal(still["t"], events["t"])


def test_compensation_rounds_drops_and_leaves_its_argument():
    events = make_events(
        [(5, 5, 0, 0), (5, 5, 15_000, 1), (0, 9, 105_000, 1), (33, 33, 330_000, 0), (9, 1, 210_000, 0)]
    )
    before = events.copy()
    # Shifts: (0, 0), (0.5, 1), (3.5, 7), (-1, 0), (7, 0).
    assert remove_saccade_motion(events).tolist() == [(5, 5, 0, 0), (5, 4, 15_000, 1), (2, 1, 210_000, 0)]
    np.testing.assert_array_equal(events, before)


@pytest.fixture
def root(tmp_path):
    for split, first in (("Train", 0), ("Test", 100)):
        for digit in range(10):
            folder = tmp_path / "n-mnist-made" / split / str(digit)
            folder.mkdir(parents=True)
            for number in range(1 + digit % 3):
                content = encode(random_rows(50, first + 10 * digit + number))
                (folder / f"{number:05d}.bin").write_bytes(content)
            (folder / "readme.txt").write_text("not a recording")
    return tmp_path


def test_listing(root):
    recordings = NMNIST(root / "n-mnist-made", "train")
    assert len(recordings) == 4 * 1 + 3 * 2 + 3 * 3
    assert recordings.labels.tolist() == sorted(recordings.labels)
    for index in range(len(recordings)):
        path, label = recordings[index]
        assert path.parent.name == str(label)
        assert path.suffix == ".bin"
    assert len({path for path, _ in recordings}) == len(recordings)


def test_hidden_files_are_no_recordings(root):
    """MacOS puts a file ._X beside every X on disks that are not its own."""
    folder = root / "n-mnist-made" / "Train" / "3"
    before = NMNIST(root, "train").paths
    (folder / "._00000.bin").write_bytes(b"resource fork")
    assert NMNIST(root, "train").paths == before
    for path in folder.glob("0*.bin"):
        path.unlink()
    with pytest.raises(DataError, match=r"Train/3: the class folder is empty, no \*\.bin file in it"):
        NMNIST(root, "train")


def test_capitals_of_folders_and_files_do_not_count(root):
    before = NMNIST(root, "train")
    made = root / "n-mnist-made"
    (made / "Train").rename(made / "train")
    for path in (made / "train").rglob("*.bin"):
        path.rename(path.with_suffix(".BIN"))
    after = NMNIST(root, "train")
    assert [path.stem for path in after.paths] == [path.stem for path in before.paths]
    np.testing.assert_array_equal(after.labels, before.labels)


def test_found_from_the_parent_and_the_environment(root, monkeypatch):
    assert NMNIST(root, "test").source == str(root / "n-mnist-made" / "Test")
    monkeypatch.setenv("TSSLBP_DATA", str(root))
    assert NMNIST(None, "test").source == str(root / "n-mnist-made" / "Test")
    (root / "elsewhere").mkdir()
    monkeypatch.setenv("TSSLBP_DATA", str(root / "elsewhere"))
    monkeypatch.setenv("TSSLBP_CACHE", str(root / "cache"))
    with pytest.raises(FileNotFoundError, match=r"get Train.zip and Test.zip from https://\S+ and unpack both"):
        NMNIST(None, "test")


@pytest.mark.parametrize("stabilise", [False, True])
def test_batches_hold_the_binned_recordings_in_order(root, stabilise):
    recordings = NMNIST(root, "train")
    order = np.random.default_rng(5).permutation(len(recordings))[:11]
    batches = list(recordings.batches(order, 10, 30_000, batch_size=4, stabilise=stabilise, dtype="float64"))
    assert [x.shape for x, _ in batches] == [(10, 4, 2, 34, 34), (10, 4, 2, 34, 34), (10, 3, 2, 34, 34)]
    x = np.concatenate([x for x, _ in batches], axis=1)
    y = np.concatenate([y for _, y in batches])
    assert x.dtype == np.float64
    np.testing.assert_array_equal(y, recordings.labels[order])
    for position, index in enumerate(order):
        events = recordings.events(index)
        if stabilise:
            events = remove_saccade_motion(events)
        np.testing.assert_array_equal(x[:, position], bin_events(events, 10, 30_000))


def test_only_one_batch_is_in_memory(root):
    recordings = NMNIST(root, "train")
    many = np.tile(np.arange(len(recordings)), 20)  # 380 recordings, 35 MB when binned all at once
    whole = len(many) * 10 * 2 * 34 * 34 * 4
    tracemalloc.start()
    for x, _ in recordings.batches(many, 10, 30_000, batch_size=10):
        assert x.dtype == np.float32
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < whole / 10


def test_missing_split_missing_class_and_empty_class(root):
    made = root / "n-mnist-made"
    for path in (made / "Test" / "4").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"Test/4: the class folder is empty, no \*\.bin file in it"):
        NMNIST(root, "test")
    (made / "Test" / "4").rmdir()
    with pytest.raises(MissingSplitError, match=r"Test: the class folder 4 is missing"):
        NMNIST(root, "test")
    (made / "Test").rename(root / "away")
    with pytest.raises(MissingSplitError, match=r"n-mnist-made: the test split is missing, no folder Test"):
        NMNIST(root, "test")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        NMNIST(root, "valid")
    with pytest.raises(FileNotFoundError, match="n-mnist not found: looked for Train, Test or a subfolder"):
        NMNIST(root / "away", "test")


@pytest.mark.parametrize(
    ("indices", "keywords", "message"),
    [
        ([], {}, "indices must be a list of integers"),
        ([0.5], {}, "indices must be a list of integers"),
        ([[0], [1, 2]], {}, "indices must be a rectangular array"),
        ([0, 19], {}, r"indices must lie in 0 \.\. 18, got 0 \.\. 19"),
        ([-1], {}, r"indices must lie in 0 \.\. 18"),
        ([0], {"batch_size": 0}, "batch_size must be at least 1"),
        ([0], {"dtype": "int8"}, "dtype must be one of float32, float64"),
    ],
)
def test_batches_check_their_arguments_at_once(root, indices, keywords, message):
    with pytest.raises(ValueError, match=message):
        NMNIST(root, "train").batches(indices, 10, 3000, **keywords)
