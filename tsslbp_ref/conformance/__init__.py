"""Whether another implementation of TSSL-BP agrees with the authors' code, at four commits, and where it departs.

`export` writes the inputs of every case into a file; the other code writes its arrays into another one, which
`compare_file` reads. From Python `compare` hands the inputs to a function. The cases are layers, losses and networks of
`gradcheck/golden`.
"""

from tsslbp_ref.conformance.cases import STATES, Case, cases
from tsslbp_ref.conformance.comparison import ArraysError, compare, compare_arrays
from tsslbp_ref.conformance.layouts import LAYOUTS
from tsslbp_ref.conformance.npz import compare_file, export
from tsslbp_ref.conformance.report import ArrayResult, Explanation, Report

__all__ = [
    "LAYOUTS",
    "STATES",
    "ArrayResult",
    "ArraysError",
    "Case",
    "Explanation",
    "Report",
    "cases",
    "compare",
    "compare_arrays",
    "compare_file",
    "export",
]
