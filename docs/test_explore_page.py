"""The page of `tsslbp-ref explore --html` in Chromium, run by `make docs-check`: its neuron is the package's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check_site

import tsslbp_ref as tr
from tsslbp_ref.plots import explore

N_SETTINGS = 40
WIDEST = "return document.documentElement.scrollWidth - window.innerWidth"
MOVE = """
const slider = document.querySelector('input[name=weight]');
slider.value = 5;
slider.dispatchEvent(new Event('input', {bubbles: true}));
"""
DRAWN = "return ['signals', 'phi'].map(id => document.getElementById(id).toDataURL())"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The page, opened as a file."""
    path = tmp_path_factory.mktemp("page") / "neuron.html"
    explore.write_page(path, "released", explore.Setting())
    with check_site.browser() as driver:
        driver.get(path.as_uri())
        yield driver


def settings() -> Iterator[tuple[explore.Setting, str]]:
    """Random places of the sliders, each with a rule."""
    rng, names = np.random.default_rng(7), list(tr.named_rules())
    for number in range(N_SETTINGS):
        neuron = tr.NeuronParameters(*rng.uniform(1.0, 20.0, 2), threshold=rng.uniform(0.1, 1.0))
        spikes = tuple(int(step) for step in rng.integers(0, explore.N_STEPS, 4))
        yield explore.Setting(spikes, rng.uniform(-1.0, 8.0), neuron), names[number % len(names)]


def ours(setting: explore.Setting, rule: str) -> dict[str, np.ndarray]:
    """What the package says that this neuron does."""
    return asdict(explore.respond(setting, tr.rule_by_name(rule)))


def theirs(page: webdriver.Chrome, setting: explore.Setting, rule: str) -> dict[str, np.ndarray]:
    """What the page says."""
    neuron = {name: getattr(setting.neuron, name) for name in ("tau_m", "tau_s", "threshold")}
    what: dict[str, Any] = {"input_spikes": setting.input_spikes, "weight": setting.weight, "rule": rule, **neuron}
    return {name: np.array(value) for name, value in page.execute_script("return respond(arguments[0])", what).items()}


def test_the_neuron_of_the_page_is_the_package_s(page: webdriver.Chrome) -> None:
    """Forty settings, all named rules: every signal and phi to rounding."""
    spikes = 0
    for setting, rule in settings():
        expected, found = ours(setting, rule), theirs(page, setting, rule)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            scale = max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-12 * scale, err_msg=f"{name}, {rule}")
        spikes += int(expected["s"].sum())
    assert spikes > 5 * N_SETTINGS


def test_a_slider_moves_the_picture(page: webdriver.Chrome) -> None:
    """Both canvases are drawn anew; what the controls say is what is computed."""
    before = page.execute_script(DRAWN)
    page.execute_script(MOVE)
    after = page.execute_script(DRAWN)
    assert len({*before, *after}) == 4
    assert page.execute_script("return setting().weight") == 5
    assert page.execute_script("return document.querySelector('input[name=weight]').nextElementSibling.value") == "5"


@pytest.mark.parametrize("device", check_site.WIDTHS)
def test_the_page_fits_and_is_quiet(page: webdriver.Chrome, device: str) -> None:
    """On a telephone and on a desk: nothing goes sideways or to the console, and only the file itself is asked for."""
    check_site.set_width(page, device)
    page.execute_script("window.dispatchEvent(new Event('resize'))")
    assert page.execute_script(WIDEST) <= 0
    assert page.get_log("browser") == []
    assert check_site.bad_requests(page, "file:") == []
