"""What the tests share: golden vectors, the check table, a way to see equal numbers, and how they go to processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsslbp_ref import gradcheck
from tsslbp_ref.gradcheck.golden_checks import golden_numbers
from tsslbp_ref.gradcheck.report import Report

READ_THE_TABLE = ("test_gradcheck", "test_planted_errors", "test_states")


def relative_error(found, wanted) -> float:
    """Largest difference in units of the largest wanted value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))


@pytest.fixture(scope="session")
def golden():
    return golden_numbers("released_code_vectors")


@pytest.fixture(scope="session")
def report() -> Report:
    """The whole check table, run once a process."""
    return gradcheck.run(engine=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile`` the files that read the table are one: it takes a tenth of the whole time."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return READ_THE_TABLE[0] if Path(file).stem in READ_THE_TABLE else file

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
