"""Machine code on disk: kept from process to process, never another's or an older source's."""

import importlib.util
import itertools
import os
import pickle
from types import MethodType

import numba
import numpy as np
import pytest

from tsslbp_ref import jit

SOURCE = """
from tsslbp_ref.jit import compiled


@compiled
def doubled(x):
    return x + x
"""


@pytest.fixture
def loop(tmp_path, monkeypatch):
    """Make dispatchers of one loop, each as a process of its own would."""
    monkeypatch.setattr("numba.config.CACHE_DIR", "")  # beside the source
    path = tmp_path / "a_loop.py"
    path.write_text(SOURCE)
    numbers = itertools.count()

    def load():
        spec = importlib.util.spec_from_file_location(f"a_loop_{next(numbers)}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.doubled

    return load


def codes(folder):
    return sorted(path.name for path in (folder / "__pycache__").glob("*.nbc"))


def test_a_second_process_compiles_nothing(loop, tmp_path):
    first, second = loop(), loop()
    assert first(1.5) == 3.0
    assert first(np.float32(2)) == 4
    kept = codes(tmp_path)
    assert len(kept) == 2
    assert second(np.float32(2)) == 4
    assert second(1.5) == 3.0
    assert sum(second.stats.cache_hits.values()) == 2
    assert not second.stats.cache_misses
    assert codes(tmp_path) == kept


@pytest.mark.parametrize("rest", [b"ctsslbp_ref.jit\nNoSuchClass\n.", b"cno_such_module\nName\n.", b"", b"torn"])
def test_an_index_that_cannot_be_read_is_made_anew(loop, tmp_path, rest):
    """An older source may have had classes of arguments that this one has not."""
    assert loop()(1.5) == 3.0
    (index,) = (tmp_path / "__pycache__").glob("*.nbi")
    index.write_bytes(pickle.dumps(numba.__version__) + rest)
    second, third = loop(), loop()
    assert second(1.5) == 3.0
    assert second.stats.cache_misses
    assert third(1.5) == 3.0
    assert third.stats.cache_hits


def test_the_index_names_only_code_that_is_there(loop, tmp_path):
    function = loop()
    files = function._cache._cache_file
    plain, named = files._save_index, []

    def save_index(overloads):
        named.append(set(overloads.values()))
        assert named[-1] <= set(codes(tmp_path))
        plain(overloads)

    files._save_index = save_index
    function(1.5)
    function(np.float32(2))
    assert [len(names) for names in named] == [1, 2]


def test_two_that_compile_at_the_same_time_never_get_each_others_code(loop):
    one, other = loop()._cache._cache_file, loop()._cache._cache_file
    plain = one._load_index

    def load_index(self):
        found = plain()
        if not other.load("other"):
            other.save("other", "code of the other")
        return found

    one._load_index = MethodType(load_index, one)
    one.save("one", "code of the one")
    reader = loop()._cache._cache_file
    assert reader.load("one") == "code of the one"
    assert reader.load("other") in (None, "code of the other")


def test_an_older_sources_code_goes_with_the_first_of_the_new(loop, tmp_path, monkeypatch):
    loop()(1.5)
    old = codes(tmp_path)
    for path in (tmp_path / "__pycache__").glob("*.nbc"):
        os.utime(path, (0, 0))
    monkeypatch.setattr(jit, "_SOURCE_DIGEST", "another")
    changed = loop()
    assert changed(1.5) == 3.0
    assert sum(changed.stats.cache_misses.values()) == 1
    assert len(codes(tmp_path)) == 1
    assert codes(tmp_path) != old
