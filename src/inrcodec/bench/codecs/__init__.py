"""The codecs that can be measured, by name."""

from __future__ import annotations

from inrcodec.bench.codecs.codec import Codec
from inrcodec.bench.codecs.jpeg2000 import Jpeg2000
from inrcodec.bench.codecs.jpegxl import JpegXl
from inrcodec.bench.codecs.moec import Moec
from inrcodec.bench.codecs.sperr import Sperr
from inrcodec.bench.codecs.svtav1 import SvtAv1
from inrcodec.bench.codecs.sz3 import Sz3
from inrcodec.bench.codecs.tthresh import Tthresh
from inrcodec.bench.codecs.x265 import X265
from inrcodec.bench.codecs.zfp import Zfp
from inrcodec.bench.measurement import OWN
from inrcodec.planner import Preset


def all_codecs(preset: Preset, threads: int) -> dict[str, Codec]:
    """Each codec by the name that it is asked for by; ``preset`` is inrcodec's."""
    peers: tuple[Codec, ...] = (
        X265(threads),
        SvtAv1(threads),
        Jpeg2000(threads),
        JpegXl(threads),
        Sperr(),
        Sz3(),
        Zfp(),
        Tthresh(),
    )
    return {OWN: Moec(preset, threads)} | {peer.name: peer for peer in peers}
