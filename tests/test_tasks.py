"""Tasks: a damaged recording is named before anything is trained, not hours later."""

import pytest

from tsslbp_ref.datasets import DataError
from tsslbp_ref.experiments import experiment
from tsslbp_ref.tasks import EventTask, task_of

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
