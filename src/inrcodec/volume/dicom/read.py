"""Reading a DICOM series: headers first, all checks, then the pixels plane by plane."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InputError, NonFiniteError, OutOfMemoryError, UnsupportedVolumeError
from inrcodec.limits import DEFAULT_LIMITS, Limits
from inrcodec.volume.dicom.attributes import settle, split
from inrcodec.volume.dicom.catalog import Catalog, read_catalog
from inrcodec.volume.dicom.damage import damage_reported
from inrcodec.volume.dicom.files import Source
from inrcodec.volume.dicom.geometry import thickness
from inrcodec.volume.dicom.header import Header, open_dataset
from inrcodec.volume.dicom.pixels import PixelFormat, pixel_format, read_frames
from inrcodec.volume.dicom.series import DicomSeries
from inrcodec.volume.dicom.slices import Slice, frame_count, slices
from inrcodec.volume.dicom.stack import stack


def read_dicom(
    path: str | Path,
    *,
    series: str | None = None,
    allow_irregular: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> DicomSeries:
    """Read the stored values and the attributes of a series.

    ``path`` is a folder (searched with all folders in it), a zip or tar archive (.tar, .tar.gz,
    .tar.bz2, .tar.xz), or one file. Files that are no DICOM images are passed over and counted. A
    multi-frame file is a series for itself; a single-frame file that is given alone is one slice.

    ``series`` chooses among several, by SeriesInstanceUID or by number: call without it, and the
    error lists them. ``allow_irregular`` accepts slices that are not at equal steps along a line,
    as long as they are parallel; the series then has an affine of equal steps from the first to the
    last, and each slice its own position in ``frames``.

    Raises ``InputError`` for what is missing, damaged or truncated, for gaps, duplicates and
    mixtures of images, and for `SeveralSeriesError` several series; ``UnsupportedVolumeError`` for
    colour, for encodings without a decoder here, and for geometry that is no regular stack;
    ``NonFiniteError`` for NaN and infinite voxels; ``OutOfMemoryError``. Nothing is allocated for
    the voxels before all headers are read and checked.
    """
    source = Source(Path(path), limits)
    with warnings.catch_warnings():
        # pydicom warns of every breach of the standard; those that matter are errors here.
        warnings.simplefilter("ignore")
        catalog = read_catalog(source)
        return _read_series(catalog, catalog.choose(series), allow_irregular)


def _read_series(
    catalog: Catalog, headers: tuple[Header, ...], allow_irregular: bool
) -> DicomSeries:
    source = catalog.source
    name = headers[0].name if len(headers) == 1 else str(source.path)
    count = sum(map(frame_count, headers))
    if count > source.limits.planes:
        raise UnsupportedVolumeError(
            f"{name}: {count} slices; at most {source.limits.planes} are supported"
        )
    forms = {header.number: pixel_format(header, frame_count(header)) for header in headers}
    times = stack([item for header in headers for item in slices(header)], name, allow_irregular)
    shape = _shape(times, forms[headers[0].number])
    voxels = math.prod(shape)
    if voxels > source.limits.voxels:
        raise UnsupportedVolumeError(
            f"{name}: {voxels} voxels; at most {source.limits.voxels} are supported"
        )
    enhanced = "PerFrameFunctionalGroupsSequence" in headers[0].dataset
    planes = [item for time in times for item in time]
    with damage_reported(name):
        if enhanced:
            shared, frames = _settle_enhanced(headers[0], planes)
        else:
            datasets = [item.header.dataset for item in planes]
            little = [item.header.is_little_endian for item in planes]
            shared, frames = split(datasets, [item.name for item in planes], little)
    if len(times[0]) == 1:
        thickness(frames[0], shared, planes[0].name)
    data = _read_data(source, headers, forms, times, shape)
    return DicomSeries(data, shared, frames, enhanced, catalog.skipped)


def _settle_enhanced(header: Header, planes: list[Slice]) -> tuple[Any, tuple[Any, ...]]:
    whole = settle(header.dataset, header.is_little_endian)
    items = whole.PerFrameFunctionalGroupsSequence
    del whole.PerFrameFunctionalGroupsSequence
    return whole, tuple(items[item.index] for item in planes)


def _shape(times: list[list[Slice]], form: PixelFormat) -> tuple[int, ...]:
    """Return (X, Y, Z), or (X, Y, Z, T) where there is more than one time."""
    shape = (form.columns, form.rows, len(times[0]), len(times))
    return shape if len(times) > 1 else shape[:3]


def _read_data(
    source: Source,
    headers: tuple[Header, ...],
    forms: dict[int, PixelFormat],
    times: list[list[Slice]],
    shape: tuple[int, ...],
) -> NDArray[Any]:
    places = {
        (item.header.number, item.index): (z, t)
        for t, time in enumerate(times)
        for z, item in enumerate(time)
    }
    expected = {header.number: header for header in headers}
    dtype = forms[headers[0].number].dtype
    try:
        data: NDArray[Any] = np.empty(shape, dtype, order="F")
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{source.path}: {math.prod(shape)} voxels do not fit in memory"
        ) from error
    volumes = data.reshape(*shape[:3], -1, order="F")
    unread = set(places)
    for number, name, stream in source.files(wanted=expected):
        header = expected[number]
        if stream is None or name != header.name:
            raise InputError(f"{name}: changed while it was read")
        _, stream = open_dataset(name, stream, source.limits)
        for index, frame in enumerate(read_frames(stream, header, forms[number])):
            z, t = places[number, index]
            volumes[:, :, z, t] = frame.T
            unread.discard((number, index))
            if dtype.kind == "f" and not np.isfinite(frame).all():
                raise NonFiniteError(f"{name}: some voxels are NaN or infinite")
    if unread:
        raise InputError(f"{source.path}: changed while it was read")
    return data
