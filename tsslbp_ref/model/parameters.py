"""The constants of the model and of the gradient rule: each a named field, with where it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

INTER_RULES = ("released", "literal", "onset", "surrogate", "consistent")
INTRA_RULES = (True, False, "consistent", "one-hop", "leak", "reset")
WARMUPS = (True, "layer", False)
SILENT_STEPS = ("leak", "none")


@dataclass(frozen=True)
class NeuronParameters:
    r"""Leaky integrate-and-fire neuron with an exponential synapse, in steps of the Euler scheme.

    Parameters
    ----------
    tau_m : float
        Time constant of the membrane, in time steps, at least 1 (below 1 the Euler step overshoots).
    tau_s : float
        Time constant of the synapse, in time steps, at least 1.
    threshold : float
        Firing threshold V, in the membrane's own unit; the neuron fires where u > V, strictly.

    Raises
    ------
    ValueError, TypeError
        If a value is not a finite number in its range.

    Notes
    -----
    Source: the paper's section "Spiking neuron model"; the defaults are the released code's MNIST settings.

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0, tau_s=2.0)
    >>> neuron.theta_m, neuron.theta_s
    (0.2, 0.5)
    """

    tau_m: float = 5.0
    tau_s: float = 3.0
    threshold: float = 1.0

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            tau_m=checks.real_number("tau_m", self.tau_m, minimum=1.0),
            tau_s=checks.real_number("tau_s", self.tau_s, minimum=1.0),
            threshold=checks.real_number("threshold", self.threshold, above=0.0),
        )

    @property
    def theta_m(self) -> float:
        """1 / tau_m: the share of the membrane that leaks away in one step."""
        return 1.0 / self.tau_m

    @property
    def theta_s(self) -> float:
        """1 / tau_s: the share of the PSC that decays in one step, and the height of a fresh PSC."""
        return 1.0 / self.tau_s


class ConstantGradients(NamedTuple):
    """dL/d(constant) of each neuron of a layer, (N,), constants in steps; `summed` has those of the layer's constants.

    The names say which weight is held while tau_m moves; tau_s and V move at fixed weights, W_d or W alike.
    """

    tau_m_fixed_W_d: npt.NDArray[Any]  # W_d: what `Network.weights` holds
    tau_m_fixed_W: npt.NDArray[Any]  # W = tau_m W_d: the weights of continuous time
    tau_s: npt.NDArray[Any]  # of the PSC that the layer emits
    threshold: npt.NDArray[Any]  # by the scale symmetry

    def summed(self) -> dict[str, float]:
        """The same by the layer's own constants: the sum over all its neurons, those of feature maps too.

        Examples
        --------
        >>> import numpy as np
        >>> ConstantGradients(*np.ones((4, 3))).summed()["tau_s"]
        3.0
        """
        return {name: float(np.sum(by_neuron)) for name, by_neuron in self._asdict().items()}


class RuleCoefficients(NamedTuple):
    r"""A gradient rule for one kind of neuron, as the numbers that the loops multiply by.

    All rules are one formula:

    .. math::
        \partial a[t_k] / \partial t_m &= \sum_{j=-1}^{1} w_j \, \epsilon[k-m+j] \\
        \partial \eta / \partial t_m &= -(r_u u + r_I I) (1-\theta_m)^{p-m-1}

    so a rule is the choice of w, r, of what goes along the chain (`chain`, `hop_by_u`, `silent`), and of where the
    surrogate stands in (`warmup_gate`) or is added (`surrogate_weight`).
    """

    theta_m: float
    theta_s: float
    threshold: float
    inter_before: float  # w_{-1}, weight of eps[lag - 1]
    inter_now: float  # w_0, weight of eps[lag]
    inter_after: float  # w_{+1}, weight of eps[lag + 1]
    reset_by_u: float  # r_u
    reset_by_I: float  # r_I
    chain: float  # 1 where later spikes of the same neuron count, 0 where they do not
    hop_by_u: float  # r_u of a reset that leads to dL/da at the next spike and no further
    silent: float  # 1 where a silent step has the next spike's delta, leaked back; 0 where it has none
    inverse_rise_clip: float
    warmup_gate: float  # the surrogate replaces the gradient where a < warmup_gate
    surrogate_width: float
    surrogate_argument_clip: float
    surrogate_weight: float  # kappa: so many times the surrogate's own delta is added at every step


@dataclass(frozen=True)
class GradientRule:
    """Which backward pass is meant, and its constants. The default is the released code's rule.

    Parameters
    ----------
    inter : {"released", "literal", "onset", "surrogate", "consistent"}
        How the firing time moves the PSC (B5b). "released": minus the PSC kernel. "literal": the derivative of the
        kernel, taken at its word. "onset": the same with the impulse of the kernel's onset in the spike's own step,
        -1/tau_s. "consistent": the centred difference of the PSC under a shift of the spike by one step. "surrogate":
        the warm-up formula at every step, instead of both dependencies; `intra`, `silent` and `warmup` then have
        no effect.
    intra : {True, False, "consistent", "one-hop", "leak", "reset"}
        Whether a spike's effect on the same neuron's next spike counts (B6), and if so with the paper's reset
        derivative (True) or with a height that rises, too ("consistent"). "one-hop": September 2020's term,
        from a spike to dL/da at the next one and no further. It is the derivative of no quantity of the neuron, see
        docs/derivations/september-2020.md.
        The chain's two halves: "leak" has no reset factor, "reset" is True with `silent="none"`.
    warmup : {True, "layer", False}
        Where the surrogate replaces the gradient (B8). True: where the PSC is below `warmup_gate`. "layer": in a whole
        layer and mini-batch whose firing rate is at most `warmup_rate`. False: nowhere.
    inverse_rise_clip : float
        Upper bound of 1/du; 8 in the released code, 10 in its earlier states, not in the paper. ``math.inf`` turns it
        off. The earlier states bound 1/du from below too, which changes nothing: at a spike du is positive.
    surrogate_width : float
        Width of the warm-up sigmoid, in units of the membrane; 0.2 in the released code.
    surrogate_argument_clip : float
        The sigmoid's argument is clipped to +- this; 8 in the released code. Up to 16 the fast loops have all digits;
        above 64, where the surrogate is 1e-28, they clip at 64.
    warmup_gate : float
        In units of theta_s: 1/4 in the released code, that is a[t] < theta_s / 4.
    warmup_rate : float
        Spikes per neuron and step, 0.1 in the states of 2020; of `warmup="layer"` only.
    silent : {"leak", "none"}
        What a silent step has: the next spike's delta, leaked back, or nothing. With "none" a chain still goes on
        through silent steps from spike to spike. Where `intra` is False silent steps have nothing in either case.
    surrogate_weight : float
        kappa. Above 0, kappa G ds/du is added at every step to the rule's own delta, and `warmup` has no effect: the
        surrogate is there already. The chain runs on the rule's own part alone; the hops of "one-hop" are in G, too.
        With `inter="surrogate"` it has no effect. Source: Kim, Kim and Kim, "Unifying activation- and timing-based
        learning rules for spiking neural networks" (ANTLR, NeurIPS 2020, arXiv 2006.02642), who add both with weight
        1. It is no better rule in general: which kappa is best, and whether any is, differs by task.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown (the error lists the known ones) or a constant is out of range.

    Notes
    -----
    Source: the paper's sections "Inter-neuron backpropagation" and "Intra-neuron backpropagation"; the constants are
    the released code's, commit ffaac71. "onset", "one-hop", `warmup="layer"` and `silent="none"` are those of earlier
    commits, see `named_rules`. "consistent" is this project's, derived in docs/derivations/consistent-rule.md.

    Examples
    --------
    >>> no_chain = GradientRule(intra=False)
    >>> no_chain.inter, no_chain.warmup, no_chain.inverse_rise_clip
    ('released', True, 8.0)
    """

    inter: str = "released"
    intra: bool | str = True
    warmup: bool | str = True
    inverse_rise_clip: float = 8.0
    surrogate_width: float = 0.2
    surrogate_argument_clip: float = 8.0
    warmup_gate: float = 0.25
    warmup_rate: float = 0.1
    silent: str = "leak"
    surrogate_weight: float = 0.0

    def __post_init__(self) -> None:
        argument_clip = checks.real_number("surrogate_argument_clip", self.surrogate_argument_clip, above=0.0)
        checks.set_fields(
            self,
            inter=checks.one_of("inter", self.inter, INTER_RULES),
            intra=checks.one_of("intra", self.intra, INTRA_RULES),
            warmup=checks.one_of("warmup", self.warmup, WARMUPS),
            silent=checks.one_of("silent", self.silent, SILENT_STEPS),
            inverse_rise_clip=checks.real_number(
                "inverse_rise_clip", self.inverse_rise_clip, above=0.0, or_infinite=True
            ),
            surrogate_width=checks.real_number("surrogate_width", self.surrogate_width, above=0.0),
            surrogate_argument_clip=argument_clip,
            warmup_gate=checks.real_number("warmup_gate", self.warmup_gate, minimum=0.0),
            warmup_rate=checks.real_number("warmup_rate", self.warmup_rate, minimum=0.0),
            surrogate_weight=checks.real_number("surrogate_weight", self.surrogate_weight, minimum=0.0),
        )

    @property
    def needs_firing_rate(self) -> bool:
        """Whether the rule asks how often a whole layer fired in the mini-batch before it can say what delta is."""
        return self.warmup == "layer" and self.inter != "surrogate" and self.surrogate_weight == 0.0

    def coefficients(self, neuron: NeuronParameters, firing_rate: float | None = None) -> RuleCoefficients:
        """Resolve the rule for a kind of neuron: every choice becomes a number, so that no loop asks for a name.

        Parameters
        ----------
        neuron : NeuronParameters
        firing_rate : float, optional
            Mean of s over batch, neurons and steps of the layer; has to be given where `needs_firing_rate` says so.

        Returns
        -------
        RuleCoefficients

        Raises
        ------
        ValueError, TypeError
            If neuron is not of its kind, or the rule needs a firing rate and has none, or it is no number in 0 .. 1.
        """
        checks.instance_of("neuron", neuron, NeuronParameters)
        inter_before, inter_now, inter_after = self._inter_weights(neuron)
        return RuleCoefficients(
            theta_m=neuron.theta_m,
            theta_s=neuron.theta_s,
            threshold=neuron.threshold,
            inter_before=inter_before,
            inter_now=inter_now,
            inter_after=inter_after,
            reset_by_u=neuron.theta_m if self.intra in (True, "reset") else 0.0,
            reset_by_I=1.0 if self.intra == "consistent" else 0.0,
            chain=0.0 if self.intra is False else 1.0,
            hop_by_u=neuron.theta_m if self.intra == "one-hop" else 0.0,
            silent=0.0 if self.silent == "none" or self.intra == "reset" else 1.0,
            inverse_rise_clip=self.inverse_rise_clip,
            warmup_gate=self._gate(neuron, firing_rate),
            surrogate_width=self.surrogate_width,
            surrogate_argument_clip=self.surrogate_argument_clip,
            surrogate_weight=0.0 if self.inter == "surrogate" else self.surrogate_weight,
        )

    def _inter_weights(self, neuron: NeuronParameters) -> tuple[float, float, float]:
        if self.inter == "literal":  # d eps(t_k - t_m) / d t_m = + eps / tau_s
            return 0.0, neuron.theta_s, 0.0
        if self.inter == "consistent":  # (eps[lag - 1] - eps[lag + 1]) / 2, the onset's own jump included
            return 0.5, 0.0, -0.5
        if self.inter == "onset":  # + eps / tau_s after the spike's step, -1 / tau_s in it: eps[0] is theta_s
            return 1.0 - neuron.theta_s**2, -1.0, 0.0
        return 0.0, -1.0, 0.0  # the released code: minus the literal derivative, times tau_s

    def _gate(self, neuron: NeuronParameters, firing_rate: float | None) -> float:
        if self.inter == "surrogate":
            return math.inf
        if self.surrogate_weight > 0.0:
            return -math.inf
        if self.warmup == "layer":
            return math.inf if self._checked_rate(firing_rate) <= self.warmup_rate else -math.inf
        return self.warmup_gate * neuron.theta_s if self.warmup else -math.inf

    def _checked_rate(self, firing_rate: float | None) -> float:
        if firing_rate is None:
            raise ValueError('firing_rate must be given: warmup="layer" asks for the mean of s over the layer')
        rate = checks.real_number("firing_rate", firing_rate, minimum=0.0)
        if rate > 1.0:
            raise ValueError(f"firing_rate must be at most 1, got {rate:g}")
        return rate


def named_rules() -> dict[str, GradientRule]:
    """The rules that the studies and the command line know by name.

    "released" is the last commit of the authors' code, ffaac71 (March 2021). Its earlier states are "june-2020"
    (d0a06b7, as submitted), "september-2020" (6e40449) and "november-2020" (f9ab4b4). "consistent" drops the clip and
    the warm-up: both are tied to the step and would keep it from converging. "timing-plus-surrogate" adds the
    surrogate, with weight 1, to the released chain rule.

    Examples
    --------
    >>> list(named_rules())[:4]
    ['released', 'no-intra', 'no-warmup', 'literal']
    """
    june = GradientRule(intra=False, warmup="layer", inverse_rise_clip=10.0, silent="none")
    return {
        "released": GradientRule(),
        "no-intra": GradientRule(intra=False),
        "no-warmup": GradientRule(warmup=False),
        "literal": GradientRule(inter="literal"),
        "surrogate": GradientRule(inter="surrogate"),
        "consistent": GradientRule(inter="consistent", intra="consistent", warmup=False, inverse_rise_clip=math.inf),
        "timing-plus-surrogate": GradientRule(warmup=False, surrogate_weight=1.0),
        "june-2020": june,
        "september-2020": replace(june, intra="one-hop"),
        "november-2020": replace(june, intra="one-hop", inter="onset"),
    }


def rule_by_name(name: Any) -> GradientRule:
    """Look a rule up in `named_rules`.

    Parameters
    ----------
    name : str

    Returns
    -------
    GradientRule

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, or no text; the error lists the known names.

    Examples
    --------
    >>> rule_by_name("no-intra").intra
    False
    """
    rules = named_rules()
    return rules[checks.one_of("rule", name, rules)]
