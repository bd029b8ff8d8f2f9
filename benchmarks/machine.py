"""What the race ran on: numbers without it mean nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from tsslbp_ref.engine.threads import available_cores

PACKAGES = ("numpy", "scipy", "numba", "torch", "snntorch", "spikingjelly", "norse")


def describe() -> dict[str, Any]:
    """Processor, cores, BLAS with the core type that it chose, and versions."""
    np.dot(np.ones(2), np.ones(2))  # BLAS is loaded
    blas = [
        f"{pool['internal_api']} {pool['version']}, core type {pool.get('architecture', 'unknown')}"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "blas": blas,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES if _version(name)},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
