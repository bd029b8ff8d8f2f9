"""What to run, whatever the seed: an experiment by a rule, its settings and its folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsslbp_ref import checks
from tsslbp_ref.model.parameters import GradientRule, named_rules, rule_by_name
from tsslbp_ref.training.descriptions import Description, describe
from tsslbp_ref.training.exact_training import EXACT, YIN_YANG, ExactSettings
from tsslbp_ref.training.experiments import EXPERIMENTS, RELEASED, STATES, Experiment, experiment
from tsslbp_ref.training.stop_file import CLIENT_GONE, PARENT_GONE, StopWatch
from tsslbp_ref.training.trainer import TrainingSettings


@dataclass(frozen=True)
class Plan:
    """What to run, whatever the seed.

    Parameters
    ----------
    experiment, rule : str
    loss : str, optional
        Instead of the experiment's.
    epochs : int, optional
        Instead of the experiment's.
    runs : Path
        Folder of the run folders,
        runs/<experiment>/<rule>[-<loss>][-at-<state>][-held-out-<n>][-constants-<rate>]/seed<k>.
    data : Path, optional
    download, resume : bool
    threads : int, optional
        A run. If not given: as many as a resumed run had, else the runs share all cores.
    stop_file : Path, optional
        A run stops as if by the signal whose number is in this file; see `stop_file`.
    state : str
        The state of the authors' code whose settings the experiment has; `rule` and `loss` override them.
    held_out : int
        Training samples that are held out and choose the best epoch; the same ones under every seed.
    own : Experiment, optional
        Instead of the paper's: an experiment, and a rule, that a file describes; `rule` and `experiment` name it.
    own_rule : GradientRule, optional
        A rule that has no name in `named_rules`; `rule` is then a label.
    constants_learning_rate : float, optional
        Of the hidden layers' tau_m and tau_s, instead of the experiment's, which learns none.

    Examples
    --------
    >>> Plan("fashion-mnist-400-400", state="september-2020", rule="september-2020").folder(seed=0).parts
    ('runs', 'fashion-mnist-400-400', 'september-2020-at-september-2020', 'seed0')
    """

    experiment: str
    rule: str = "released"
    loss: str | None = None
    epochs: int | None = None
    runs: Path = Path("runs")
    data: Path | None = None
    download: bool = True
    resume: bool = False
    threads: int | None = None
    stop_file: Path | None = None
    state: str = RELEASED
    held_out: int = 0
    own: Experiment | None = None
    own_rule: GradientRule | None = None
    constants_learning_rate: float | None = None

    @classmethod
    def of(cls, described: Description) -> Plan:
        """The plan of what a file describes: where it is a row of the paper's table, the same as by its name."""
        row, named = described.row, described.rule_label in named_rules()
        plan = cls(
            row.name,
            described.rule_label,
            held_out=described.held_out,
            own_rule=None if named else described.rule,
            constants_learning_rate=row.constants_learning_rate or None,
        )
        if described.state is None:
            return replace(plan, own=row)
        usual = experiment(row.name, described.state)
        loss, epochs = (None if getattr(row, n) == getattr(usual, n) else getattr(row, n) for n in ("loss", "epochs"))
        return replace(plan, state=described.state, loss=loss, epochs=epochs)

    @property
    def row(self) -> Experiment:
        """The experiment."""
        return self.own or experiment(self.experiment, self.state)

    def gradient_rule(self) -> GradientRule:
        """The rule."""
        return self.own_rule or rule_by_name(self.rule)

    def tables(self, seed: int) -> dict[str, Any] | None:
        """All that makes the seed's run again, see `descriptions`; None in continuous time."""
        if self.exact:
            return None
        row = replace(
            self.row,
            loss=self.loss or self.row.loss,
            epochs=self.epochs or self.row.epochs,
            constants_learning_rate=self.constants_rate,
        )
        state = None if self.own else self.state
        return describe(row, self.gradient_rule(), state=state, held_out=self.held_out, seed=seed)

    def folder(self, seed: int) -> Path:
        """The seed's run folder."""
        variant = self.rule if self.loss is None else f"{self.rule}-{self.loss}"
        if self.state != RELEASED:
            variant = f"{variant}-at-{self.state}"
        if self.held_out:
            variant = f"{variant}-held-out-{self.held_out}"
        if self.constants_rate:
            variant = f"{variant}-constants-{self.constants_rate:g}"
        return self.runs / self.experiment / variant / f"seed{seed}"

    @property
    def exact(self) -> bool:
        """Whether the plan trains in continuous time."""
        return self.own is None and self.experiment == YIN_YANG

    @property
    def constants_rate(self) -> float:
        """The learning rate of the hidden layers' constants, 0 where none are learned."""
        given = self.constants_learning_rate
        return 0.0 if given is None else given

    def check_rule(self) -> None:
        """Raise ``ValueError`` unless experiment and rule are known and belong together."""
        if self.own is None:
            checks.one_of("experiment", self.experiment, [*EXPERIMENTS, YIN_YANG])
        checks.one_of("state", self.state, STATES)
        if self.exact and self.state != RELEASED:
            raise ValueError(f"{YIN_YANG} is not the paper's: it has no --state, got {checks.shown(self.state)}")
        if self.exact and self.held_out:
            raise ValueError(f"{YIN_YANG} has no --held-out: its validation points are made by the formula, too")
        if self.exact and self.constants_learning_rate is not None:
            raise ValueError(f"{YIN_YANG} has no --learn-constants: it is trained in continuous time, by weights alone")
        if self.exact and self.rule != EXACT:
            raise ValueError(f"{YIN_YANG} is trained with --rule {EXACT} only, got {checks.shown(self.rule)}")
        if self.rule == EXACT and not self.exact:
            raise ValueError(
                f"--rule {EXACT} trains {YIN_YANG} only: the exact simulator takes spike times through dense "
                f"layers, and {self.experiment} has images or convolutions"
            )
        if not self.exact:
            self.gradient_rule()

    def settings(self, seed: int) -> TrainingSettings | ExactSettings:
        """How the seed is trained: the experiment's row, with this plan's loss and epochs where they are given."""
        if self.exact:
            usual = ExactSettings()
            return replace(usual, epochs=self.epochs or usual.epochs, loss=self.loss or usual.loss, seed=seed)
        row = self.row
        return TrainingSettings(
            epochs=self.epochs or row.epochs,
            batch_size=row.batch_size,
            learning_rate=row.learning_rate,
            loss=self.loss or row.loss,
            loss_settings=row.loss_settings,
            seed=seed,
            constants_learning_rate=self.constants_rate,
        )

    def watch(self) -> Callable[[], int]:
        """What tells a run to stop: the signal in the stop file, or SIGHUP where the process that wrote it has gone."""
        watch = (lambda: 0) if self.stop_file is None else StopWatch(self.stop_file)
        return lambda: int(CLIENT_GONE) if PARENT_GONE.is_set() else watch()
