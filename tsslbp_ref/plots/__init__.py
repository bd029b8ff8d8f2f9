"""Pictures of a network and of its training; only this package and `figures` import matplotlib."""
