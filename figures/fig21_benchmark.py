"""A training step of W1 to W4: this package, its dense matrix products alone, and other libraries, as measured."""

from __future__ import annotations

import json
from pathlib import Path

from figures import measured, style

TITLE = "One training step: far ahead where spikes are sparse (W3),\nahead on all other workloads"
TABLES = tuple(measured.RESULTS / f"benchmark{part}.json" for part in ("", "-events", "-cifar"))
OURS, PRODUCTS = "tsslbp_ref", "matrix products"
LOOKS = {
    OURS: (style.BLUE, "o", "this package"),
    PRODUCTS: (style.BLACK, "|", "dense matrix products alone"),
    "snntorch": (style.ORANGE, "s", "snntorch"),
    "spikingjelly": (style.GREEN, "D", "spikingjelly"),
    "norse": (style.PURPLE, "^", "norse"),
}


def measure(tables: tuple[Path, ...] = TABLES) -> dict[str, dict[str, tuple[str, float]]]:
    """By workload and library: the faster of its modes on two threads, and its median step in ms.

    Raises
    ------
    FileNotFoundError
        If there is no such file; `python -m benchmarks --json` writes it.
    """
    fastest: dict[str, dict[str, tuple[str, float]]] = {}
    rows = [row for table in tables for row in json.loads(table.read_text())["results"]]
    for row in rows:
        name = str(row["contender"])
        library = name.removesuffix(" compiled")
        if library not in LOOKS:
            continue
        of_workload = fastest.setdefault(row["workload"], {})
        if library not in of_workload or row["median_ms"] < of_workload[library][1]:
            of_workload[library] = (name, float(row["median_ms"]))
    return fastest


def plot(out_dir: Path, tables: tuple[Path, ...] = TABLES) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    fastest = measure(tables)
    with style.page(__file__, out_dir, TITLE, height=4.6) as page:
        page.table(
            ("workload", "library", "mode", "median_ms"),
            (
                (workload, library, mode, ms)
                for workload, libraries in fastest.items()
                for library, (mode, ms) in libraries.items()
            ),
        )
        axes = page.figure.subplots()
        workloads = list(fastest)[::-1]
        for library, (colour, marker, label) in LOOKS.items():
            points = [(fastest[w][library][1], row) for row, w in enumerate(workloads) if library in fastest[w]]
            size = 7 if library == OURS else 9
            # Ours is seen where another one has the same time, and the products are seen on ours.
            on_top = {OURS: 3, PRODUCTS: 4}.get(library, 2)
            axes.plot(
                *zip(*points, strict=True), marker, color=colour, label=label, markersize=size, markeredgewidth=2.0,
                zorder=on_top,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set(xlabel="median of one training step (ms), two threads", yticks=range(len(workloads)))
        axes.set_yticklabels(workloads)
        axes.set_ylim(-0.5, len(workloads) - 0.5)
        axes.grid(axis="y", color=style.PALE)
        page.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return page.path
