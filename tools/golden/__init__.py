"""The golden numbers, made again from a checkout of the authors' repository: see README.md."""
