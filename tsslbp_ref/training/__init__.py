"""Training: the loop over epochs, the paper's experiments, runs on disk, and what they reached."""

from tsslbp_ref.training.trainer import LABEL_LOSSES, Progress, Trainer, TrainingSettings, epoch_line

__all__ = ["LABEL_LOSSES", "Progress", "Trainer", "TrainingSettings", "epoch_line"]
