"""The golden numbers, made again: see README.md."""
