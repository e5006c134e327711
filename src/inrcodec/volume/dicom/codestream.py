"""What an encoded frame says of its own size, before a decoder spends memory on it."""

from __future__ import annotations

from pydicom import uid
from pydicom.uid import UID

JPEG_2000 = frozenset([*uid.JPEG2000TransferSyntaxes])
"""JPEG 2000 and High-Throughput JPEG 2000."""

_SOC_SIZ = b"\xff\x4f\xff\x51"
_SOI = b"\xff\xd8"
_END = b"\xff\xd9"
"""EOI of JPEG, EOC of JPEG 2000: the same bytes."""
_END_WITHIN = 16
"""Padding behind it is at most this long."""

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}


def bare(code: bytes, transfer_syntax: UID) -> bytes:
    """Return the codestream in ``code``, without a JP2 file's boxes around it.

    Raises ``ValueError`` where there is none, or it does not reach its end.
    """
    start = code.find(_SOC_SIZ) if transfer_syntax in JPEG_2000 else code.find(_SOI, 0, 2)
    if start < 0:
        raise ValueError("no codestream of the transfer syntax")
    if _END not in code[-_END_WITHIN:]:
        raise ValueError("the codestream is truncated")
    return code[start:]


def frame_size(code: bytes, transfer_syntax: UID) -> tuple[int, int, int]:
    """Return rows, columns and components of a bare codestream.

    Raises ``ValueError`` if it does not say.
    """
    if transfer_syntax in JPEG_2000:
        # SOC, SIZ, Lsiz, Rsiz: 2 bytes each; then Xsiz, Ysiz, XOsiz, YOsiz: 4 bytes each.
        right, bottom, left, top = (_number(code, 8 + 4 * index, 4) for index in range(4))
        return bottom - top, right - left, _number(code, 40, 2)
    at = len(_SOI)
    while True:
        marker, kind = code[at : at + 2], _number(code, at + 1, 1)
        if marker[0] != 0xFF:
            raise ValueError("a JPEG marker is missing")
        if kind in _START_OF_FRAME:
            return _number(code, at + 5, 2), _number(code, at + 7, 2), _number(code, at + 9, 1)
        if kind == 0xFF:  # fill byte
            at += 1
        elif kind in _STANDALONE:
            at += 2
        else:
            at += 2 + _number(code, at + 2, 2)


def _number(code: bytes, at: int, size: int) -> int:
    if at + size > len(code):
        raise ValueError("the codestream is truncated")
    return int.from_bytes(code[at : at + size], "big")
