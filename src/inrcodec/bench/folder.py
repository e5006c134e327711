"""The folder of results: the measurements, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from inrcodec.bench.measurement import Results
from inrcodec.bench.plot import write_plots
from inrcodec.bench.table import markdown
from inrcodec.errors import MissingPackageError, OutputError
from inrcodec.output import atomic_output


def open_results(folder: Path) -> Results:
    """The measurements in a folder, which is created where it is not there.

    Raises `MissingPackageError` where matplotlib is missing, before hours are spent, `OutputError`
    for a folder that cannot be created, and `InputError` for measurements that cannot be read.
    """
    if find_spec("matplotlib") is None:
        raise MissingPackageError(
            "plots need matplotlib: install it with pip install 'inrcodec[bench]'"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from None
    return Results(folder / "measurements.csv")


def write_summary(folder: Path, results: Results, missing: Mapping[str, str]) -> list[Path]:
    """Write ``tables.md`` and the plots of all that was measured, and return their paths.

    ``missing`` says of each codec without a measurement why.
    """
    rows = list(results)
    tables = folder / "tables.md"
    with atomic_output(tables, overwrite=True) as file:
        file.write(markdown(rows, missing).encode())
    return [tables, *write_plots(rows, folder)]
