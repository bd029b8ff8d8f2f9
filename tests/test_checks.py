"""How messages repeat what they were given: in one line, in short and without control characters."""

import array
from decimal import Decimal
from fractions import Fraction

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


NO_NUMBERS = [True, np.True_, "5", b"5", bytearray(b"5"), np.str_("5"), np.bytes_(b"5"), np.array("5"), np.array(True)]
NO_NUMBERS += [
    array.array("b", b"5"),
    memoryview(b"5"),
    1 + 2j,
    np.complex64(1),
    np.timedelta64(3, "s"),
    np.ones(1),
    None,
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_python_reads_as_a_number_is_none_by_its_type(value):
    for ask in (checks.real_number, checks.positive_integer):
        with pytest.raises(TypeError, match=r"^x must be an? (real number|integer), got "):
            ask("x", value)


NUMBERS = [5, 5.0, np.float16(5), np.longdouble(5), np.int8(5), np.array(5), Fraction(10, 2), Decimal("5.0")]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: type(value).__name__)
def test_a_number_of_any_kind_is_taken(value):
    assert checks.real_number("x", value) == 5.0


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["large", "small"])
def test_a_number_too_large_for_a_float_is_a_value_error(value):
    with pytest.raises(ValueError, match=r"^x is too large for a float, got -?1000"):
        checks.real_number("x", value)


def test_threads_are_bounded_by_the_cores():
    assert checks.thread_count("n_threads", 16, 2) == 16
    with pytest.raises(ValueError, match=r"^n_threads must be at most 16 \(8 for each of 2 cores\), got 17$"):
        checks.thread_count("n_threads", 17, 2)
    with pytest.raises(ValueError, match=r"^n_threads must be at least 1, got 0$"):
        checks.thread_count("n_threads", 0, 2)


def test_a_text_for_a_terminal_steers_none():
    assert checks.printable("a\x1b[2J\n b\x07\ud800\u202eü\t漢") == r"a\x1b[2J b\x07\ud800\u202eü 漢"
