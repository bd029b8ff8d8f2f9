"""A network's name read into layers; a typo is pointed at."""

import pytest

from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d
from tsslbp_ref.model.spec import layers_from_spec


def test_the_papers_names_are_read():
    layers = layers_from_spec("15C5-P2-40C5-P2-300", (1, 28, 28), 10)
    assert [type(layer) for layer in layers] == [Conv2d, SumPool2d, Conv2d, SumPool2d, Dense, Dense]
    assert [layer.output_shape for layer in layers] == [
        (15, 24, 24), (15, 12, 12), (40, 8, 8), (40, 4, 4), (300,), (10,),
    ]  # fmt: skip


def test_padding_pool_gain_and_dropout_go_where_they_belong():
    layers = layers_from_spec("3C3-P2-4C3-6", (2, 8, 8), 5, padding=(1, 0), pool_gain=1.0, dropout=0.2)
    assert [type(layer) for layer in layers] == [Conv2d, SumPool2d, Dropout, Conv2d, Dropout, Dense, Dropout, Dense]
    assert [layer.output_shape for layer in layers if not isinstance(layer, Dropout)] == [
        (3, 8, 8), (3, 4, 4), (4, 2, 2), (6,), (5,),
    ]  # fmt: skip
    assert layers[1].gain == 1.0
    assert {layer.rate for layer in layers if isinstance(layer, Dropout)} == {0.2}


def test_an_empty_spec_is_the_output_layer_alone():
    assert layers_from_spec("", (4,), 3) == [Dense((4,), 3)]


@pytest.mark.parametrize(
    ("spec", "character", "part"),
    [
        ("15X5", 3, "15X5"),
        ("15C5-P2-40X5", 11, "40X5"),
        ("15C5-P2-4OC5-P2-300", 10, "4OC5"),
        ("15C5-P-300", 7, "P"),
        ("15C5--300", 6, ""),
        ("15C5-P2-30O", 11, "30O"),
        ("15c5", 3, "15c5"),
        ("15C", 4, "15C"),
        ("15C0", 4, "15C0"),
        ("15C5C5", 5, "15C5C5"),
        ("P2x", 3, "P2x"),
        ("0C5", 1, "0C5"),
        ("X", 1, "X"),
        ("15C5-P2-", 9, ""),
        ("15C5 -P2", 5, "15C5 "),
        ("300\n", 4, "300\n"),
        ("٣٠", 1, "٣٠"),
    ],
)
def test_a_typo_is_pointed_at(spec, character, part):
    with pytest.raises(ValueError, match="cannot read") as error:
        layers_from_spec(spec, (1, 28, 28), 10)
    message = str(error.value)
    assert message == f"spec {spec!r}, character {character}: cannot read {part!r}: a part is like 15C5, P2 or 300"
    assert "\n" not in message


def test_every_part_is_read_before_paddings_are_counted_or_shapes_compared():
    with pytest.raises(ValueError, match=r"character 10: cannot read '4OC5'"):
        layers_from_spec("15C5-P2-4OC5-P2-300", (1, 28, 28), 10, padding=(0, 0))
    with pytest.raises(ValueError, match=r"character 6: cannot read '15X5'"):
        layers_from_spec("P2-15X5", (12,), 10)  # P2 does not fit the shape (12,) either


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("300-15C5", (1, 28, 28), "spec '300-15C5', character 5: '15C5' needs an input of shape (C, H, W), got (300,)"),
        ("P2", (12,), "spec 'P2', character 1: 'P2' needs an input of shape (C, H, W), got (12,)"),
        (
            "3C9",
            (1, 8, 8),
            "spec '3C9', character 1: '3C9': kernel_size must be at most the padded input's side, 8, got 9",
        ),
        ("3C3-P9", (1, 8, 8), "spec '3C3-P9', character 5: 'P9' leaves nothing of an input of shape (3, 6, 6)"),
    ],
)
def test_a_part_that_does_not_fit_is_pointed_at(spec, shape, message):
    with pytest.raises(ValueError, match="character") as error:
        layers_from_spec(spec, shape, 10)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": 300}, "spec must be a string such as '15C5-P2-300', got 300"),
        ({"n_classes": 0}, "n_classes must be at least 1, got 0"),
        ({"input_shape": (0, 8, 8)}, "input_shape must be at least 1, got 0"),
        ({"input_shape": 28}, "input_shape must be a sequence of integers such as (1, 28, 28), got 28"),
        ({"input_shape": None}, "input_shape must be a sequence of integers such as (1, 28, 28), got None"),
        ({"input_shape": (1, 8.0, 8)}, "input_shape must be an integer, got 8.0"),
        ({"padding": (1, 1)}, "padding must have one entry a convolution, 1, got [1, 1]"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"dropout": 1.0}, "dropout must be below 1, got 1"),
        ({"dropout_form": "column"}, "unknown dropout_form 'column'; known: 'unit', 'row'"),
        ({"pool_gain": 0.0}, "pool_gain must be greater than 0, got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"spec": "3C3-5", "input_shape": (1, 8, 8), "n_classes": 3} | arguments
    with pytest.raises((ValueError, TypeError)) as error:
        layers_from_spec(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("spec", ["1" * 10**5 + "x", "x" * 10**5, "P2-" * 10**5, "C5-" + "x" * 10**5], ids=len)
def test_a_message_repeats_little_of_a_long_spec(spec):
    with pytest.raises(ValueError, match=r"^spec '") as error:
        layers_from_spec(spec, (1, 8, 8), 2)
    assert len(str(error.value)) < 250
