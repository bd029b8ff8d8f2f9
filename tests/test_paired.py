"""Paired comparisons: ratios of rounds, the order in them, and another checkout's package in its own process."""

import json

import numpy as np
import pytest

from benchmarks import against, paired
from benchmarks.race import ROOT

OLD_PACKAGE = """
import time

class NeuronParameters:
    def __init__(self, tau_m, tau_s):
        pass

class Network:
    weights, workers = [], "threads"

    @classmethod
    def from_spec(cls, *arguments, **settings):
        return cls()

    def training_step(self, x, y, *, rng, optimiser):
        time.sleep(0.2)
        return 0.0, [], None

class optim:
    class AdamW:
        def __init__(self, weights, *, workers):
            assert workers == "threads"
"""


class Clock:
    """Instead of a process: every step takes a given time, and each turn is written down."""

    def __init__(self, name, seconds, turns):
        self.name, self.seconds, self.turns, self.stopped = name, seconds, turns, False

    def steps(self, n_steps):
        self.turns.append((self.name, n_steps))
        return [self.seconds] * n_steps

    def stop(self):
        self.turns.append((self.name, "stopped"))


def test_a_ratio_is_that_of_the_first_to_the_second_and_they_take_turns(monkeypatch):
    monkeypatch.setattr(paired, "PROCESSES", 1)
    turns = []
    ratio = paired.compare("W9", lambda: Clock("new", 0.03, turns), lambda: Clock("old", 0.02, turns), seconds=1e-9)
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (ratio.n_rounds, ratio.first_ms, ratio.second_ms) == (2, pytest.approx(30.0), pytest.approx(20.0))
    n_steps = round(paired.TURN_S / 0.03)
    assert turns[2:] == [
        *((name, n_steps) for name in ("new", "old", "old", "new")),
        ("new", "stopped"),
        ("old", "stopped"),
    ]


def test_the_interval_of_a_median_holds_95_percent():
    """The percentile bootstrap of 400 normal numbers: about 1.96 * sqrt(pi / 2) / sqrt(400) on either side."""
    values = np.random.default_rng(1).normal(size=400)
    low, high = paired.median_interval(values)
    half = 1.96 * np.sqrt(np.pi / 2.0 / 400)
    assert low < np.median(values) < high
    assert high - low == pytest.approx(2.0 * half, rel=0.25)


def test_another_checkout_runs_its_own_package(tmp_path, capsys, monkeypatch):
    """Its step sleeps 0.2 s, and its AdamW asks for the threads."""
    monkeypatch.setattr(paired, "PROCESSES", 1)
    package = tmp_path / "old" / "tsslbp_ref"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(OLD_PACKAGE)
    path = tmp_path / "ratios.json"
    options = ["--workloads", "smoke", "--seconds", "0.1", "--json", str(path)]
    assert against.main([str(tmp_path / "old"), *options]) == 0
    (row,) = json.loads(path.read_text())["ratios"]
    assert row["workload"] == "smoke"
    assert row["second_ms"] >= 200.0
    assert row["median"] < 1.0
    assert "smoke     new / old 0." in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    wrong = [
        (["--workloads", "W9"], "unknown workload 'W9'"),
        (["--workloads", "smoke", "--seconds", "0"], "seconds must be greater than 0"),
        (["--workloads", "smoke"], "holds no package tsslbp_ref"),
    ]
    for options, message in wrong:
        assert against.main([str(tmp_path / "empty"), *options]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert against.main([str(tmp_path / "nowhere")]) == 2


@pytest.mark.parametrize("name", ["against.json", "against-cifar.json", "against-winograd.json"])
def test_the_readme_states_the_ratios_that_were_measured(name):
    text = (ROOT / "benchmarks" / "README.md").read_text()
    for row in json.loads((ROOT / "results" / name).read_text())["ratios"]:
        assert f"{row['workload']} {row['median']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" in text
