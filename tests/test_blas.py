"""One BLAS thread while any of the engine's computes, and which library the products come from."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tsslbp_ref.engine import blas
from tsslbp_ref.engine.blas import one_blas_thread
from tsslbp_ref.engine.threads import Threads


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


# ---------------------------------------------------------------------------------------------------------------------
# Its threads
# ---------------------------------------------------------------------------------------------------------------------


def test_blas_has_one_thread_while_the_items_are_worked_on() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        assert Threads(2).map(lambda _: blas_threads(), range(2)) == [{1}, {1}]
        assert blas_threads() == {2}


def test_any_thread_may_limit_blas() -> None:
    """Also where another one has set a limit before: threadpoolctl lets the first thread alone."""

    def limited() -> set[int]:
        with one_blas_thread():
            return blas_threads()

    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(1) as pool:
        assert limited() == {1}
        assert pool.submit(limited).result() == {1}
        assert limited() == {1}
        assert blas_threads() == {2}


def test_the_limit_on_blas_lasts_until_the_last_holder_has_left() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_a_holder_that_has_gone_without_a_word_holds_nothing() -> None:
    """An interrupt in the callback of its weak reference leaves that reference, which is dead, in the set."""

    gone = blas._Holder()
    limit, dead = blas._BLAS_LIMIT, weakref.ref(gone)
    limit._holders.data.add(dead)
    del gone
    assert len(limit._holders) == 1
    with threadpool_limits(limits=2, user_api="blas"):
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
    limit._holders.data.discard(dead)


@pytest.mark.parametrize("method", ["hold", "release"])
def test_an_interrupt_gives_blas_its_threads_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right behind the limit, and right before its end."""
    limit = blas._BLAS_LIMIT
    original = getattr(limit, method)

    def interrupted(holder: object) -> None:
        original(holder)
        monkeypatch.undo()
        raise KeyboardInterrupt

    with threadpool_limits(limits=2, user_api="blas"):
        monkeypatch.setattr(limit, method, interrupted)
        with pytest.raises(KeyboardInterrupt), one_blas_thread():
            pass
        assert blas_threads() == {2}


# ---------------------------------------------------------------------------------------------------------------------
# Which library
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_found_yet() -> Iterator[None]:
    """What a process has found out once is found out anew, before the test and after it."""
    for function in (blas.product_libraries, blas.warn_of_unlimited_blas):
        function.cache_clear()
    yield
    for function in (blas.product_libraries, blas.warn_of_unlimited_blas):
        function.cache_clear()


def test_the_libraries_of_the_products_can_be_limited() -> None:
    """threadpoolctl before 3.5 does not know the OpenBLAS of SciPy's wheels, from which compiled products come."""
    found = blas.product_libraries()
    assert found
    assert all(one.limited for one in found), found
    assert {one.library for one in found} <= {pool["filepath"].rpartition("/")[2] for pool in threadpool_info()}
    assert "unknown" not in {one.version for one in found}


@pytest.mark.usefixtures("nothing_found_yet")
def test_a_library_that_cannot_be_limited_is_named_in_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = [one.library for one in blas.product_libraries()]
    blas.product_libraries.cache_clear()
    monkeypatch.setattr(blas, "_blas_controllers", list)  # threadpoolctl knows none
    monkeypatch.setattr(blas, "_BLAS_LIMIT", blas._BlasLimit())
    with pytest.warns(RuntimeWarning) as caught:
        assert [Threads(2).map(abs, [-1, -2]) for _ in range(3)] == [[1, 2]] * 3
    assert len(caught) == 1
    assert f"matrix products come from {', '.join(libraries)}, which threadpoolctl does not know" in str(caught[0])
    assert blas.product_libraries() == tuple(blas.BlasLibrary(name, "unknown", False) for name in libraries)


@pytest.mark.usefixtures("nothing_found_yet")
def test_where_the_system_tells_no_library_all_known_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = set(blas.product_libraries())
    blas.product_libraries.cache_clear()
    monkeypatch.setattr(blas, "PRODUCT_NAMES", ("no_such_product",))
    assert set(blas.product_libraries()) >= known


@pytest.mark.usefixtures("nothing_found_yet")
@pytest.mark.parametrize(
    ("built", "found"),
    [
        ({"name": "accelerate", "found": True, "version": "15"}, ("accelerate", "15", False)),
        ({"name": "none", "found": False, "version": "unknown"}, ("none", "unknown", True)),  # NumPy's own loops
    ],
)
def test_where_nothing_is_known_what_numpy_was_built_with_counts(
    built: dict[str, object], found: tuple[str, str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "_blas_controllers", list)
    monkeypatch.setattr(blas, "PRODUCT_NAMES", ("no_such_product",))
    monkeypatch.setattr("numpy.show_config", lambda mode: {"Build Dependencies": {"blas": built}})
    assert blas.product_libraries() == (found,)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        blas.warn_of_unlimited_blas()
    assert len(caught) == (not found[2])
