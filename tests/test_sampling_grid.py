"""Parts of a volume and other samplings of it: where the samples lie, and their geometry."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from test_headers import geometries, geometry

from inrcodec.errors import LimitExceededError, RegionError
from inrcodec.limits import Limits
from inrcodec.volume.geometry import NiftiGeometry, NiftiVersion, bits_to_float, regrid
from inrcodec.volume.region import parse_region
from inrcodec.volume.sampling_grid import COORDINATE_BITS, AxisSamples, SamplingGrid

MOST = 1 << 33


def exact_coordinates(axis: AxisSamples) -> list[int]:
    n = axis.length
    positions = [Fraction(axis.first + j * axis.step, axis.divisor) for j in range(axis.count)]
    return [math.floor((2 * p + 1 - n) * (1 << COORDINATE_BITS) / n) for p in positions]


def slices(length: int) -> st.SearchStrategy[slice]:
    """Slices of an axis, of either direction, that select something."""
    return st.slices(length).filter(lambda index: bool(range(*index.indices(length))))


@st.composite
def axis_samples(draw: st.DrawFn, lengths: st.SearchStrategy[int], most: int = 50) -> AxisSamples:
    """A crop of an axis, resampled where that can be: at most ``most`` samples."""
    length = draw(lengths)
    run = draw(st.integers(1, min(length, most)))
    longest = (length - 1) // (run - 1) if run > 1 else 1
    step = draw(st.sampled_from([1, longest]) | st.integers(1, longest))
    start = draw(st.integers(0, length - 1 - (run - 1) * step))
    selected = range(start, start + run * step, step)
    axis = AxisSamples.whole(length).crop(draw(st.sampled_from([selected, selected[::-1]])))
    if step == 1 and length > 1:
        axis = axis.resample(draw(st.integers(1, most)))
    return axis


# Coordinates


@given(axis_samples(st.integers(1, 600) | st.integers(1, MOST)))
@example(AxisSamples.whole(1))
@example(AxisSamples.whole(2))
@example(AxisSamples.whole(MOST).crop(range(MOST - 7, MOST)))
@example(AxisSamples.whole(MOST).crop(range(MOST - 1, -1, 1 - MOST)))
@example(AxisSamples.whole(MOST).resample(11))
@example(AxisSamples(MOST, 5, 1 << 66, 1, (1 << 34) + 1))
def test_coordinates_are_the_floor_of_the_exact_ones(axis: AxisSamples) -> None:
    coordinates = axis.coordinates()
    assert coordinates.dtype == np.int64
    assert coordinates.tolist() == exact_coordinates(axis)


def test_coordinates_of_a_long_resampling() -> None:
    axis = AxisSamples.whole(100_003).resample(1 << 20)
    coordinates = axis.coordinates()
    assert (coordinates[1:] >= coordinates[:-1]).all()
    some = range(0, axis.count, 99_991)
    assert coordinates[some].tolist() == exact_coordinates(axis.crop(some))


def test_whole_axis() -> None:
    assert AxisSamples.whole(4).coordinates().tolist() == [-786432, -262144, 262144, 786432]
    assert AxisSamples.whole(1).coordinates().tolist() == [0]
    assert AxisSamples.whole(4).is_whole
    assert not AxisSamples.whole(4).crop(range(3, -1, -1)).is_whole


@given(st.data(), st.integers(1, 40))
def test_crop_is_a_slice_of_the_whole(data: st.DataObject, length: int) -> None:
    whole = AxisSamples.whole(length)
    index = data.draw(slices(length))
    cropped = whole.crop(range(length)[index])
    assert cropped.coordinates().tolist() == whole.coordinates()[index].tolist()
    again = data.draw(slices(cropped.count))
    twice = cropped.crop(range(cropped.count)[again])
    assert twice.coordinates().tolist() == whole.coordinates()[index][again].tolist()


@given(st.integers(2, 300), st.integers(1, 300), st.data())
def test_crop_of_a_resampling_is_a_slice_of_it(
    length: int, count: int, data: st.DataObject
) -> None:
    axis = AxisSamples.whole(length).resample(count)
    index = data.draw(slices(count))
    cropped = axis.crop(range(count)[index])
    assert cropped.coordinates().tolist() == axis.coordinates()[index].tolist()


@given(st.integers(2, MOST), st.integers(1, 1000), st.data())
def test_resampling_keeps_the_field_of_view(length: int, count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    run = AxisSamples.whole(length).crop(range(start, stop))
    samples = run.resample(count)
    assert samples.count == count
    spacing = Fraction(samples.step, samples.divisor)
    edge = Fraction(samples.first, samples.divisor) - spacing / 2
    assert (edge, edge + count * spacing) == (start - Fraction(1, 2), stop - Fraction(1, 2))
    reverse = run.crop(range(run.count - 1, -1, -1)).resample(count)
    assert reverse.coordinates().tolist() == samples.coordinates()[::-1].tolist()
    assert run.resample(run.count) == run


def test_resampling_halves_and_doubles() -> None:
    half = AxisSamples.whole(8).resample(4)
    assert (half.origin, half.spacing) == (0.5, 2.0)
    double = AxisSamples.whole(8).resample(16)
    assert (double.origin, double.spacing) == (-0.25, 0.5)


@pytest.mark.parametrize(
    "values",
    [(4, 0, 0, 1, 1), (0, 1, 0, 1, 1), (4, 4, 0, 1, 0), (4, 4, 1, 1, 1), (4, 1, -2, 3, 3)],
)
def test_samples_outside_of_the_field_of_view(values: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"field of view|no samples"):
        AxisSamples(*values)


# Grids


def test_grid_of_a_crop() -> None:
    grid = SamplingGrid.whole((10, 20, 30, 4)).crop((slice(2, 8), slice(None, None, -2), -1))
    assert grid.shape == (6, 10, 1, 4)
    assert grid.samples == 240
    assert grid.source_shape == (10, 20, 30, 4)
    assert [axis.origin for axis in grid.axes] == [2, 19, 29, 0]
    assert [axis.spacing for axis in grid.axes] == [1, -2, 1, 1]


def test_scale() -> None:
    whole = SamplingGrid.whole((10, 21, 1, 4))
    assert whole.scale(0.5).shape == (5, 10, 1, 4)
    assert whole.scale(1e-9).shape == (1, 1, 1, 4)
    assert whole.scale((2, 1, 1)).shape == (20, 21, 1, 4)
    assert whole.scale(1) == whole
    assert SamplingGrid.whole((7,)).scale(2).shape == (14,)
    one_slice = whole.crop((slice(None), slice(None, None, 2), 0, 1))
    assert one_slice.scale((2, 1, 1)).shape == (20, 11, 1, 1)
    assert SamplingGrid.whole((9, 9, 9)).crop((slice(1, 5), 3)).scale(2).shape == (8, 2, 18)


def test_respace() -> None:
    whole = SamplingGrid.whole((100, 101, 30, 4))
    voxel = (0.5, 0.5, 3.0)
    assert whole.respace(voxel, 1.0).shape == (50, 50, 90, 4)
    assert whole.respace(voxel, (1.0, 0.5, 3.0)).shape == (50, 101, 30, 4)
    assert whole.respace(voxel, voxel) == whole
    every_second = whole.crop((slice(None, None, 2),))
    assert every_second.respace(voxel, 1.0).shape == (50, 50, 90, 4)


def test_resample_beside_a_crop() -> None:
    grid = SamplingGrid.whole((8, 9, 10, 5)).crop((slice(None), slice(None, None, 2), slice(2, 8)))
    resampled = grid.resample((16, 5, 3))
    assert resampled.shape == (16, 5, 3, 5)
    assert resampled.axes[1] == grid.axes[1]
    assert (resampled.axes[2].origin, resampled.axes[2].spacing) == (2.5, 2.0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((4, 4), "2 numbers of samples for 3"),
        ((8, 0, 1), "axis y: 0 samples"),
        ((8, -1, 1), "axis y: -1 samples"),
        ((8, 9, 2), "axis z: an axis of one voxel"),
    ],
)
def test_resample_refusals(counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(RegionError, match=message):
        SamplingGrid.whole((8, 9, 1, 2)).resample(counts)


def test_an_axis_with_a_step_is_not_resampled() -> None:
    grid = SamplingGrid.whole((8, 9, 10)).crop((slice(None), slice(0, 9, 2)))
    with pytest.raises(RegionError, match=r"axis y: .*step"):
        grid.scale(2)
    with pytest.raises(RegionError, match=r"axis x: .*neighbouring"):
        SamplingGrid.whole((8,)).scale(2).scale(2)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_factors_that_are_no_size(value: float) -> None:
    grid = SamplingGrid.whole((8, 9))
    with pytest.raises(RegionError, match=r"scale .* must be"):
        grid.scale(value)
    with pytest.raises(RegionError, match=r"voxel spacing .* must be"):
        grid.respace((1.0, value), 1.0)
    with pytest.raises(RegionError, match=r"spacing .* must be"):
        grid.respace((1.0, 1.0), (1.0, value))


def test_a_factor_for_each_axis_or_one() -> None:
    with pytest.raises(RegionError, match="scale: 3 for 2 spatial axes"):
        SamplingGrid.whole((8, 9)).scale((1, 1, 1))


@pytest.mark.parametrize("factor", [2, 1000, 2**62, 1e308])
def test_too_many_samples(factor: float) -> None:
    grid = SamplingGrid.whole((4, 4, 4, 2))
    assert grid.scale(1, Limits(voxels=128)) == grid
    with pytest.raises(LimitExceededError, match="limit of 1023") as error:
        grid.scale(factor, Limits(voxels=1023))
    assert error.value.limit == "voxels"
    assert error.value.claimed == 128 * min(factor, 2**62) ** 3
    with pytest.raises(LimitExceededError):
        grid.respace((1e300,) * 3, 1e-300)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((8,), "axis x: 8 is out of range; choose from -8 to 7"),
        ((0, -10), "axis y: -10 is out of range"),
        ((0, slice(5, 5)), "axis y: the slice selects none"),
        ((0, 0, 0), "3 axes selected; the volume has 2"),
    ],
)
def test_crop_refusals(region: tuple[int | slice, ...], message: str) -> None:
    with pytest.raises(RegionError, match=message):
        SamplingGrid.whole((8, 9)).crop(region)


# Regions

SHAPE = (10, 20, 30, 4)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("2:5,:,20", (range(2, 5), range(20), range(20, 21), range(4))),
        ("-3:,:-18,-1", (range(7, 10), range(2), range(29, 30), range(4))),
        ("::3", (range(0, 10, 3), range(20), range(30), range(4))),
        ("1:9:2,::,::,::", (range(1, 9, 2), range(20), range(30), range(4))),
        ("5:100", (range(5, 10), range(20), range(30), range(4))),
        ("-100:+2", (range(2), range(20), range(30), range(4))),
        ("...", tuple(map(range, SHAPE))),
        ("...,0", (range(10), range(20), range(30), range(1))),
        ("9,...,1:3", (range(9, 10), range(20), range(30), range(1, 3))),
        ("0,0,0,...,0", (range(1),) * 4),
        (" 1 : 2 , ... ", (range(1, 2), range(20), range(30), range(4))),
        ("::999999999999", (range(1), range(20), range(30), range(4))),
    ],
)
def test_region(text: str, ranges: tuple[range, ...]) -> None:
    region = parse_region(text, SHAPE)
    assert tuple(range(n)[index] for n, index in zip(SHAPE, region, strict=True)) == ranges
    assert SamplingGrid.whole(SHAPE).crop(region).shape == tuple(map(len, ranges))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "axis x: 10 is out of range; choose from -10 to 9"),
        (":,-21", "axis y: -21 is out of range; choose from -20 to 19"),
        ("5:5", "axis x: the slice selects none of its voxels; choose within 0:10"),
        ("...,4:9", "axis t: the slice selects none"),
        ("6:2", "axis x: the slice selects none"),
        (":,::-1", "axis y: the step of '::-1' must be at least 1"),
        ("::0", "axis x: the step of '::0' must be at least 1"),
        ("0,0,0,0,0", "names 5 axes; the volume has 4"),
        ("...,...", "axis .: '...' is not a voxel"),
        ("", "axis x: '' is not a voxel from -10 to 9, nor start:stop"),
        ("1,,2", "axis y: ''"),
        ("1,", "axis y: ''"),
        ("1:2:3:4", "axis x: '1:2:3:4'"),
        ("a", "axis x: 'a'"),
        ("1.5", "axis x: '1.5'"),
        ("1e2", "axis x"),
        ("1_0", "axis x"),
        ("\u0663", "axis x"),
        ("- 1", "axis x"),
        ("9" * 5000, "axis x"),
        ("[1:2]", r"axis x: '\[1:2\]'"),
    ],
)
def test_region_refusals(text: str, message: str) -> None:
    with pytest.raises(RegionError, match=message):
        parse_region(text, SHAPE)


@given(st.text("0123456789:,.- ", max_size=12) | st.text(max_size=12))
def test_region_of_any_text(text: str) -> None:
    try:
        region = parse_region(text, SHAPE)
    except RegionError as error:
        assert "\n" not in str(error)
        return
    assert SamplingGrid.whole(SHAPE).crop(region).samples > 0


# Geometry


def geometry_of(image: nib.Nifti1Image) -> NiftiGeometry:
    """The geometry of an image that is in memory."""
    header = image.header
    return geometry(
        2 if isinstance(image, nib.Nifti2Image) else 1,
        pixdim=tuple(map(float, header["pixdim"])),
        quatern=tuple(float(header[f"quatern_{part}"]) for part in "bcd"),
        qoffset=tuple(float(header[f"qoffset_{part}"]) for part in "xyz"),
        qform_code=int(header["qform_code"]),
        srow=tuple(float(value) for axis in "xyz" for value in header[f"srow_{axis}"]),
        sform_code=int(header["sform_code"]),
        toffset=float(header["toffset"]),
    )


def affines(value: NiftiGeometry) -> tuple[np.ndarray, np.ndarray]:
    """The 4x4 matrices of qform and sform, as nibabel reads them."""
    header = nib.Nifti1Header() if value.version == 1 else nib.Nifti2Header()

    def floats(fields: tuple[int, ...]) -> list[float]:
        return [bits_to_float(bits, value.version) for bits in fields]

    header["pixdim"] = floats(value.pixdim)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = floats(value.quatern)
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = floats(value.qoffset)
    srow = np.reshape(floats(value.srow), (3, 4))
    header["srow_x"], header["srow_y"], header["srow_z"] = srow
    return header.get_qform(), header.get_sform()


@st.composite
def images(draw: st.DrawFn) -> nib.Nifti1Image:
    """An image of any orientation and handedness, the sform with shear."""
    image_class = draw(st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]))
    shape = tuple(draw(st.lists(st.integers(2, 9), min_size=3, max_size=4)))
    angles = draw(st.tuples(*[st.floats(-3.1, 3.1)] * 3))
    assume(abs(math.cos(angles[1] / 2)) > 0.1)
    zooms = draw(st.tuples(*[st.floats(0.25, 4)] * 3))
    zooms = (*zooms[:2], zooms[2] * draw(st.sampled_from([-1, 1])))
    offset = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    matrix = nib.eulerangles.euler2mat(*angles) @ np.diag(zooms)
    image = image_class(np.zeros(shape, np.int8), None)
    image.set_qform(nib.affines.from_matvec(matrix, offset), 1)
    shear = np.array([[1, draw(st.floats(-0.2, 0.2)), 0], [0, 1, 0], [0, 0, 1]])
    image.set_sform(nib.affines.from_matvec(matrix @ shear, offset), 2)
    return image


def tolerance(value: NiftiGeometry) -> float:
    # Close to a half turn NIfTI knows the first part of a quaternion to 3e-4 only, in float32 by
    # rounding, in float64 since it takes a square below 1e-7 for 0; a flip permutes the parts.
    b, c, d = (bits_to_float(bits, value.version) for bits in value.quatern)
    smallest = min(1 - b * b - c * c - d * d, b * b, c * c, d * d)
    return 2e-2 if value.version == 1 or smallest < 1e-6 else 1e-5


@given(images(), st.data())
def test_geometry_of_a_crop_is_nibabels(image: nib.Nifti1Image, data: st.DataObject) -> None:
    index = tuple(
        slice(start, data.draw(st.integers(start + 1, n)), data.draw(st.integers(1, 3)))
        for n in image.shape
        for start in [data.draw(st.integers(0, n - 1))]
    )
    grid = SamplingGrid.whole(image.shape).crop(index)
    value = regrid(geometry_of(image), grid)
    expected = image.slicer[index]
    assert grid.shape == expected.shape
    _, sform = affines(value)
    np.testing.assert_allclose(sform, expected.affine, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        value.spacing(3), image.header.get_zooms()[:3] * np.array([s.step for s in index[:3]]), 1e-6
    )


@st.composite
def grids(draw: st.DrawFn, shape: tuple[int, ...]) -> SamplingGrid:
    return SamplingGrid(tuple(draw(axis_samples(st.just(length), 12)) for length in shape))


@given(images(), st.data())
def test_samples_stay_where_they_are_in_space(image: nib.Nifti1Image, data: st.DataObject) -> None:
    grid = data.draw(grids(image.shape))
    before = geometry_of(image)
    after = regrid(before, grid)
    assert all(step > 0 for step in after.spacing(3))
    # Corners of the field of view, in samples and in voxels.
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in grid.shape[:3]])))
    voxels = np.array([a.origin for a in grid.axes[:3]]) + corners * [
        a.spacing for a in grid.axes[:3]
    ]
    qform, sform = affines(before)
    new_qform, new_sform = affines(after)
    apply = nib.affines.apply_affine
    np.testing.assert_allclose(apply(new_sform, corners), apply(sform, voxels), 1e-5, 1e-4)
    np.testing.assert_allclose(
        apply(new_qform, corners), apply(qform, voxels), rtol=0, atol=tolerance(before)
    )


@pytest.mark.parametrize("flipped", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("qfac", [1.0, -1.0])
def test_flipping_twice_gives_the_geometry_back(flipped: tuple[bool, ...], qfac: float) -> None:
    value = geometry(
        pixdim=(qfac, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0),
        quatern=(0.5, -0.5, 0.5),
        qoffset=(1.0, 2.0, 3.0),
        srow=(0.0, -2.0, 0.0, 7.0, 0.0, 0.0, 3.0, 8.0, 1.0, 0.0, 0.0, 9.0),
    )
    flip = SamplingGrid.whole((4, 5, 6)).crop(
        [slice(None, None, -1 if reverse else 1) for reverse in flipped]
    )
    once = regrid(value, flip)
    assert (once == value) == (not any(flipped))
    assert regrid(once, flip) == value


@given(geometries())
def test_whole_grid_keeps_every_bit(value: NiftiGeometry) -> None:
    for shape in [(4,), (4, 5), (4, 5, 6), (1, 5, 6, 7)]:
        assert regrid(value, SamplingGrid.whole(shape)) == value


@given(geometries(), grids((4, 5, 6, 7)))
@example(
    geometry(pixdim=(-1.0, 3e38, 1e-38, 0.0, 3e38, 1.0, 1.0, 1.0), srow=(3e38,) * 12),
    SamplingGrid.whole((9, 9, 9, 9)).crop([slice(8, None, -4)] * 4),
)
@example(
    geometry(2, quatern=(math.nan, math.inf, 1e200), pixdim=(math.nan,) * 8),
    SamplingGrid.whole((9, 9, 9, 9)).crop([slice(8, None, -4)] * 4),
)
def test_any_header_has_a_geometry(value: NiftiGeometry, grid: SamplingGrid) -> None:
    after = regrid(value, grid)
    kept = (
        *("version", "byte_order", "dim_info", "xyzt_units", "qform_code", "sform_code"),
        *("scl_slope", "scl_inter", "cal_max", "cal_min"),
        *("intent_code", "intent_p", "intent_name"),
    )
    assert all(getattr(after, name) == getattr(value, name) for name in kept)


def test_time_axis() -> None:
    value = geometry(pixdim=(1.0, 1.0, 1.0, 1.0, 2.5, 1.0, 1.0, 1.0), toffset=10.0)
    cropped = SamplingGrid.whole((4, 5, 6, 9)).crop((*[slice(None)] * 3, slice(3, None, 2)))
    after = regrid(value, cropped)
    assert after.spacing(4) == (1.0, 1.0, 1.0, 5.0)
    assert bits_to_float(after.toffset, 1) == 17.5


@pytest.mark.parametrize(
    ("slice_axis", "region", "kept"),
    [
        (3, (slice(1, 3), 2), True),
        (3, (slice(None), slice(None), slice(1, 3)), False),
        (1, (slice(1, 3), 2), False),
        (0, (slice(1, 3),), False),
        (0, (slice(None), slice(None), slice(None), 2), True),
    ],
)
def test_slice_timing(slice_axis: int, region: tuple[int | slice, ...], kept: bool) -> None:
    timing = {"slice_code": 1, "slice_start": 0, "slice_end": 5, "slice_duration": 0.5}
    value = geometry(dim_info=slice_axis << 4 | 0b0110, **timing)
    after = regrid(value, SamplingGrid.whole((4, 5, 6, 9)).crop(region))
    assert after.dim_info == value.dim_info
    expected = {name: getattr(value, name) if kept else 0 for name in timing}
    assert {name: getattr(after, name) for name in timing} == expected


@pytest.mark.parametrize("version", [1, 2])
def test_samples_beyond_a_nifti1_header(version: NiftiVersion) -> None:
    grid = SamplingGrid.whole((30000, 2)).scale((2, 1))
    if version == 2:
        assert regrid(geometry(2), grid).spacing(1) == (0.5,)
        return
    with pytest.raises(RegionError, match="axis x: 60000 samples do not fit a NIfTI-1 header"):
        regrid(geometry(1), grid)
