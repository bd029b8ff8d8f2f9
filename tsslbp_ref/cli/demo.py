"""`tsslbp-ref demo`: a spike raster, then images, or points where there are none."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tsslbp_ref.cli.arguments import add_data, natural, positive

if TYPE_CHECKING:
    from tsslbp_ref.training.exact_training import ExactTrainer
    from tsslbp_ref.training.trainer import Trainer


DEMO_EPOCHS = 8
DEMO_UPDATES = 3000
DEMO_EXPERIMENT = "fashion-mnist-400-400"
OTHER_RULES = ("no-intra", "surrogate")  # on the same raster: the released rule is not the best there


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    demo = commands.add_parser("demo", help="learn a spike raster, then Fashion-MNIST if it can be had")
    demo.add_argument("--epochs", type=positive, default=DEMO_EPOCHS, help="of images, or points (default %(default)s)")
    demo.add_argument("--seed", type=natural, default=0)
    add_data(demo)
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    from tsslbp_ref.model.parameters import rule_by_name
    from tsslbp_ref.training import raster
    from tsslbp_ref.training.progress import progress

    def wrong(task: raster.RasterTask) -> str:
        return f"{raster.n_wrong(task)} of {task.desired.size} places wrong"

    task = raster.raster_task(options.seed)
    n_steps, _, n_inputs = task.inputs.shape
    print(f"A network learns to fire a word: {n_steps} steps, {n_inputs} random input spike trains.", flush=True)
    with progress(DEMO_UPDATES, "raster", "update", show=not options.quiet) as show:

        def report(update: int, loss: float) -> None:
            show(update + 1, loss=f"{loss:.3f}")

        history = raster.learn(task, DEMO_UPDATES, report=report)
    print(raster.as_text(raster.output_spikes(task)))
    print(f"loss {history[0]:.2f} -> {history[-1]:.2f}, down by {1 - history[-1] / history[0]:.1%}; {wrong(task)}")
    for name in OTHER_RULES:
        other = raster.raster_task(options.seed, rule=rule_by_name(name))
        print(f"by the rule {name}: loss {raster.learn(other, DEMO_UPDATES)[-1]:.2f}; {wrong(other)}", flush=True)
    print()
    return _demo_images(options)


def _demo_images(options: argparse.Namespace) -> int:
    """Train the demo's network on Fashion-MNIST; where the data cannot be had, say so, and train on Yin-Yang."""
    from tsslbp_ref.datasets import DownloadError
    from tsslbp_ref.training.experiments import experiment
    from tsslbp_ref.training.tasks import task_of
    from tsslbp_ref.training.trainer import Trainer, TrainingSettings

    row = experiment(DEMO_EXPERIMENT)
    try:
        task = task_of(row, options.data, download=not options.no_download)
    except (FileNotFoundError, DownloadError, ImportError) as error:
        if options.data is not None:
            raise
        print(f"Fashion-MNIST is left out: {' '.join(str(error).split())}", flush=True)
        return _demo_points(options)
    print(f"{row.spec}-10 learns Fashion-MNIST ({task.n_train} images), {row.n_steps} steps an image.", flush=True)
    settings = TrainingSettings(options.epochs, row.batch_size, row.learning_rate, row.loss, seed=options.seed)
    trainer = Trainer(row.network(options.seed), task, settings, show_progress=not options.quiet)
    return _demo_epochs(trainer, options.epochs)


def _demo_points(options: argparse.Namespace) -> int:
    """Train on the Yin-Yang points, which need no data, with the exact gradient."""
    from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, ExactTrainer, YinYangTask

    settings, task = ExactSettings(epochs=options.epochs, seed=options.seed), YinYangTask()
    print(f"5-{settings.n_hidden}-3 learns Yin-Yang ({task.n_train} points) in continuous time.", flush=True)
    trainer = ExactTrainer(ExactNetwork(settings), task, settings, show_progress=not options.quiet)
    return _demo_epochs(trainer, options.epochs)


def _demo_epochs(trainer: Trainer | ExactTrainer, epochs: int) -> int:
    from tsslbp_ref.training.trainer import epoch_line

    for _ in range(epochs):
        metrics = trainer.run_epoch()
        assert metrics is not None
        print(epoch_line(metrics), flush=True)
    return 0
