"""The benchmark: one full training step of this package, of its matrix products alone, and of other libraries.

``python -m benchmarks`` (or ``make bench``) runs it; `README.md` beside this file says where the time goes.
"""
