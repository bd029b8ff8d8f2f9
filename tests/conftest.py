"""What the tests share: the released code's golden vectors, and a way to see equal numbers."""

from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"


def relative_error(found, wanted) -> float:
    """Largest difference in units of the largest wanted value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


@pytest.fixture(scope="session")
def golden():
    with np.load(DATA / "released_code_vectors.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
