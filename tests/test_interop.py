"""Weights by name, to and from another library's dictionary; `tests_torch` has the same with PyTorch itself."""

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.interop import from_state_dict, to_state_dict


class Tensor:
    """What a tensor of another library looks like: on a device and in a graph, of no use to NumPy as it is."""

    def __init__(self, array, *, attached=True, on_device=True):
        self.held, self.attached, self.on_device = array, attached, on_device

    def detach(self):
        return Tensor(self.held, attached=False, on_device=self.on_device)

    def cpu(self):
        return Tensor(self.held, attached=self.attached, on_device=False)

    def numpy(self):
        assert not self.attached
        assert not self.on_device
        return self.held

    def new_tensor(self, array):
        return Tensor(array.astype(self.held.dtype))

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("a tensor on a device is no array")


def network(**settings):
    return tr.Network.from_spec("2C2-3", (1, 4, 4), 2, 5, dtype="float64", **settings)


def their_state(kind, bias=0.0):
    shapes = {"conv.weight": (2, 1, 2, 2), "conv.bias": (2,), "fc.weight": (3, 18), "out.weight": (2, 3)}
    rng = np.random.default_rng(1)
    return {
        name: kind(np.full(shape, bias) if name.endswith("bias") else rng.normal(size=shape))
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("kind", [Tensor, np.asarray, np.ndarray.tolist])
def test_there_and_back(kind):
    net, theirs = network(), their_state(kind)
    from_state_dict(net, theirs)
    expected = their_state(np.asarray)
    for W, name in zip(net.weights, ("conv.weight", "fc.weight", "out.weight"), strict=True):
        assert (expected[name] == W).all()
    assert net.predict(np.ones((2, 1, 4, 4))).shape == (2,)
    back = to_state_dict(network(seed=1), theirs)
    assert list(back) == list(theirs)
    assert isinstance(back["fc.weight"], Tensor if kind is Tensor else np.ndarray)
    assert back["conv.bias"] is theirs["conv.bias"]
    from_state_dict(net, back)
    assert all((own == W).all() for W, own in zip(net.weights, network(seed=1).weights, strict=True))


def test_a_last_axis_of_one_is_taken_and_given():
    """A convolution in space and time has such weights."""
    net, theirs = network(), their_state(np.asarray)
    theirs["conv.weight"] = theirs["conv.weight"][..., None]
    from_state_dict(net, theirs)
    assert (net.weights[0] == theirs["conv.weight"][..., 0]).all()
    assert to_state_dict(net, theirs)["conv.weight"].shape == (2, 1, 2, 2, 1)


def test_names_choose_entries_in_the_order_of_the_layers():
    net, theirs = network(), their_state(np.asarray, bias=1.0)
    names = ["conv.weight", "fc.weight", "out.weight"]
    from_state_dict(net, dict(reversed(theirs.items())), names)
    assert (net.weights[2] == theirs["out.weight"]).all()
    assert (to_state_dict(net, theirs, names)["conv.bias"] == 1.0).all()


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        ({"conv.bias": np.ones(2)}, None, "conv.bias has no place in the network, whose layers have weights only"),
        (
            {"fc.weight": np.ones((18, 3))},
            None,
            r"fc.weight must have shape \(3, 18\) to match its layer, got",
        ),
        ({"more.weight": np.ones((2, 2))}, None, "one weight a layer of neurons, 3, got 4: conv.weight, fc.weight, "),
        ({"out.weight": np.full((2, 3), np.nan)}, None, r"out.weight must be finite, got nan at index \[0, 0\]"),
        ({"out.weight": np.full((2, 3), "a")}, None, "out.weight must hold real numbers, got dtype <U1"),
        ({}, ["conv.weight", "fc.weight", "ou.weight"], r"unknown weight 'ou.weight'.*did you mean 'out.weight'"),
        ({}, ["conv.weight"], "one weight a layer of neurons, 3, got 1: conv.weight"),
        ({}, "conv.weight", "names must be a sequence, got 'conv.weight'"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(change, names, message):
    net = network()
    before = [W.copy() for W in net.weights]
    with pytest.raises((ValueError, TypeError), match=message):
        from_state_dict(net, their_state(np.asarray) | change, names)
    assert all((own == W).all() for W, own in zip(net.weights, before, strict=True))


def test_a_weight_that_is_too_large_for_single_precision_changes_nothing():
    net = tr.Network.from_spec("5", (4,), n_classes=3, n_steps=5)
    before = [W.copy() for W in net.weights]
    with pytest.raises(ValueError, match=r"a.weight must be finite in float32, got 1e\+39"):
        from_state_dict(net, {"a.weight": np.full((5, 4), 1e39), "b.weight": np.ones((3, 5))})
    assert all((own == W).all() for W, own in zip(net.weights, before, strict=True))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (np.zeros((2, 3), int), "out.weight must hold floats, got dtype int64"),
        ([[0] * 3] * 2, "out.weight must hold floats, got dtype int64"),
        (np.zeros((2, 3), bool), "out.weight must hold floats, got dtype bool"),
        (np.zeros((2, 3), np.float16), "out.weight must be finite"),
    ],
)
def test_an_entry_that_cannot_hold_the_weights_gets_none(entry, message):
    net = network()
    net.weights[2] = np.full((2, 3), 1e6)
    with pytest.raises((ValueError, TypeError), match=message):
        to_state_dict(net, their_state(np.asarray) | {"out.weight": entry})


def test_weights_that_were_assigned_as_lists_or_in_another_shape():
    net, theirs = network(), their_state(np.asarray)
    net.weights = [W.tolist() for W in net.weights]
    assert to_state_dict(net, theirs)["fc.weight"].shape == (3, 18)
    net.weights = [np.zeros((2, 2)), *net.weights[1:]]
    with pytest.raises(ValueError, match=r"conv.weight must have shape \(2, 1, 2, 2\) to match its layer"):
        to_state_dict(net, theirs)
    with pytest.raises(ValueError, match=r"got \(2, 2\)"):
        from_state_dict(net, theirs | {"conv.weight": np.zeros((2, 2))})
    from_state_dict(net, theirs)
    assert net.weights[0].shape == (2, 1, 2, 2)


def test_arguments_of_another_kind():
    with pytest.raises(TypeError, match="net must be a Network, got dict"):
        to_state_dict({}, {})
    with pytest.raises(TypeError, match="state must be a Mapping, got list"):
        from_state_dict(network(), [1.0])
    with pytest.raises(ValueError, match="one weight a layer of neurons, 3, got none"):
        to_state_dict(network(), {})
