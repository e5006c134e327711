"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from inrcodec.bench.measurement import ENDS, OWN, Measurement, is_own
from inrcodec.bench.rates import RatePoint, bd_psnr, bd_rate

Rows = Sequence[Measurement]


def curves(rows: Iterable[Measurement]) -> dict[str, dict[str, list[RatePoint]]]:
    """The files measured, by volume and codec."""
    found: dict[str, dict[str, list[RatePoint]]] = {}
    for row in rows:
        points = found.setdefault(row.subject.volume, {}).setdefault(row.subject.codec, [])
        if row.bytes is not None and row.psnr is not None:
            points.append(RatePoint(row.bytes, row.psnr))
    return found


def markdown(rows: Rows, missing: Mapping[str, str]) -> str:
    """All tables: PSNR at a glance, BD-rate and BD-PSNR, each file, and the versions.

    ``missing`` says of each codec without a measurement why.
    """
    parts = [_overview(rows), _differences(rows), _details(rows), _versions(rows)]
    if missing:
        lines = [f"- {name}: {what}" for name, what in missing.items()]
        parts.append("## Not measured\n\n" + "\n".join(lines) + "\n")
    return "\n".join(part for part in parts if part)


def _overview(rows: Rows) -> str:
    """A line for each volume and ratio, a column for each codec; the best is bold."""
    codecs = list(dict.fromkeys(row.subject.codec for row in rows))
    codecs.sort(key=lambda codec: not is_own(codec))
    cells: dict[tuple[str, float], dict[str, Measurement]] = {}
    for row in rows:
        subject = row.subject
        cells.setdefault((subject.volume, subject.target), {})[subject.codec] = row
    lines = []
    for (volume, target), measured in sorted(cells.items(), key=lambda item: item[0]):
        best = max((row.psnr for row in measured.values() if row.psnr is not None), default=None)
        lines.append([volume, f"{target:g}", *(_psnr(measured.get(c), best) for c in codecs)])
    return (
        "## PSNR in dB, the range of the values as its peak\n\n"
        "Files of at most 1/ratio of the voxels' bytes. A dash: it makes no file that small.\n"
        "↓2 and ↓4: of a volume that was down-sampled by that along each axis.\n"
        "†: the codec's finest setting, which leaves more than 1 % of these bytes unused.\n\n"
        + _table(["volume", "ratio", *codecs], lines)
    )


def _psnr(row: Measurement | None, best: float | None) -> str:
    if row is None:
        return ""
    if row.psnr is None:
        return "failed" if row.note.startswith("failed") else "-"
    text = f"{row.psnr:.2f}"
    if row.psnr == best:
        text = f"**{text}**"
    if row.factor != 1:
        text += f" ↓{row.factor}"
    return f"{text} †" if row.note == ENDS else text


def _differences(rows: Rows) -> str:
    """inrcodec, by each preset, against each peer, over the ratios that both have."""
    lines = []
    for volume, by_codec in curves(rows).items():
        ours = [codec for codec in by_codec if is_own(codec)]
        peers = [codec for codec in by_codec if not is_own(codec)]
        for own, peer in product(ours, peers):
            rate = bd_rate(by_codec[peer], by_codec[own])
            psnr = bd_psnr(by_codec[peer], by_codec[own])
            cells = [
                "no PSNR in common" if rate is None else f"{rate:+.1f} %",
                "no size in common" if psnr is None else f"{psnr:+.2f} dB",
            ]
            lines.append([volume, own, peer, *cells])
    if not lines:
        return ""
    return (
        f"## {OWN} against each peer\n\n"
        "BD-rate: bytes more (+) or less (-) at equal PSNR; BD-PSNR: dB more (+) or less (-) at\n"
        "equal bytes; both on average over what the two curves have in common. BD-rate is without\n"
        "files that a smaller one of the same codec reaches or surpasses, BD-PSNR with them.\n\n"
        + _table(["volume", "codec", "peer", "BD-rate", "BD-PSNR"], lines)
    )


def _details(rows: Rows) -> str:
    header = ["volume", "codec", "asked", "ratio", "bytes", "PSNR", "PSNR dtype", "SSIM"]
    header += ["largest error", "down", "encode s", "decode s"]
    lines = []
    for row in rows:
        subject = row.subject
        line = [subject.volume, subject.codec, f"{subject.target:g}"]
        if row.bytes is None:
            line.append(row.note)
        else:
            line += [_number(row.ratio, 1), f"{row.bytes:,}", _number(row.psnr, 2)]
            line += [_number(row.psnr_dtype, 2), _number(row.ssim, 4), f"{row.max_error:g}"]
            line += [str(row.factor), _number(row.encode_seconds, 1)]
            line += [_number(row.decode_seconds, 1)]
        lines.append(line + [""] * (len(header) - len(line)))
    return "## Each file\n\n" + _table(header, lines)


def _versions(rows: Rows) -> str:
    found = dict.fromkeys(
        (row.subject.codec, row.subject.version, row.subject.settings) for row in rows
    )
    return "## Versions and settings\n\n" + _table(["codec", "version", "settings"], found)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
