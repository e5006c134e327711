"""Measuring codecs on volumes, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from inrcodec.bench.codecs.codec import Codec, Coder, UnreachableError
from inrcodec.bench.measurement import ENDS, Measurement, Results, Subject
from inrcodec.bench.plot import OVERVIEW
from inrcodec.errors import InputError, PeerError
from inrcodec.metrics import measure
from inrcodec.volume.checksum import checksum
from inrcodec.volume.read import read_volume
from inrcodec.volume.volume import Volume

_SUFFIXES = (".nii.gz", ".nii", ".dcm", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar")

OnStart = Callable[[Subject, int, int], None]
"""Told before each measurement: what, its number from 1, and how many there are."""

OnEnd = Callable[[Measurement], None]
"""Told after each measurement that had to be made."""


def bench(
    volumes: Mapping[str, Path],
    codecs: Sequence[Codec],
    ratios: Iterable[float],
    results: Results,
    on_start: OnStart,
    on_end: OnEnd,
) -> None:
    """Measure each codec on each volume at each ratio, but for what ``results`` has already.

    Each measurement is in ``results`` as soon as it is made. A codec that fails, or makes no file
    that small, has that measured. Raises an `InputError` for a volume that cannot be read or has
    one value only.
    """
    ratios = sorted(set(map(float, ratios)))
    versions = [codec.version() for codec in codecs]
    total, number = len(volumes) * len(codecs) * len(ratios), 0
    for name, path in volumes.items():
        volume = read_volume(path)
        for codec, version in zip(codecs, versions, strict=True):
            coder: Coder | None = None  # made once something has to be measured
            for ratio in ratios:
                number += 1
                subject = _subject(name, volume, codec, version, ratio)
                on_start(subject, number, total)
                if results.has(subject):
                    continue
                coder = coder or codec.open(volume)
                row = _measured(subject, volume, coder)
                results.add(row)
                on_end(row)


def by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """Files and folders by the names that results have of them.

    Raises an `InputError` for one that is not there, two of one name, and one named as `OVERVIEW`.
    """
    found: dict[str, Path] = {}
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        name = volume_name(path)
        if name in found:
            raise InputError(f"{name}: two volumes have this name: rename one of them")
        if name.lower() == OVERVIEW:  # some file systems do not tell letters' cases apart
            raise InputError(f"{path}: the plot of all volumes has this name: rename the file")
        found[name] = path
    return found


def volume_name(path: Path) -> str:
    """The name of a file or folder, without a suffix that volumes have."""
    name = path.resolve().name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _subject(name: str, volume: Volume, codec: Codec, version: str, ratio: float) -> Subject:
    data = volume.data
    return Subject(
        volume=name,
        shape="x".join(map(str, data.shape)),
        dtype=data.dtype.name,
        raw_bytes=data.nbytes,
        checksum=f"{checksum(data):08x}",
        codec=codec.name,
        version=version,
        settings=codec.settings,
        target=ratio,
    )


def _measured(subject: Subject, volume: Volume, coder: Coder) -> Measurement:
    date = datetime.now(UTC).date().isoformat()
    try:
        coded = coder.within(int(subject.raw_bytes / subject.target))
    except UnreachableError as error:
        note = str(error)
        if error.smallest is not None:
            best = subject.raw_bytes / error.smallest
            note += f": {error.smallest} bytes at least, a ratio of {best:.0f}"
        return Measurement(subject, date, note=note)
    except PeerError as error:
        return Measurement(subject, date, note=f"failed: {error}")
    quality = measure(volume.data, coded.decoded)
    return Measurement(
        subject,
        date,
        bytes=coded.size,
        ratio=round(subject.raw_bytes / coded.size, 2),
        psnr=round(quality.psnr_range, 4),
        psnr_dtype=None if quality.psnr_dtype is None else round(quality.psnr_dtype, 4),
        ssim=round(quality.ssim, 6),
        max_error=quality.max_error,
        factor=coded.factor,
        parameter=None if coded.parameter is None else round(coded.parameter, 6),
        encode_seconds=round(coded.encode_seconds, 2),
        decode_seconds=round(coded.decode_seconds, 2),
        note=ENDS if coded.ends else "",
    )
