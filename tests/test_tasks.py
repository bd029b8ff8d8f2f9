"""Tasks: a damaged recording is named before anything is trained, not hours later."""

import numpy as np
import pytest
from test_datasets_images import write_idx_set

from tsslbp_ref.datasets import DataError, ImageSet
from tsslbp_ref.training import run_config
from tsslbp_ref.training.experiments import experiment
from tsslbp_ref.training.tasks import EventTask, _images_sha256, task_of

EVENT = bytes([3, 4, 0, 0, 1])
ROW = experiment("n-mnist-12c5-64c5-t30")


@pytest.fixture
def recordings(tmp_path):
    """A folder with one recording a class and split, of two events."""
    for split in ("Train", "Test"):
        for digit in range(10):
            folder = tmp_path / "n-mnist" / split / str(digit)
            folder.mkdir(parents=True)
            (folder / "00001.bin").write_bytes(2 * EVENT)
    return tmp_path / "n-mnist"


def test_recordings_are_handed_out_by_index(recordings):
    task = task_of(ROW, recordings)
    assert isinstance(task, EventTask)
    assert (task.n_train, task.n_test) == (10, 10)
    (x, y), *rest = task.test_batches()
    assert not rest
    assert x.shape == (30, 10, 2, 34, 34)
    assert y.tolist() == list(range(10))


@pytest.mark.parametrize("split", ["Train", "Test"])
@pytest.mark.parametrize(("content", "size"), [(b"", 0), (EVENT[:4], 4), (3 * EVENT + b"x", 16)])
def test_a_file_of_a_wrong_size_is_named_at_the_start(recordings, split, content, size):
    path = recordings / split / "7" / "00001.bin"
    path.write_bytes(content)
    message = f"must be a multiple of 5 bytes, got {size} bytes"
    with pytest.raises(DataError, match=message) as error:
        task_of(ROW, recordings)
    assert str(error.value).startswith(str(path))


def test_recordings_tell_other_recordings_of_the_same_number(recordings):
    before = task_of(ROW, recordings).data_sha256
    assert task_of(ROW, recordings).data_sha256 == before
    path = recordings / "Test" / "7" / "00001.bin"
    path.write_bytes(3 * EVENT)
    longer = task_of(ROW, recordings).data_sha256
    path.rename(path.with_name("00002.bin"))
    assert len({before, longer, task_of(ROW, recordings).data_sha256}) == 3


@pytest.mark.parametrize("changed", ["nothing", "pixels", "labels"])
def test_pictures_tell_other_pictures_of_the_same_number(changed):
    images, labels = np.zeros((3, 1, 28, 28), np.uint8), np.array([0, 1, 2])
    before = _images_sha256(ImageSet(images, labels, "mnist", "train", "here"))
    if changed == "pixels":
        images[0, 0, 5, 5] = 1
    elif changed == "labels":
        labels[2] = 3
    after = _images_sha256(ImageSet(images, labels, "mnist", "train", "there"))
    assert (after == before) == (changed == "nothing")


def test_a_run_on_pictures_notes_what_they_are(tmp_path):
    write_idx_set(tmp_path / "fashion-mnist")
    task = task_of(experiment("fashion-mnist-400-400"), tmp_path / "fashion-mnist")
    assert run_config.noted_of(task) == {"n_train": 4, "n_test": 3, "data_sha256": task.data_sha256}
