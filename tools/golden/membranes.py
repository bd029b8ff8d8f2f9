"""One neuron in continuous time and decimal arithmetic, from the kernel form of its membrane.

    u(t) = sum_f w_f eps_f(t - f) - V sum_own exp(-(t - t_own)/tau_m),
    eps_f(x) = (exp(-x/tau_m) - exp(-x/tau_s))/(tau_m - tau_s),  or x exp(-x/tau)/tau^2 where tau_m = tau_s = tau,

the first sum over arrivals, the second over own spikes, both before t. A spike is where u rises above V; its own term
makes u 0.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, getcontext, localcontext
from functools import lru_cache
from typing import NamedTuple

HALVINGS = 30  # of a stretch of at most 45 ms, before Newton's method
ROUNDS = 20  # of Newton's method; four or five are needed


class Neuron(NamedTuple):
    """A neuron and its input: arrivals (time, weight, tau_s), sorted, all before `end`; a readout has no threshold."""

    arrivals: tuple[tuple[Decimal, Decimal, Decimal], ...]
    tau_m: Decimal
    threshold: Decimal | None
    end: Decimal


class Peak(NamedTuple):
    """Where a readout's membrane is highest, how high, and whether an input arrives there."""

    time: Decimal
    height: Decimal
    at_arrival: bool


class Response(NamedTuple):
    """A neuron's spike times, or a readout's peak."""

    spikes: tuple[Decimal, ...]
    peak: Peak | None = None


@lru_cache(maxsize=1 << 16)
def _growth(t: Decimal, tau: Decimal) -> Decimal:
    return (t / tau).exp()


def decay(since: Decimal, t: Decimal, tau: Decimal) -> Decimal:
    """exp(-(t - since)/tau), as a quotient whose parts are kept: most times come again."""
    return _growth(since, tau) / _growth(t, tau)


def membrane(neuron: Neuron, own: Sequence[Decimal], n_arrived: int, t: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """u, u' and u'' at t, after the spikes `own` and the first `n_arrived` arrivals."""
    u = slope = curvature = Decimal(0)
    tau_m = neuron.tau_m
    for f, w, tau_s in neuron.arrivals[:n_arrived]:
        by_membrane = decay(f, t, tau_m)
        if tau_m == tau_s:
            eps = (t - f) * by_membrane / tau_m**2
            d_eps = by_membrane / tau_m**2 - eps / tau_m
        else:
            by_synapse = decay(f, t, tau_s)
            eps = (by_membrane - by_synapse) / (tau_m - tau_s)
            d_eps = (by_synapse / tau_s - by_membrane / tau_m) / (tau_m - tau_s)
        u += w * eps
        slope += w * d_eps
        curvature -= w * (eps + (tau_m + tau_s) * d_eps) / (tau_m * tau_s)  # eps solves this equation, both ways
    for f in own:
        reset = (neuron.threshold or 0) * decay(f, t, tau_m)
        u -= reset
        slope += reset / tau_m
        curvature -= reset / tau_m**2
    return u, slope, curvature


def halved(function: Callable[[Decimal], Decimal], low: Decimal, high: Decimal) -> Decimal:
    """Near the one zero of a function between two points where its signs differ."""
    positive = function(low) > 0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (function(middle) > 0) == positive else (low, middle)
    return (low + high) / 2


def newton(function: Callable[[Decimal], tuple[Decimal, Decimal]], t: Decimal) -> Decimal:
    """The zero near t of a function that returns value and slope.

    Raises
    ------
    ArithmeticError
        If the steps do not become small.
    """
    for _ in range(ROUNDS):
        value, slope = function(t)
        step = value / slope
        t -= step
        if abs(step) < Decimal(10) ** (-getcontext().prec // 2):  # the error left is of the size of its square
            return t
    raise ArithmeticError(f"Newton's method finds no zero near {t:.6f} ms")


def spike_near(neuron: Neuron, own: Sequence[Decimal], t: Decimal) -> Decimal:
    """The time near t when u is at the threshold."""
    threshold, n_arrived = neuron.threshold or Decimal(0), bisect_left(neuron.arrivals, (t,))

    def above(t: Decimal) -> tuple[Decimal, Decimal]:
        u, slope, _ = membrane(neuron, own, n_arrived, t)
        return u - threshold, slope

    return newton(above, t)


def peak_near(neuron: Neuron, t: Decimal, *, at_arrival: bool) -> Peak:
    """A readout's peak: at the arrival nearest to t, or where u' = 0 near t."""
    if at_arrival:
        t = min((f for f, _, _ in neuron.arrivals), key=lambda f: abs(f - t))
    n_arrived = bisect_left(neuron.arrivals, (t,))
    if not at_arrival:
        t = newton(lambda t: membrane(neuron, (), n_arrived, t)[1:], t)
    return Peak(t, membrane(neuron, (), n_arrived, t)[0], at_arrival)


def stretches(neuron: Neuron) -> Iterator[tuple[int, Decimal, Decimal]]:
    """From each arrival to the next: how many have arrived, start, end."""
    times = [*(f for f, _, _ in neuron.arrivals), neuron.end]
    for n_arrived, (start, end) in enumerate(itertools.pairwise(times), start=1):
        yield n_arrived, start, end


def highest(neuron: Neuron, own: Sequence[Decimal], stretch: tuple[int, Decimal, Decimal]) -> tuple[Decimal, Decimal]:
    """Time and height of the highest membrane after a stretch's start, which may be below it.

    With one tau_s for all arrivals exp(t/tau_m) u' is monotone within the stretch. So u' has at most one zero there,
    and u, which starts below the threshold, passes it at most once before the time returned.
    """
    n_arrived, start, end = stretch

    def slope(t: Decimal) -> Decimal:
        return membrane(neuron, own, n_arrived, t)[1]

    t = halved(slope, start, end) if slope(start) > 0 > slope(end) else end
    return t, membrane(neuron, own, n_arrived, t)[0]


def searched(neuron: Neuron) -> Response:
    """All spikes in order, or a readout's peak, with no guess; the arrivals must have one tau_s.

    Raises
    ------
    ValueError
        If a readout is highest at the start or at the end of the run, where its peak has no derivative of this kind.
    """
    if neuron.threshold is None:
        tops = [(*highest(neuron, (), stretch)[::-1], stretch) for stretch in stretches(neuron)]
        height, t, (_, _, end) = max(tops, default=(Decimal(0), neuron.end, (0, neuron.end, neuron.end)))
        if height <= 0 or t == neuron.end:
            raise ValueError("a readout must have its peak within the run")
        return Response((), peak_near(neuron, t, at_arrival=t == end))
    own: list[Decimal] = []
    for n_arrived, start, end in stretches(neuron):
        after = start
        while (top := highest(neuron, own, (n_arrived, after, end)))[1] > neuron.threshold:
            after = spike_near(neuron, own, _first_passage(neuron, own, n_arrived, after, top[0]))
            own.append(after)
    return Response(tuple(own))


def _first_passage(neuron: Neuron, own: Sequence[Decimal], n_arrived: int, low: Decimal, high: Decimal) -> Decimal:
    threshold = neuron.threshold or Decimal(0)
    return halved(lambda t: membrane(neuron, own, n_arrived, t)[0] - threshold, low, high)


@lru_cache(maxsize=1 << 12)
def followed(neuron: Neuron, base: Response) -> Response:
    """The response of a neuron of which a number moved by a tiny step, from the response before."""
    if base.peak is not None:
        return Response((), peak_near(neuron, base.peak.time, at_arrival=base.peak.at_arrival))
    own: list[Decimal] = []
    for t in base.spikes:
        own.append(spike_near(neuron, own, t))
    return Response(tuple(own))


@contextmanager
def arithmetic(digits: int) -> Iterator[None]:
    """Decimals of so many digits within the block; what was kept with other digits is forgotten."""
    for kept in (_growth, followed):
        kept.cache_clear()
    with localcontext(prec=digits):
        yield
