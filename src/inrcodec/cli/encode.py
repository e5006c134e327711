"""``inrcodec encode``."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from inrcodec.architecture import Activation, Partition
from inrcodec.cli import options
from inrcodec.cli.errors import cli_errors
from inrcodec.cli.progress import progress_display
from inrcodec.cli.report import check_pictures, report_option, shown_name, write_pictures
from inrcodec.cli.streams import STANDARD, check_moec_output, moec_output, standard_output
from inrcodec.cli.tables import chunks_row, network_row, print_table, size_row
from inrcodec.planner import Allocation, NetworkChoice, Preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inrcodec.compare import Comparison
    from inrcodec.encoder import EncodeReport
    from inrcodec.progress import OnProgress
    from inrcodec.volume.volume import Volume

_PRESETS = [preset.value for preset in Preset]
_MAKE_THE_FILE = (
    "ratio", "file_bytes", "bpv", "psnr", "preset", "time_limit", "partition", "experts",
    "active_experts", "activation", "octree_allocation", "seed", "metadata", "nonfinite", "device",
    "threads",
)  # fmt: skip
"""Options that a report tells of."""

_AUTO = "auto"
_PARTITIONS = [_AUTO, *(partition.value for partition in Partition)]
_ACTIVATIONS = [activation.value for activation in Activation]
_ALLOCATIONS = [allocation.value for allocation in Allocation]


def _finite(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command()
@click.argument("source", type=options.FILE)
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    help="The .moec file; - is standard output.  [default: SOURCE with .moec for its suffix]",
)
@click.option(
    "-r",
    "--ratio",
    type=click.FloatRange(min=1),
    callback=_finite,
    metavar="R",
    help="Size: a file of at most 1/R of the stored voxels' bytes.",
)
@click.option(
    "--bytes",
    "--max-bytes",
    "file_bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Size: a file of at most N bytes.",
)
@click.option(
    "--bpv",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    metavar="X",
    help="Size: a file of at most X bits per voxel.",
)
@click.option(
    "--psnr",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    metavar="DB",
    help="Quality: the smallest file that has DB (peak: the value range); a size beside it bounds "
    "the search.",
)
@click.option(
    "--preset",
    type=click.Choice(_PRESETS),
    default=Preset.MEDIUM.value,
    show_default=True,
    help="How long to fit: about 1, 4 or 20 minutes on two cores.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    metavar="MIN",
    help="Take about MIN minutes at the most: the best file that can be made in them, even if it "
    "falls short of --psnr.",
)
@click.option(
    "--partition",
    type=click.Choice(_PARTITIONS),
    default=_AUTO,
    show_default=True,
    help="Networks to share the volume out among: one for all of it; one for each cell of an "
    "octree (TINC); experts whose regions a small gate of its own learns (MoEC), or one that reads "
    "the experts' features too (Neural Experts). auto goes by the size.",
)
@click.option(
    "--experts",
    type=click.IntRange(2, 256),
    metavar="N",
    help="Number of experts of moec or neural-experts; with --partition auto, of moec.  "
    "[default: by the size]",
)
@click.option(
    "--active-experts",
    type=click.IntRange(1, 2),
    metavar="N",
    help="Experts that act on each voxel: 2 blend at their borders, and take longer to decode.  "
    "[default: 1]",
)
@click.option(
    "--activation",
    type=click.Choice(_ACTIVATIONS),
    default=Activation.SINE.value,
    show_default=True,
    help="Of the hidden layers: sines, or sines whose frequency grows with their phase (FINER).",
)
@click.option(
    "--octree-allocation",
    type=click.Choice(_ALLOCATIONS),
    help="Widths of an octree's networks: alike on a level, or by how much the voxels of a cell "
    "vary.  [default: even]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, (1 << 32) - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of everything random in the fit.",
)
@click.option(
    "--metadata",
    type=click.Choice(["geometry", "full", "none"]),
    default="geometry",
    show_default=True,
    help="What to keep of the header: what shows the image right; all of it, which may identify a "
    "patient; nothing but shape and type.",
)
@click.option(
    "--nonfinite",
    type=click.Choice(["refuse", "zero"]),
    default="refuse",
    show_default=True,
    help="NIfTI: what to do with NaN and infinite voxels.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Keep the fit's state in this file: after an interruption, the same command goes on.",
)
@click.option(
    "--series",
    metavar="UID|N",
    help="DICOM: which series of a folder or archive; without it, several are listed.",
)
@click.option(
    "--allow-irregular",
    is_flag=True,
    help="DICOM: accept slices at unequal steps, which keep their positions.",
)
@report_option
@options.device
@options.threads
@options.force
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
@options.quiet
@options.debug
def encode(
    source: Path,
    output: Path | None,
    ratio: float | None,
    file_bytes: int | None,
    bpv: float | None,
    psnr: float | None,
    preset: str,
    time_limit: float | None,
    partition: str,
    experts: int | None,
    active_experts: int | None,
    activation: str,
    octree_allocation: str | None,
    seed: int,
    metadata: Literal["geometry", "full", "none"],
    nonfinite: Literal["refuse", "zero"],
    series: str | None,
    allow_irregular: bool,
    checkpoint: Path | None,
    report: Path | None,
    device: str,
    threads: int | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Encode a NIfTI file or a DICOM series to a .moec file.

    SOURCE is a .nii or .nii.gz file; or a folder, a zip or tar archive, or a file of DICOM. Give
    the size of the .moec file by exactly one of --ratio, --bytes and --bpv, or its quality by
    --psnr. The figures reported are measured on the decoded file.
    """
    sizes = sum(size is not None for size in (ratio, file_bytes, bpv))
    if sizes > 1 or (sizes == 0 and psnr is None):
        raise click.UsageError(
            "give exactly one of -r/--ratio, --bytes and --bpv (say, -r 1000), or --psnr."
        )
    if psnr is not None and checkpoint is not None:
        raise click.UsageError("--psnr takes several fits: leave --checkpoint out.")
    if checkpoint is not None and time_limit is not None:
        raise click.UsageError("--checkpoint and --time-limit do not go together: leave one out.")
    output = output or _default_output(source)
    if output == STANDARD and as_json:
        raise click.UsageError("-o - and --json both write to standard output: name a file.")
    if output != STANDARD and output.suffix.lower() != ".moec":
        raise click.UsageError(f"the output {output} must end in .moec.")
    try:
        network = NetworkChoice(
            None if partition == _AUTO else Partition(partition),
            experts,
            active_experts,
            Activation(activation),
            None if octree_allocation is None else Allocation(octree_allocation),
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    with cli_errors(debug):
        check_moec_output(output, force)
        check_pictures(report, None, force)
        with progress_display(quiet) as on_progress:
            if checkpoint is not None:
                from inrcodec.fitting.checkpoint import check_checkpoint, remove_checkpoint

                check_checkpoint(checkpoint, output)
            from inrcodec.volume.read import read_volume

            volume = read_volume(
                source, nonfinite=nonfinite, series=series, allow_irregular=allow_irregular
            )
            if volume.skipped and not quiet:
                click.echo(f"inrcodec: {volume.skipped} files are no DICOM images", err=True)

            from inrcodec.encoder import Target, encode_volume

            decoded: list[NDArray[Any]] = []
            data, found = encode_volume(
                volume,
                target=Target(ratio, file_bytes, bpv, psnr),
                preset=Preset(preset),
                network=network,
                metadata=metadata,
                device=device,
                threads=threads,
                seed=seed,
                checkpoint=checkpoint,
                time_limit=math.inf if time_limit is None else 60 * time_limit,
                on_decoded=decoded.append,
                on_progress=on_progress,
            )
        with moec_output(output, force) as file:
            file.write(data)
        if psnr is not None and found.quality.psnr_range < psnr and not quiet:
            click.echo(
                f"inrcodec: {psnr:g} dB were not reached in {time_limit:g} minutes: this file came "
                "nearest",
                err=True,
            )
        if found.short_of_time and psnr is None and not quiet:
            click.echo(
                f"inrcodec: smaller than asked for: --preset {preset} has no time for a larger "
                "network",
                err=True,
            )
        if checkpoint is not None:
            remove_checkpoint(checkpoint)
        if report is not None:
            from inrcodec.report.content import Content, Encoded

            with progress_display(quiet) as on_progress:
                content = Content(
                    volume,
                    decoded[0],
                    shown_name(source),
                    "standard output" if output == STANDARD else shown_name(output),
                    _compare(volume, decoded[0], on_progress),
                    Encoded.of(data, found.seconds, _settings(), device=device, threads=threads),
                )
                write_pictures(content, report, None, force, on_progress)
        with standard_output():
            if as_json:
                click.echo(json.dumps(_report_dict(output, found), indent=2))
            elif not quiet:
                print_table(_report_rows(output, found), err=output == STANDARD)


def _settings() -> dict[str, str]:
    """The options that make the file, as they were given or are by default."""
    context = click.get_current_context()
    return {
        option.opts[-1]: str(value)
        for option in context.command.params
        if option.name in _MAKE_THE_FILE and (value := context.params[option.name]) is not None
    }


def _compare(volume: Volume, decoded: NDArray[Any], on_progress: OnProgress) -> Comparison:
    from inrcodec.compare import compare
    from inrcodec.pair import Pair

    pair = Pair(volume, decoded, mask=None, rescaled=False)
    return compare(
        volume.data, decoded, spacing=pair.spacing, unit=pair.unit, on_progress=on_progress
    )


def _default_output(source: Path) -> Path:
    if source.name in ("", ".."):  # of a folder
        source = Path(os.path.abspath(source))
    name = source.name
    for suffix in (".nii.gz", ".nii", ".dcm", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return source.parent / f"{name}.moec"


def _dtype_peak(report: EncodeReport) -> int | None:
    dtype = report.header.dtype
    return None if dtype.kind == "f" else (1 << 8 * dtype.itemsize) - 1


def _report_rows(output: Path, report: EncodeReport) -> dict[str, str]:
    quality = report.quality
    psnr = f"{quality.psnr_range:.2f} dB (peak {quality.value_range:g}, the value range)"
    if quality.psnr_dtype is not None:
        psnr += f"\n{quality.psnr_dtype:.2f} dB (peak {_dtype_peak(report)}, the dtype's)"
    return {
        "file": "standard output" if output == STANDARD else str(output),
        "size": size_row(report.file_bytes, report.ratio, report.bits_per_voxel),
        "PSNR": psnr,
        "SSIM": f"{quality.ssim:.4f}",
        "error": f"{quality.max_error:.6g} at most, {quality.mae:.4g} on average",
        "chunks": chunks_row(report.chunk_bytes),
        "network": network_row(report.architecture, report.bits_per_weight),
        "time": ", ".join(f"{stage} {lap:.1f} s" for stage, lap in report.seconds.items()),
    }


def _report_dict(output: Path, report: EncodeReport) -> dict[str, Any]:
    from inrcodec.info import network_dict

    quality, a = report.quality, report.architecture
    return {
        "file": str(output),
        "bytes": report.file_bytes,
        "ratio": report.ratio,
        "bits_per_voxel": report.bits_per_voxel,
        "shape": list(report.header.shape),
        "dtype": report.header.dtype.name,
        "psnr": _json_number(quality.psnr_range),
        "psnr_peak": _json_number(quality.value_range),
        "psnr_dtype": _json_number(quality.psnr_dtype),
        "psnr_dtype_peak": _dtype_peak(report),
        "ssim": _json_number(quality.ssim),
        "max_error": _json_number(quality.max_error),
        "mae": _json_number(quality.mae),
        "mse": _json_number(quality.mse),
        "network": None if a is None else network_dict(a),
        "bits_per_weight": report.bits_per_weight,
        "chunks": report.chunk_bytes,
        "seconds": report.seconds,
        "short_of_time": report.short_of_time,
    }


def _json_number(value: float | None) -> float | None:
    # JSON has no infinity: the PSNR of equal volumes, errors near float64's largest.
    return value if value is not None and math.isfinite(value) else None
