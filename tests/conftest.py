"""What the tests share: the released code's golden vectors, and a way to see equal numbers."""

import numpy as np
import pytest

from tsslbp_ref.gradcheck.golden_checks import golden_numbers


def relative_error(found, wanted) -> float:
    """Largest difference in units of the largest wanted value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


@pytest.fixture(scope="session")
def golden():
    return golden_numbers("released_code_vectors")
