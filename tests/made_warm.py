"""Imported by a server process that the tests fork children from: they then find the compiled loops loaded."""

from made_data import blob_trainer

blob_trainer().run_epoch()
