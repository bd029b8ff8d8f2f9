"""How messages repeat what they were given: in one line, in short and without control characters."""

import array
import dataclasses
import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import tsslbp_ref as tr
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


@pytest.mark.parametrize("text", [np.str_("literal"), type("Text", (str,), {})("literal")], ids=["numpy", "own"])
def test_a_choice_of_another_kind_of_text_becomes_plain(text):
    assert type(checks.one_of("inter", text, ["released", "literal"])) is str
    assert tr.GradientRule(inter=text) == tr.rule_by_name(text) == tr.GradientRule(inter="literal")


@pytest.mark.parametrize("value", [1, 1.0, np.True_, "True"])
def test_what_equals_a_choice_but_is_of_another_kind_is_none(value):
    with pytest.raises(ValueError, match="unknown intra"):
        checks.one_of("intra", value, [True, "leak"])


NUMPY_NUMBERS = [
    lambda one, word: tr.NeuronParameters(5 * one, 3 * one, one),
    lambda one, word: tr.GradientRule(
        word("literal"), word("leak"), word("layer"), one, one, one, one, one, word("none")
    ),
    lambda one, word: tr.LossSettings(one, one),
    lambda one, word: tr.layers.Dense((one, one), one),
    lambda one, word: tr.layers.Conv2d((one, one, one), one, one, one),
    lambda one, word: tr.layers.SumPool2d((one, one, one), one, one),
    lambda one, word: tr.layers.Dropout((one,), 0 * one, word("row")),
    lambda one, word: tr.training.TrainingSettings(one, one, one, word("count"), tr.LossSettings(one, one), one),
]


@pytest.mark.parametrize("make", NUMPY_NUMBERS)
def test_numbers_and_texts_of_numpy_are_kept_as_plain_ones(make):
    """As JSON has them: the settings of a run and of a saved network are written as such."""
    made = dataclasses.asdict(make(np.int64(1), np.str_))
    assert json.loads(json.dumps(made)) == json.loads(json.dumps(dataclasses.asdict(make(1, str))))
