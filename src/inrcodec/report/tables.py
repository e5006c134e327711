"""The figures of a report, as names and texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from inrcodec import __version__
from inrcodec.bitstream.container import PREAMBLE_BYTES, ChunkType
from inrcodec.compare import Agreement
from inrcodec.info import Info
from inrcodec.report.content import Content


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts, the first of each its name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def key_figures(content: Content) -> Iterable[tuple[str, str]]:
    """The figures at the top of a report."""
    data, geometry = content.original.data, content.original.geometry
    quality = content.comparison.whole.quality
    if content.encoded is not None:
        info = content.encoded.info
        yield "ratio", f"{info.ratio:,.0f} : 1" if info.ratio >= 100 else f"{info.ratio:.3g} : 1"
        yield "file", f"{info.file_bytes:,} bytes"
    yield "PSNR", decibel(quality.psnr_range)
    yield "SSIM", f"{quality.ssim:.4f}"
    yield "volume", " x ".join(map(str, data.shape))
    yield "voxels", f"{data.dtype.name}, {data.nbytes:,} bytes"
    unit = geometry.units(1)[0] or ""
    yield "spacing", f"{' x '.join(f'{s:.3g}' for s in geometry.spacing(min(data.ndim, 3)))} {unit}"
    if content.modality is not None:
        yield "modality", content.modality


def agreement(content: Content) -> Table:
    """All figures of the comparison, of the whole volume and of the foreground."""
    comparison = content.comparison
    parts = [("whole volume", comparison.whole)]
    if comparison.foreground is not None:
        parts.append(("foreground", comparison.foreground))
    names = [name for name, _ in parts]
    columns = [_agreement_rows(part) for _, part in parts]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return Table(("", *names), tuple(rows))


def _agreement_rows(part: Agreement) -> dict[str, str]:
    quality = part.quality
    rows = {
        "voxels": f"{part.voxels:,}",
        f"PSNR (peak {quality.value_range:g}, the value range)": decibel(quality.psnr_range),
    }
    if quality.psnr_dtype is not None:
        rows["PSNR (peak: the dtype's maximum)"] = decibel(quality.psnr_dtype)
    rows |= {
        "SSIM": f"{quality.ssim:.4f}",
        "root mean squared error": f"{math.sqrt(quality.mse):.4g}",
        "mean absolute error": f"{quality.mae:.4g}",
        "largest error": f"{quality.max_error:.6g}",
    }
    for percent, value in part.percentiles.items():
        rows[f"{percent:g} % of the errors are at most"] = f"{value:.4g}"
    rows["relative error of the gradients"] = f"{part.gradient_error:.3f}"
    return rows


def rate(info: Info) -> Table:
    """Bytes by chunk of a ``.moec`` file."""
    sizes = {"preamble": PREAMBLE_BYTES}
    sizes |= {_chunk_name(letter): size for letter, size in info.chunk_bytes.items()}
    rows = []
    for name, size in sizes.items():
        weights = "—"
        if name == "network" and info.bits_per_weight is not None:
            weights = f"{info.bits_per_weight:.2f}"
        rows.append((name, f"{size:,}", f"{size / info.file_bytes:.1%}", weights))
    total = f"{info.file_bytes:,}"
    rows.append(("file", total, "100%", f"{info.bits_per_voxel:.3g} bits per voxel"))
    return Table(("chunk", "bytes", "share", "bits per weight"), tuple(rows))


def _chunk_name(letter: str) -> str:
    try:
        return ChunkType(ord(letter)).name.lower().replace("dicom", "DICOM")
    except ValueError:  # an ancillary chunk of a later version
        return letter


def settings(content: Content) -> Table:
    """How the file was made."""
    rows: list[tuple[str, str]] = []
    if content.encoded is not None:
        a = content.encoded.info.architecture
        if a is None:
            rows.append(("network", "none: all voxels have one value"))
        else:
            rows += [
                ("partition", a.partition.value),
                ("activation", a.activation.value),
                ("network", ", ".join(a.description())),
                ("weights", f"{a.parameters:,}"),
            ]
            if a.paths > 1:
                rows.append(("weights at each voxel", f"{a.active_parameters:,}"))
        rows.append(("format version", str(content.encoded.info.format_version)))
        rows += content.encoded.options.items()
        for stage, seconds in content.encoded.seconds.items():
            rows.append((f"time to {stage}", f"{seconds:.1f} s"))
    rows.append(("report by", f"inrcodec {__version__}"))
    return Table(("", ""), tuple(rows))


def decibel(value: float) -> str:
    """A PSNR as text."""
    return "exact" if value == math.inf else f"{value:.2f} dB"
