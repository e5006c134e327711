"""inrcodec itself, measured as its peers are."""

from __future__ import annotations

import time
from dataclasses import dataclass

from inrcodec import __version__
from inrcodec.bench.codecs.codec import Coded, UnreachableError
from inrcodec.bench.measurement import OWN
from inrcodec.errors import BudgetError
from inrcodec.planner import Preset
from inrcodec.volume.volume import Volume


@dataclass(frozen=True, slots=True)
class Moec:
    """It is asked for the size. The whole ``.moec`` file counts, with the volume's geometry."""

    preset: Preset
    threads: int

    @property
    def name(self) -> str:
        return OWN if self.preset is Preset.MEDIUM else f"{OWN} {self.preset.value}"

    @property
    def settings(self) -> str:
        return f"preset {self.preset.value}"

    def missing(self) -> None:
        return None

    def version(self) -> str:
        return f"inrcodec {__version__}"

    def open(self, volume: Volume) -> MoecCoder:
        return MoecCoder(volume, self.preset, self.threads)


@dataclass(frozen=True, slots=True, eq=False)
class MoecCoder:
    """inrcodec at work on one volume."""

    volume: Volume
    preset: Preset
    threads: int

    def within(self, size: int) -> Coded:
        """See `Coder.within`; the seconds of encoding include the decoding that always follows."""
        from inrcodec.decoder import decode_bytes
        from inrcodec.encoder import Target, encode_volume

        begin = time.perf_counter()
        try:
            data, report = encode_volume(
                self.volume,
                target=Target(file_bytes=size),
                preset=self.preset,
                device="cpu",
                threads=self.threads,
            )
        except BudgetError:
            raise UnreachableError from None
        encode_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        decoded = decode_bytes(data, device="cpu", threads=self.threads)
        return Coded(
            decoded=decoded.data,
            size=report.file_bytes,
            parameter=None,
            factor=1,
            encode_seconds=encode_seconds,
            decode_seconds=time.perf_counter() - begin,
            ends=False,
        )
