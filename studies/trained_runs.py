"""Trained networks from their run folders, and tables of what was measured on them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checkpoints, checks
from tsslbp_ref.checkpoints import CheckpointError
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model.network import LayerFlow, Network
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.training import runs
from tsslbp_ref.training.experiments import Experiment, experiment
from tsslbp_ref.training.results import state_of, validation_of, variant_of
from tsslbp_ref.training.tasks import task_of

BATCH_SIZE = 50  # samples that pass at once: all layers' traces of the widest network have to fit
KEY = ("experiment", "rule", "run")  # as in the table that `tsslbp-ref results --csv` writes
DIGITS = 8  # significant, of every number in the tables

Row = dict[str, str]


@dataclass(frozen=True)
class TrainedRun:
    """The network of a run folder with the weights of its best epoch, or its last one.

    Attributes
    ----------
    row : Experiment
        With the run's own neuron and number of steps.
    rule, name : str
        The gradient rule that it was trained by, and the folder's name, with "-held-out-N" where N training samples
        were held out.
    epoch : int
        From 1.
    measure : str
        Which epoch that is: "best" on the test data, "chosen" by held-out samples, or "last".
    seed : int
        Of the initial weights.
    network : Network
    """

    row: Experiment
    rule: str
    name: str
    epoch: int
    measure: str
    seed: int
    network: Network

    @property
    def key(self) -> Row:
        """What the rows of this run start with in every table."""
        return dict(zip(KEY, (self.row.name, self.rule, self.name), strict=True))


@dataclass(frozen=True)
class PassedBatch:
    """Some test samples, their labels, and what passed through the network: flows[layer].trace is (T, B, N)."""

    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    flows: list[LayerFlow]


def load_run(folder: Path, checkpoint: str = runs.BEST) -> TrainedRun:
    """Load a run folder's best checkpoint, or `runs.LAST`.

    Raises
    ------
    FileNotFoundError
        If there is no run or no checkpoint in the folder.
    ValueError
        If a file of the run cannot be read, or the run is of no experiment in the table.
    """
    folder = Path(folder)
    if not (folder / runs.CONFIG).is_file():
        raise FileNotFoundError(f"no run in {folder}: there is no {runs.CONFIG}")
    config = runs.read_config(folder)
    path = folder / checkpoint
    arrays, meta = checkpoints.load(path)
    try:
        row = experiment(config["title"], state_of(config))
        row = replace(row, neuron=NeuronParameters(**config["neuron"]), n_steps=config["n_steps"])
        # A checkpoint is saved when its epoch is done, so that the number of epochs done is the epoch, from 1.
        rule, epoch, seed = variant_of(config, folder), int(meta["progress"]["epoch"]), int(config["settings"]["seed"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no settings of a run: {type(error).__name__} {error}") from error
    network = row.network(seed, n_threads=1)
    runs.load_weights(network, arrays, path)
    n_held_out = validation_of(config)
    name = f"{folder.name}-held-out-{n_held_out}" if n_held_out else folder.name
    best = "chosen" if n_held_out else "best"
    measure = best if checkpoint == runs.BEST else "last"
    return TrainedRun(row, rule, name, epoch, measure, seed, network)


def pass_test_data(run: TrainedRun, data_dir: Path | None = None, most: int | None = None) -> Iterator[PassedBatch]:
    """Pass the experiment's test data through the network, a few samples at a time.

    Parameters
    ----------
    run : TrainedRun
    data_dir : Path, optional
        Folder of the data sets.
    most : int, optional
        At most so many samples, from the first on; all if not given.

    Raises
    ------
    FileNotFoundError, ValueError
        If the data is not found, or `most` is not positive.
    """
    left = np.inf if most is None else checks.positive_integer("most", most)
    for x, y in task_of(run.row, data_dir, download=False).test_batches():
        is_static = x.ndim == len(run.row.input_shape) + 1
        for start in range(0, len(y), BATCH_SIZE):
            part = slice(start, int(min(start + BATCH_SIZE, len(y), start + left)))
            # A training pass keeps the traces, which a test pass does not hand out; what comes back in it is not used.
            _, _, a, flows = run.network.training_pass(
                x[part] if is_static else x[:, part], y[part], run.row.loss, settings=run.row.loss_settings
            )
            predicted = a.sum(axis=0).argmax(axis=1)
            yield PassedBatch(y[part], predicted, flows)
            left -= len(y[part])
            if left <= 0:
                return


def merge_rows(path: Path, header: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Put rows into a table: those of runs that are in it already replace them, the others come after.

    Parameters
    ----------
    path : Path
        A CSV; made if it is not there. It is only ever replaced as a whole.
    header : sequence of str
        Starts with `KEY`.
    rows : iterable of dict
        Floats are written with `DIGITS` digits.

    Raises
    ------
    ValueError
        If the file is another table.
    OSError
        If it cannot be written; what was there stays.
    """
    new = [{name: _text(row[name]) for name in header} for row in rows]
    replaced = {_key(row) for row in new}
    kept = [row for row in read_rows(path, header) if _key(row) not in replaced] if path.exists() else []
    write_rows(path, header, sorted(kept + new, key=_key))  # sorted is stable: the rows of a run keep their order


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table, only ever as a whole.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def read_rows(path: Path, header: Sequence[str]) -> list[Row]:
    """Read a table that begins with these columns.

    Raises
    ------
    ValueError
        If the file is another table.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ())[: len(header)] != tuple(header):
            raise ValueError(f"{path} holds other columns than {', '.join(header)}")
        return list(reader)


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _text(value: Any) -> str:
    return f"{float(value):.{DIGITS}g}" if isinstance(value, (float, np.floating)) else str(value)
