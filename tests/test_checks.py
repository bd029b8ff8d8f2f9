"""How messages repeat what they were given: in one line, in short and without control characters."""

import numpy as np
import pytest

from tsslbp_ref import checks


@pytest.mark.parametrize("value", ["x" * 10**5, b"x" * 10**5, list(range(10**5)), np.zeros((40, 40)), "\x1b[31m\n"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda value: checks.one_of("rule", value, ["released"]),
        lambda value: checks.positive_integer("n_steps", value),
        lambda value: checks.real_number("tau_m", value),
        lambda value: checks.float_dtype("dtype", value),
    ],
)
def test_a_message_repeats_at_most_60_characters_of_a_value_and_no_control_character(ask, value):
    with pytest.raises((ValueError, TypeError)) as caught:
        ask(value)
    assert len(str(caught.value)) < 120
    assert str(caught.value).isprintable()


def test_a_number_too_long_for_a_message():
    with pytest.raises(ValueError, match=r"^n_steps must be at least 1, got a value of type int$"):
        checks.positive_integer("n_steps", -(10**5000))
