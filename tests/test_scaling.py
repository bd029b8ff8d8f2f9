"""The scaling study runs, says where events and plain product cross, and its committed numbers hold what is claimed."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import QUICK, Row, Timed, crossings, measure
from benchmarks.switches import EVENTS, PLAIN
from tsslbp_ref.engine import inputs, spike_patterns

COMMITTED = Path(scaling.__file__).parents[1] / "results" / "scaling.json"


def density_rows(events_ms, plain_ms):
    """A density study at 1 %, 10 % and 100 %."""
    return [
        Row("density", density, "width 3", contender, ms, ms, 1)
        for contender, times in ((EVENTS, events_ms), (PLAIN, plain_ms))
        for density, ms in zip((0.01, 0.1, 1.0), times, strict=True)
    ]


def test_the_quick_run_measures_every_value_of_every_study(tmp_path, capsys):
    path = tmp_path / "scaling.json"
    assert scaling.main(["--quick", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert {"processor", "cores", "blas", "versions"} <= set(content["machine"])
    rows = [Row(**row) for row in content["rows"]]
    assert Counter(row.study for row in rows) == {
        "steps": len(QUICK.steps),
        "width": len(QUICK.width),
        "batch": len(QUICK.batch),
        "threads": 2 * len(QUICK.threads),
        "density": 2 * len(QUICK.density) * len(QUICK.density_widths),
        "patterns": 2 * len(QUICK.patterns) * len(QUICK.pattern_layers),
        "literal": 2 * len(QUICK.literal_steps),
    }
    assert all(0 < row.fastest_ms <= row.median_ms and row.n_timed == QUICK.rounds for row in rows)
    assert content["crossings"] == crossings(rows)
    assert "crossing, density, width 4" in capsys.readouterr().out


def test_calls_take_turns_and_the_first_round_is_not_timed():
    order = []
    calls = [Timed("steps", value, "", "one", lambda value=value: order.append(value)) for value in (1, 2)]
    rows = measure(calls, rounds=3)
    assert order == [1, 2] * 4
    assert [row.n_timed for row in rows] == [3, 3]


def test_the_crossing_lies_between_the_densities_where_the_faster_changes():
    halfway = density_rows((1.0, 5.0, 20.0), (10.0, 10.0, 10.0))  # 2 times faster at 10 %, 2 times slower at 100 %
    assert crossings(halfway)["density"] == {"width 3": pytest.approx(0.1 * 10**0.5)}
    assert crossings(density_rows((1.0, 2.0, 3.0), (9.0, 9.0, 9.0)))["density"] == {"width 3": 1.0}
    assert crossings(density_rows((9.0, 9.0, 9.0), (1.0, 1.0, 1.0)))["density"] == {"width 3": 0.0}


def test_a_bad_number_of_rounds_and_an_unwritable_file_are_one_line(tmp_path, capsys, monkeypatch):
    assert scaling.main(["--rounds", "0"]) == 2
    assert "rounds must be at least 1" in capsys.readouterr().err
    monkeypatch.setattr(scaling, "run", lambda plan: density_rows((1.0, 2.0, 3.0), (9.0, 9.0, 9.0)))
    assert scaling.main(["--json", str(tmp_path / "none" / "x.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------------
# The committed numbers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return json.loads(COMMITTED.read_text())


def test_the_switch_lies_below_every_measured_crossing(committed):
    assert committed["crossings"] == crossings([Row(**row) for row in committed["rows"]])
    assert min(committed["crossings"]["density"].values()) > inputs.SPARSE_DENSITY
    for n_steps, width in scaling.FULL.pattern_layers:
        crossing = committed["crossings"]["patterns"][f"T {n_steps}, width {width}"]
        assert crossing > spike_patterns.SHARE_A_STEP * spike_patterns.pattern_length(n_steps)
    assert min(width for _, width in scaling.FULL.pattern_layers) == spike_patterns.FEWEST_NEURONS


def test_the_cost_is_linear_in_the_steps(committed):
    """Six times the steps cost at most eight times the time: a term in T^2 would cost 36 times."""
    steps = {row["value"]: row["median_ms"] for row in committed["rows"] if row["study"] == "steps"}
    assert steps[300] < 8.0 * steps[50]


def test_the_rows_are_those_of_the_full_plan(committed):
    for study in ("steps", "width", "batch", "threads", "density", "patterns"):
        values = {row["value"] for row in committed["rows"] if row["study"] == study}
        assert values == set(getattr(scaling.FULL, study)), study
    assert {row["value"] for row in committed["rows"] if row["study"] == "literal"} == set(scaling.FULL.literal_steps)
