"""Layers that are made, fed, or put in a row in a way that does not fit: an error that names what was found."""

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.model import backpropagation, reference_network
from tsslbp_ref.model import reference_layers as literal
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d

ones = np.ones
CONV, DENSE, POOL, DROPOUT = Conv2d((1, 4, 4), 2, 3, 0), Dense((3,), 2), SumPool2d((1, 4, 4), 2), Dropout((3,), 0.5)
LAYERS = (CONV, DENSE, POOL, DROPOUT)


def name_of(value):
    return type(value).__name__ if isinstance(value, LAYER_TYPES) else ""


LAYER_TYPES = (Conv2d, Dense, SumPool2d, Dropout)


def parameter_of(layer):
    return None if layer.weight_shape is None else ones(layer.weight_shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dropout((3,), 2.0), "rate must be below 1, got 2"),
        (lambda: Dropout((3,), -0.1), "rate must be at least 0"),
        (lambda: Dropout((3,), "a half"), "rate must be a real number"),
        (lambda: Dropout((3,), 0.5, "rows"), "unknown form 'rows'; known: 'unit', 'row'"),
        (lambda: Dense(28, 2), "input_shape must be a sequence, got 28"),
        (lambda: Dense((), 2), r"input_shape must be 1 to 62 sizes, got \(\)"),
        (lambda: Dense((1,) * 63, 2), r"input_shape must be 1 to 62 sizes, got \(1, 1, .{50}\.\.\.$"),
        (lambda: Conv2d((1, 4, 6), 2, 7, 1), "kernel_size must be at most the padded input's side, 6, got 7"),
        (lambda: Dense((3,), 0), "n_out must be at least 1, got 0"),
        (lambda: Conv2d((4, 4), 2, 3, 0), r"input_shape must be \(C, H, W\), got \(4, 4\)"),
        (lambda: Conv2d((1, 4, 4), 2, 0, 0), "kernel_size must be at least 1, got 0"),
        (lambda: Conv2d((1, 4, 4), 2, 3, -1), "padding must be at least 0, got -1"),
        (lambda: SumPool2d((1, 4, 0), 2), "input_shape must be at least 1, got 0"),
        (lambda: SumPool2d((1, 4, 4), 1.5), "size must be an integer, got 1.5"),
    ],
)
def test_what_a_layer_is_made_of(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_shape_may_be_any_sequence():
    assert Dense([np.int64(3)], 2) == DENSE
    assert hash(SumPool2d([1, 4, 4], 2)) == hash(POOL)


@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_an_input_of_another_shape(layer):
    parameter = None if layer is DROPOUT else parameter_of(layer)
    for shape in ((2, 1, 6, 6), (5,), ()):
        with pytest.raises(ValueError, match=r"x must have the last axes \(.*, got shape"):
            layer.forward(ones(shape), parameter)
        with pytest.raises(ValueError, match=r"[xy] must have the last axes \(.*, got shape"):
            layer.adjoint(ones(shape), parameter)
    with pytest.raises(TypeError, match="x must be an array, got list"):
        layer.forward([1.0, 2.0, 3.0], parameter)


@pytest.mark.parametrize("layer", [CONV, DENSE], ids=name_of)
def test_weights_of_another_shape_or_none(layer):
    x, y = ones((2, *layer.input_shape)), ones((2, *layer.output_shape))
    for pass_through, array in ((layer.forward, x), (layer.adjoint, y)):
        with pytest.raises(TypeError, match="parameter must be the array of the layer's weights, got NoneType"):
            pass_through(array, None)
        with pytest.raises(ValueError, match=r"parameter must have shape .* to match the layer's weights, got \(1, 2"):
            pass_through(array, ones((1, 2, *layer.weight_shape[2:])))


@pytest.mark.parametrize("layer", [CONV, DENSE], ids=name_of)
def test_delta_and_input_of_different_batches(layer):
    x, delta = ones((2, *layer.input_shape)), ones((4, *layer.output_shape))
    with pytest.raises(ValueError, match=r"x must have the first axes of delta, \(4,\), got \(2,\)"):
        layer.weight_gradient(delta, x)
    with pytest.raises(ValueError, match="delta must have the last axes"):
        layer.weight_gradient(ones((2, 7)), x)
    with pytest.raises(ValueError, match="x must have the last axes"):
        layer.weight_gradient(delta, ones((2, 6)))
    with pytest.raises(TypeError, match="delta must be an array, got NoneType"):
        layer.weight_gradient(None, x)


# What holds the same whole numbers in another way; every one gives the same product, in float64 unless it is float32.
KINDS = {
    "int8": lambda x: x.astype("int8"),
    "uint16, foreign": lambda x: x.astype(">u2"),
    "float16": lambda x: x.astype("float16"),
    "float64, foreign": lambda x: x.astype(">f8"),
    "longdouble": lambda x: x.astype("longdouble"),
    "unaligned": lambda x: np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view("float64").reshape(x.shape),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "columns": np.asfortranarray,
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "masked, nothing": np.ma.masked_array,
}


@pytest.mark.parametrize("kind", [*KINDS, "float32", "float32, foreign"])
@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_any_real_numbers_give_the_same(layer, kind):
    """Up to 100, so that a product of small integers would wrap."""
    as_kind = KINDS.get(kind, lambda x: x.astype(">f4" if "foreign" in kind else "f4"))
    rng = np.random.default_rng(0)
    shape = (3, *layer.output_shape) if layer is DROPOUT else layer.weight_shape
    x, y = (rng.integers(1, 100, (3, *shape)).astype(float) for shape in (layer.input_shape, layer.output_shape))
    W = None if shape is None else rng.integers(1, 100, shape).astype(float)
    given = None if W is None else as_kind(W)
    results = [
        (layer.forward(as_kind(x), given), layer.forward(x, W)),
        (layer.adjoint(as_kind(y), given), layer.adjoint(y, W)),
    ]
    if layer in (CONV, DENSE):
        results.append((layer.weight_gradient(as_kind(y), as_kind(x)), layer.weight_gradient(y, x)))
    for found, wanted in results:
        assert type(found) is np.ndarray
        assert found.dtype == ("float32" if "float32" in kind else "float64")
        assert found.dtype.isnative
        np.testing.assert_allclose(found, wanted, rtol=1e-6 if "float32" in kind else 1e-14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + 0j, "must hold real numbers, got dtype complex128"),
        (lambda x: x.astype(object), "must hold real numbers, got dtype object"),
        (lambda x: x.astype(str), "must hold real numbers, got dtype <U"),
        (lambda x: np.ma.masked_array(x, x == x), "must not be masked"),
        (lambda x: x.reshape(len(x), -1).view(np.matrix), "must be an array, got matrix"),
    ],
    ids=["complex", "objects", "text", "masked", "matrix"],
)
@pytest.mark.parametrize("layer", LAYERS, ids=name_of)
def test_arrays_that_hold_something_else_are_named(layer, change, message):
    x, y, W = ones((2, *layer.input_shape)), ones((2, *layer.output_shape)), parameter_of(layer)
    calls = [("x", layer.forward, (change(x), W)), ("[xy]", layer.adjoint, (change(y), W))]
    if layer is DROPOUT:
        calls.append(("parameter", layer.forward, (x, change(ones((2, 3))))))
    elif W is not None:
        calls += [("parameter", layer.forward, (x, change(W))), ("delta", layer.weight_gradient, (change(y), x))]
    for name, call, arguments in calls:
        with pytest.raises((ValueError, TypeError), match=f"^{name} {message}"):
            call(*arguments)


def test_a_mask_of_another_shape():
    x = ones((5, 1, 3))
    for mask in (ones((4, 3)), ones((1, 2)), ones((1, 1, 1, 3))):
        with pytest.raises(ValueError, match=r"parameter must be a mask that fits x of shape \(5, 1, 3\), got shape"):
            DROPOUT.forward(x, mask)
    with pytest.raises(TypeError, match="parameter must be a mask, an array, or None, got float"):
        DROPOUT.adjoint(x, 0.5)
    assert np.array_equal(DROPOUT.forward(x, 2.0 * ones((1, 1))), 2.0 * x)
    with pytest.raises(TypeError, match="rng must be a Generator, got int"):
        DROPOUT.draw_mask(2, 0, "float64")


def network(layers, weights=()):
    return tr.Network(layers, weights, n_steps=5, neuron=tr.NeuronParameters(), rule=tr.GradientRule())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers must hold at least one layer, got none"),
        (None, "layers must be a sequence, got None"),
        ([5], r"layers\[0\] must be a layer, got int"),
        ([DENSE, POOL], r"layers\[1\] must take .* layers\[0\], Dense.*output \(2,\), got SumPool2d"),
        ([DENSE, Dense((3,), 2)], r"layers\[1\] must take the output of layers\[0\], Dense\(.*, got Dense"),
        ([CONV, Dense((8,), 2)], r"layers\[1\] must take .* layers\[0\], Conv2d.*output \(2, 2, 2\), got Dense"),
        ([SumPool2d((1, 4, 4), 9)], r"layers\[0\] must leave something of its input, got SumPool2d"),
        ([DENSE, Dropout((2,), 0.5)], r"layers must end with one that has weights, and so neurons, got Dropout"),
        ([POOL], "layers must end with one that has weights, and so neurons, got SumPool2d"),
    ],
)
def test_layers_that_make_no_network(layers, message):
    with pytest.raises((ValueError, TypeError), match=message):
        network(layers, [ones((2, 3)), ones((2, 3))])


def test_layers_that_fit_may_be_any_sequence():
    net = network((CONV, Dense((2, 2, 2), 3)), (ones((2, 1, 3, 3)), ones((3, 8))))
    assert net.forward(ones((2, 1, 4, 4))).shape == (5, 2, 3)
    with pytest.raises(TypeError, match="weights must be a sequence, got None"):
        network([DENSE], None)
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite, got nan"):
        network([DENSE], [np.full((2, 3), np.nan)])


FILTERS, IMAGES = ones((2, 3, 3, 3)), ones((2, 3, 5, 6))
OUTPUT = literal.conv2d_forward(IMAGES, FILTERS, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: literal.dense_forward(ones((2, 4)), ones((5, 3))), r"x must have shape \(2, 3\) to match W"),
        (lambda: literal.dense_adjoint(ones((2, 6)), ones((5, 3))), r"delta must have shape \(2, 5\) to match W"),
        (lambda: literal.dense_weight_gradient(ones((2, 5)), ones((3, 4))), r"x must have shape .* to match delta"),
        (lambda: literal.conv2d_forward(IMAGES, FILTERS, -1), "padding must be at least 0, got -1"),
        (lambda: literal.conv2d_adjoint(OUTPUT, FILTERS, -1, (5, 6)), "padding must be at least 0, got -1"),
        (lambda: literal.conv2d_weight_gradient(OUTPUT, IMAGES, -1), "padding must be at least 0, got -1"),
        (lambda: literal.conv2d_forward(IMAGES, ones((2, 3, 3, 2)), 0), "W must have square filters"),
        (lambda: literal.conv2d_forward(IMAGES, ones((2, 4, 3, 3)), 0), "x must have 4 channels to match W, got 3"),
        (lambda: literal.conv2d_adjoint(ones((2, 3, 3, 4)), FILTERS, 0, (5, 6)), "delta must have 2 channels"),
        (lambda: literal.conv2d_adjoint(OUTPUT, FILTERS, 0, (6, 6)), r"delta must have shape .* to match image_size"),
        (lambda: literal.conv2d_weight_gradient(OUTPUT[:1], IMAGES, 0), r"x must have shape \(1, .* to match delta"),
        (lambda: literal.conv2d_weight_gradient(ones((2, 2, 6, 7)), IMAGES, 0), "delta must fit x with padding 0"),
        (lambda: literal.conv2d_weight_gradient(OUTPUT[..., :3], IMAGES, 0), r"delta must have shape .* to match x"),
        (lambda: literal.conv2d_forward(IMAGES, ones((2, 3, 6, 6)), 0), "W must have filters that fit an image"),
        (lambda: literal.sum_pool2d_forward(IMAGES, 0, 1.1), "size must be at least 1, got 0"),
        (lambda: literal.sum_pool2d_forward(IMAGES, 6, 1.1), "size must be at most the image.s .*, got 6"),
        (lambda: literal.sum_pool2d_adjoint(ones((2, 3, 2, 2)), 2, 1.1, (5, 6)), "y must have shape .* image_size"),
        (lambda: literal.dropout(ones((4, 2, 3)), ones((2, 4))), r"mask must have shape \(2, 3\) to match x"),
    ],
)  # fmt: skip
def test_the_literal_maps_refuse_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_literal_network_has_one_mask_a_layer_or_drops_nothing():
    fields = {"input_shape": (4,), "n_classes": 2, "n_steps": 3, "weight_scale": 3.0, "dtype": "float64"}
    plain, dropping = (tr.Network.from_spec("3", dropout=rate, **fields) for rate in (0.0, 0.5))
    dropping.weights = plain.weights
    step = ones((1, 4)), [0]
    expected, found = (reference_network.loss_and_gradients(net, *step) for net in (plain, dropping))
    assert expected[0] == found[0]
    for wanted, gradient in zip(expected[1], found[1], strict=True):
        np.testing.assert_array_equal(gradient, wanted)
    assert expected[1][0].any()
    for x in (np.ones((2, 1, 4)), np.ones(4), 1j * np.ones((1, 4))):
        with pytest.raises((ValueError, TypeError), match="x must"):
            reference_network.loss_and_gradients(plain, x, [0])
    with pytest.raises(ValueError, match=r"masks\[0\] must be None: layer 0 is no dropout layer"):
        reference_network.loss_and_gradients(plain, *step, masks=[np.ones((1, 4)), None])
    lacking = tr.Network.from_spec("3", **fields)
    lacking.weights = lacking.weights[:1]
    with pytest.raises(ValueError, match="weights must be 2, one a layer of neurons, got 1"):
        reference_network.loss_and_gradients(lacking, *step)
    for masks in ([None], 3 * [None]):
        with pytest.raises(ValueError, match="masks must be 2, one a layer, got"):
            backpropagation.forward(plain, np.ones((1, 4)), masks)
        with pytest.raises(ValueError, match="masks must be 2, one a layer, got"):
            reference_network.loss_and_gradients(plain, *step, masks=masks)
