"""Every equation of the model and every factor of its chain rule, one scalar function each.

The literal loops of `reference` and the compiled loops of `sweeps` call these same functions: only the loops differ.
Time is in steps; theta_m = 1/tau_m and theta_s = 1/tau_s. The ids (F3, B5a, ...) are those of the README's map.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# ---------------------------------------------------------------------------------------------------------------------
# Forward: the spiking neuron, one step at a time
# ---------------------------------------------------------------------------------------------------------------------


def membrane(v_previous: float, weighted_input: float, theta_m: float) -> float:
    """u[t] = (1 - theta_m) v[t-1] + I[t]    (F3).

    The leaky integration of the weighted input, before the reset. Source: the paper's "Spiking neuron model", by Euler
    steps of length 1, with R/tau_m absorbed in the weights.

    Examples
    --------
    >>> membrane(v_previous=0.5, weighted_input=0.25, theta_m=0.5)
    0.5
    """
    return (1.0 - theta_m) * v_previous + weighted_input


def spike(u: float, threshold: float) -> float:
    """s[t] = 1 if u[t] > V else 0    (F4), strictly above. Source: the paper's "Spiking neuron model".

    Examples
    --------
    >>> spike(1.5, 1.0), spike(1.0, 1.0)
    (1.0, 0.0)
    """
    return 1.0 * (u > threshold)


def membrane_after_reset(u: float, s: float) -> float:
    """v[t] = u[t] (1 - s[t])    (F5): a spike puts the membrane to 0. Source: the paper's "Spiking neuron model".

    Examples
    --------
    >>> membrane_after_reset(1.5, 1.0), membrane_after_reset(0.5, 0.0)
    (0.0, 0.5)
    """
    return u * (1.0 - s)


def psc(a_previous: float, s: float, theta_s: float) -> float:
    """a[t] = a[t-1] + theta_s (s[t] - a[t-1])    (F6).

    The postsynaptic current, a first-order low-pass filter of the spike train with unit area. Source: the paper's
    "Spiking neuron model"; the theta_s in front of s is the released code's.

    Examples
    --------
    >>> psc(a_previous=0.5, s=1.0, theta_s=0.5)
    0.75
    """
    return a_previous + theta_s * (s - a_previous)


def membrane_rise(u: float, v_previous: float) -> float:
    """du[t] = u[t] - v[t-1] = I[t] - theta_m v[t-1]    (F2): how much the membrane rose in this step.

    It stands for du/dt at the spike. At every spike it is positive, since v[t-1] <= V < u[t].

    Examples
    --------
    >>> membrane_rise(u=1.25, v_previous=0.5)
    0.75
    """
    return u - v_previous


def weighted_input(u: float, v_previous: float, theta_m: float) -> float:
    """I[t] = u[t] - (1 - theta_m) v[t-1]: F3 solved for the weighted input, which no loop needs to keep.

    Examples
    --------
    >>> weighted_input(membrane(0.5, 0.25, theta_m=0.5), v_previous=0.5, theta_m=0.5)
    0.25
    """
    return u - (1.0 - theta_m) * v_previous


# ---------------------------------------------------------------------------------------------------------------------
# Kernels
# ---------------------------------------------------------------------------------------------------------------------


def psc_kernel(lag: int, theta_s: float) -> float:
    """eps[lag] = theta_s (1 - theta_s)^lag for lag >= 0, else 0: the PSC that one spike leaves (C2).

    Examples
    --------
    >>> [psc_kernel(lag, theta_s=0.5) for lag in (-1, 0, 1, 2)]
    [0.0, 0.5, 0.25, 0.125]
    """
    return theta_s * (1.0 - theta_s) ** lag if lag >= 0 else 0.0


def reset_kernel(lag: int, u: float, theta_m: float) -> float:
    """nu[lag] = -u (1 - theta_m)^lag for lag >= 0, else 0: what a spike of height u takes away (C4).

    Examples
    --------
    >>> [reset_kernel(lag, u=1.5, theta_m=0.5) for lag in (-1, 0, 1)]
    [0.0, -1.5, -0.75]
    """
    return -u * (1.0 - theta_m) ** lag if lag >= 0 else 0.0


def leak(lag: int, theta_m: float) -> float:
    """(1 - theta_m)^lag: what is left of a change of the membrane after `lag` silent steps (B6).

    Examples
    --------
    >>> [leak(lag, theta_m=0.5) for lag in (0, 1, 2)]
    [1.0, 0.5, 0.25]
    """
    return (1.0 - theta_m) ** lag


# ---------------------------------------------------------------------------------------------------------------------
# Inter-neuron dependency
# ---------------------------------------------------------------------------------------------------------------------


def firing_time_by_membrane(rise: float, inverse_rise_clip: float) -> float:
    """dt_m/du[t_m] = -min(1/du, clip)    (B5a), for du > 0; at du = 0 its limit, -clip.

    Raise the membrane by a little and the threshold is met earlier, by that little over the slope. Source: the paper's
    "Inter-neuron backpropagation"; the clip is the released code's.

    Examples
    --------
    >>> firing_time_by_membrane(0.5, inverse_rise_clip=8.0), firing_time_by_membrane(0.01, inverse_rise_clip=8.0)
    (-2.0, -8.0)
    """
    return -min(1.0 / rise, inverse_rise_clip) if rise != 0.0 else -inverse_rise_clip


def psc_by_firing_time(
    kernel_before: float,
    kernel_now: float,
    kernel_after: float,
    inter_before: float,
    inter_now: float,
    inter_after: float,
) -> float:
    """da[t_k]/dt_m = w_{-1} eps[lag-1] + w_0 eps[lag] + w_{+1} eps[lag+1], lag = k - m    (B5b).

    With w = (0, theta_s, 0) the literal derivative of the kernel, with (0, -1, 0) the released code's, with
    (1/2, 0, -1/2) the centred difference under a shift of the spike by one step. The same weights act on the loss
    once the kernels are summed over t_k: eps[lag-1], eps[lag], eps[lag+1] become G[t+1], G[t], G[t-1].
    Source: the paper's "Inter-neuron backpropagation"; the weights as `GradientRule.inter` says.

    Examples
    --------
    >>> psc_by_firing_time(0.0, 0.5, 0.25, 0.0, -1.0, 0.0)  # the released rule, in the spike's own step
    -0.5
    """
    return inter_before * kernel_before + inter_now * kernel_now + inter_after * kernel_after


# ---------------------------------------------------------------------------------------------------------------------
# Intra-neuron dependency
# ---------------------------------------------------------------------------------------------------------------------


def reset_by_firing_time(u: float, I: float, reset_by_u: float, reset_by_I: float) -> float:
    """d(nu * s)[t_m + 1]/dt_m = -(r_u u + r_I I)    (B6); times leak(p - m - 1) it is the same at the next spike t_p.

    A spike that comes later resets later, so that less of the reset has leaked away at t_p. With r = (theta_m, 0) this
    is the reset kernel's change under a shift of the spike by one step, nu[0] - nu[1]; with r = (0, 1) the height
    rises, too, while the spike waits. Source: the paper's "Intra-neuron backpropagation"; r = (0, 1) is derived in
    docs/derivations/consistent-rule.md.

    Examples
    --------
    >>> reset_by_firing_time(u=1.5, I=0.75, reset_by_u=0.5, reset_by_I=0.0)
    -0.75
    """
    return -(reset_by_u * u + reset_by_I * I)


# ---------------------------------------------------------------------------------------------------------------------
# Silent neurons
# ---------------------------------------------------------------------------------------------------------------------


def surrogate_spike_by_membrane(
    u: float, threshold: float, width: float, argument_clip: float, exponential: Callable[[float], float] = math.exp
) -> float:
    """ds/du = sig'(x) / width, x = (u - V) / width clipped to +- argument_clip    (B8).

    sig' is the derivative of the logistic function, e / (1 + e)^2 with e = exp(-|x|): a smooth stand-in for the step
    where no spike says which way to go. `exponential` lets the compiled loop bring an exp that it can vectorise.
    Source: the released code, where it is called warm-up.

    Examples
    --------
    >>> surrogate_spike_by_membrane(1.0, threshold=1.0, width=0.2, argument_clip=8.0)
    1.25
    """
    x = min(max((u - threshold) / width, -argument_clip), argument_clip)
    e = exponential(-abs(x))
    return e / ((1.0 + e) * (1.0 + e) * width)


# ---------------------------------------------------------------------------------------------------------------------
# Constants: the direct partials of one step, at fixed v[t-1] and a[t-1], as du/dW = a is
# ---------------------------------------------------------------------------------------------------------------------


def membrane_by_tau_m_at_fixed_W_d(v_previous: float, theta_m: float) -> float:
    """du[t]/dtau_m = v[t-1] / tau_m^2 at fixed W_d, the weights that the network holds: a slower leak.

    Source: F3, own derivation, docs/derivations/constants.md.

    Examples
    --------
    >>> membrane_by_tau_m_at_fixed_W_d(v_previous=0.5, theta_m=0.5)
    0.125
    """
    return theta_m * theta_m * v_previous


def membrane_by_tau_m_at_fixed_W(rise: float, theta_m: float) -> float:
    """du[t]/dtau_m = -du[t] / tau_m at fixed W = tau_m W_d, the weights of continuous time: leak and input, slower.

    du[t] on the right is the rise (F2). Source: F3 with W_d = W/tau_m, own derivation, docs/derivations/constants.md.

    Examples
    --------
    >>> membrane_by_tau_m_at_fixed_W(rise=0.5, theta_m=0.5)
    -0.25
    """
    return -theta_m * rise


def psc_by_tau_s(a_previous: float, s: float, theta_s: float) -> float:
    """da[t]/dtau_s = -(s[t] - a[t-1]) / tau_s^2: a slower filter at the same spikes.

    The weights that read the PSC are held, W_d and W alike; a jump W/tau_s, as other models hold it, would change.
    Source: F6, own derivation, docs/derivations/constants.md.

    Examples
    --------
    >>> psc_by_tau_s(a_previous=0.5, s=1.0, theta_s=0.5)
    -0.125
    """
    return -theta_s * theta_s * (s - a_previous)


def membrane_by_threshold(weighted_input: float, threshold: float) -> float:
    """du[t]/dV = -I[t] / V: a threshold that is higher by a share is weights that are lower by that share.

    Spikes depend on u/V alone, and W, V -> c W, c V changes no spike: so this is dL/dV without a derivative of the
    step at V. Source: own derivation, docs/derivations/constants.md.

    Examples
    --------
    >>> membrane_by_threshold(weighted_input=0.5, threshold=2.0)
    -0.25
    """
    return -weighted_input / threshold


# ---------------------------------------------------------------------------------------------------------------------
# Optimiser
# ---------------------------------------------------------------------------------------------------------------------


def moving_average(previous: float, value: float, beta: float) -> float:
    """m = beta m + (1 - beta) x: AdamW's running mean of the gradient, and of its square.

    Examples
    --------
    >>> moving_average(previous=1.0, value=3.0, beta=0.5)
    2.0
    """
    return beta * previous + (1.0 - beta) * value


def adamw_weight(
    W: float, mean: float, square: float, step_size: float, square_correction: float, epsilon: float, decay: float
) -> float:
    """W = decay W - step_size mean / (sqrt(square) square_correction + epsilon).

    decay = 1 - learning_rate weight_decay; step_size = learning_rate / (1 - beta1^n) and
    square_correction = 1 / sqrt(1 - beta2^n) undo the averages' bias towards 0 after n steps. Source: Loshchilov and
    Hutter, "Decoupled weight decay regularization", as PyTorch orders it.

    Examples
    --------
    >>> adamw_weight(0.5, mean=0.1, square=0.01, step_size=0.1, square_correction=1.0, epsilon=0.0, decay=1.0)
    0.39999999999999997
    """
    return decay * W - step_size * mean / (math.sqrt(square) * square_correction + epsilon)
