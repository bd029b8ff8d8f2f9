"""`make test-torch`: tutorial 16 runs and prints what it shows, and weights go to PyTorch and back.

These tests need PyTorch, of which `make test` knows nothing, so they stand beside the folder `tests`.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

import tsslbp_ref as tr
from docs.outputs import fences, run_fences

TUTORIAL = Path(__file__).parents[1] / "tutorials" / "16_pytorch.md"
MOST_LINES = 45  # of the function that a reader pastes


@pytest.fixture(scope="module")
def ran():
    """What the tutorial's fences have defined, and their results."""
    return run_fences(TUTORIAL)


def test_every_fence_runs_and_prints_what_the_text_shows(ran):
    namespace, results = ran
    assert {"TSSLBP", "Spiking", "trained", "numeric"} <= set(namespace)
    for result in results:
        assert result.printed == result.stands, f"{TUTORIAL}:{result.fence.line}"


def test_the_function_is_short_enough_to_paste():
    start = TUTORIAL.read_text().partition("class TSSLBP")[2]
    assert start.partition("\n```")[0].count("\n") <= MOST_LINES


def test_the_function_keeps_the_dtype_of_its_input(ran):
    for dtype in (torch.float32, torch.float64):
        I = torch.rand(5, 2, 3, dtype=dtype, requires_grad=True)
        a = ran[0]["TSSLBP"].apply(I, 5.0, 3.0, 1.0, "released")
        a.sum().backward()
        assert a.dtype == I.grad.dtype == dtype


@pytest.mark.parametrize("change", ["clip", "gate", "hop", "onset", "switch"])
def test_a_wrong_function_does_not_pass(change):
    """The golden numbers see each part of the function."""
    right, wrong = {
        "clip": (".clamp(max=8 if released else 10)", ""),
        "gate": ("a < theta_s / 4", "a <= theta_s / 4"),
        "hop": ("else g[t]", "else 1.001 * g[t]"),
        "onset": ("(1 + theta_s) * x - G", "x - G"),
        "switch": ("0.1 * s.numel()", "0.2 * s.numel()"),
    }[change]
    function, check = [fence.code for fence in fences(TUTORIAL) if fence.language == "python"][:2]
    assert right in function
    with pytest.raises(AssertionError), redirect_stdout(io.StringIO()):
        exec(function.replace(right, wrong) + check, {})


def test_weights_to_a_module_and_back(ran):
    net = tr.Network.from_spec("3C3-P2-5", (2, 8, 8), 4, 5, padding=1, seed=3)
    maps = [torch.nn.Conv2d(2, 3, 3, padding=1, bias=False), torch.nn.AvgPool2d(2)]
    maps += [torch.nn.Linear(48, 5, bias=False), torch.nn.Linear(5, 4, bias=False)]
    module = ran[0]["Spiking"](maps)
    module.load_state_dict(tr.interop.to_state_dict(net, module.state_dict()))
    x = np.random.default_rng(0).random((5, 6, 2, 8, 8), np.float32)
    with torch.no_grad():
        a = module(torch.tensor(x)).numpy()
    assert np.abs(a - net.forward(x)).max() < 1e-5
    other = tr.Network.from_spec("3C3-P2-5", (2, 8, 8), 4, 5, padding=1, seed=4)
    tr.interop.from_state_dict(other, dict(module.named_parameters()))  # of a graph, as training leaves them
    assert all((own == W).all() for W, own in zip(other.weights, net.weights, strict=True))
    other.weights[2][0, 0] = 7.0
    assert module.maps[3].weight[0, 0] != 7.0  # no memory is shared


def test_convolutions_of_space_and_time_lose_their_last_axis():
    """The authors' code has such weights, (out, in, kh, kw, 1)."""
    net = tr.Network.from_spec("3C3", (2, 8, 8), 4, 5)
    maps = torch.nn.ModuleList([torch.nn.Conv3d(2, 3, (3, 3, 1), bias=False), torch.nn.Linear(108, 4, bias=False)])
    tr.interop.from_state_dict(net, maps.state_dict())
    assert (net.weights[0] == maps[0].weight.detach().numpy()[..., 0]).all()
    back = tr.interop.to_state_dict(net, maps.state_dict())
    assert back["0.weight"].shape == (3, 2, 3, 3, 1)
    assert torch.equal(back["0.weight"], maps[0].weight)
