"""Another code for the tests of conformance: `layer`, the released rule in plain NumPy, with places for errors."""

import dataclasses
import functools

import numpy as np

import tsslbp_ref as tr
from tsslbp_ref import conformance


def layer(I, g, tau_m, tau_s, V, **errors):
    """u, s, a, delta of one layer (T, B, N) by the released rule; the keywords plant errors."""
    given = {"clip": 8.0, "gate": 0.25, "fires": np.greater, "share": np.reciprocal}
    clip, gate, fires, share = ((given | errors)[name] for name in given)
    width = errors.get("width", 0.2)
    late, subtract, scaled, handed_on = (name in errors for name in ("late", "subtract", "scaled", "handed_on"))
    theta_m, theta_s, T = share(float(tau_m)), share(float(tau_s)), len(I)
    I = theta_m * I if scaled else I
    u, s, a, rise = (np.zeros_like(I) for _ in range(4))
    v, psc = np.zeros_like(I[0]), np.zeros_like(I[0])
    for t in range(T):
        u[t] = (1 - theta_m) * v + I[t]
        rise[t] = u[t] - v
        s[t] = fires(u[t], V)
        a[t] = psc = (1 - theta_s) * psc + theta_s * (s[t] if not late else s[t - 1] if t else 0)
        v = u[t] - V * s[t] if subtract else u[t] * (1 - s[t])
    delta = np.zeros_like(u)
    G, back = np.zeros_like(I[0]), np.zeros_like(I[0])  # back: the next spike's delta, leaked
    for t in reversed(range(T)):
        G = theta_s * g[t] + (1 - theta_s) * G
        with np.errstate(divide="ignore"):
            psi = np.minimum(1 / rise[t], clip)
        chain = np.where(s[t] == 1, psi * (G + theta_m * u[t] * back), (1 - theta_m) * back)
        back = np.where(s[t] == 1, chain, (1 - theta_m) * back)
        e = np.exp(-np.clip((u[t] - V) / width, -8, 8))
        delta[t] = np.where(a[t] < gate * theta_s, G * e / (1 + e) ** 2 / width, chain)
        back = delta[t] if handed_on else back
    return {"u": u, "s": s, "a": a, "delta": delta}


def layers_only(case, inputs, **errors):
    return layer(**inputs, **errors) if case.kind == "layer" else None


def compared(*states, **errors):
    return conformance.compare(functools.partial(layers_only, **errors), states or "released")


def fits(report, symbol):
    """What a symbol's arrays are, if not ours."""
    found = [explanation.fits for explanation in report.explanations if explanation.symbol == symbol]
    assert len(found) == 1
    return found[0]


def network(case, inputs, change):
    """A network's required arrays, by ours with one thing changed."""
    if case.kind != "network":
        return None
    net, loss = case.network(), case.loss
    loss = change(net) or loss
    value, gradients, a, _ = net.training_pass(case.golden("x"), inputs["y"], loss)
    return {"loss": value, f"a{len(gradients) - 1}": a} | {f"dW{i}": dW for i, dW in enumerate(gradients)}


def pools(gain):
    """A change of a network: its pools have another factor."""

    def change(net):
        pool = tr.layers.SumPool2d
        net.layers = [dataclasses.replace(one, gain=gain) if isinstance(one, pool) else one for one in net.layers]

    return change
