"""A network's name read into layers; a typo is pointed at."""

import pytest

from tsslbp_ref.layers import Conv2d, Dense, Dropout, SumPool2d
from tsslbp_ref.spec import layers_from_spec


def test_the_papers_names_are_read():
    layers = layers_from_spec("15C5-P2-40C5-P2-300", (1, 28, 28), 10)
    assert [type(layer) for layer in layers] == [Conv2d, SumPool2d, Conv2d, SumPool2d, Dense, Dense]
    assert [layer.output_shape for layer in layers] == [
        (15, 24, 24), (15, 12, 12), (40, 8, 8), (40, 4, 4), (300,), (10,),
    ]  # fmt: skip


def test_padding_pool_gain_and_dropout_go_where_they_belong():
    layers = layers_from_spec("3C3-P2-4C3-6", (2, 8, 8), 5, padding=(1, 0), pool_gain=1.0, dropout=0.2)
    assert [type(layer) for layer in layers] == [Conv2d, Dropout, SumPool2d, Conv2d, Dropout, Dense, Dropout, Dense]
    assert [layer.output_shape for layer in layers if not isinstance(layer, Dropout)] == [
        (3, 8, 8), (3, 4, 4), (4, 2, 2), (6,), (5,),
    ]  # fmt: skip
    assert layers[2].gain == 1.0
    assert {layer.rate for layer in layers if isinstance(layer, Dropout)} == {0.2}


def test_an_empty_spec_is_the_output_layer_alone():
    assert layers_from_spec("", (4,), 3) == [Dense((4,), 3)]


@pytest.mark.parametrize(
    ("spec", "character", "part"),
    [
        ("15X5", 1, "15X5"),
        ("15C5-P-300", 6, "P"),
        ("15C5--300", 6, ""),
        ("15C5-P2-30O", 9, "30O"),
        ("15c5", 1, "15c5"),
        ("0C5", 1, "0C5"),
        ("15C5-P2-", 9, ""),
        ("15C5 -P2", 1, "15C5 "),
        ("300\n", 1, "300\n"),
        ("٣٠", 1, "٣٠"),
    ],
)
def test_a_typo_is_pointed_at(spec, character, part):
    with pytest.raises(ValueError, match="cannot read") as error:
        layers_from_spec(spec, (1, 28, 28), 10)
    message = str(error.value)
    assert message == f"spec {spec!r}, character {character}: cannot read {part!r}: a part is like 15C5, P2 or 300"
    assert "\n" not in message
    # The character is where the part begins.
    assert spec[character - 1 :].startswith(part)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("300-15C5", (1, 28, 28), "spec '300-15C5', character 5: '15C5' needs an input of shape (C, H, W), got (300,)"),
        ("P2", (12,), "spec 'P2', character 1: 'P2' needs an input of shape (C, H, W), got (12,)"),
        ("3C9", (1, 8, 8), "spec '3C9', character 1: '3C9' leaves nothing of an input of shape (1, 8, 8)"),
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
