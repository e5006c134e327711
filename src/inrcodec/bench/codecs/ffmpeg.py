"""ffmpeg as an encoder and decoder of raw frames."""

from __future__ import annotations

import re
import shutil
import subprocess

from inrcodec.errors import PeerError


def missing_encoder(encoder: str, pixel_format: str) -> str | None:
    """What to install where ffmpeg cannot encode that way; None where it can."""
    if shutil.which("ffmpeg") is None:
        return "install ffmpeg (on Debian: apt-get install ffmpeg)"
    help_text = _run(["-h", f"encoder={encoder}"], b"").stdout.decode(errors="replace")
    if not re.search(rf"\b{pixel_format}\b", help_text):
        return f"install an ffmpeg that has {encoder} for {pixel_format}"
    return None


def encoder_version(encoder: str, pixel_format: str, pattern: str) -> str:
    """What ``pattern`` finds in the encoder's log, and ffmpeg's version."""
    blank = bytes(64 * 64 * 3)  # one frame in either format
    source = _raw(pixel_format, 64, 64)
    log = _run([*source, "-frames:v", "1", "-c:v", encoder, "-f", "null", "-"], blank).stderr
    found = re.search(pattern, log.decode(errors="replace"))
    ffmpeg = _run(["-version"], b"").stdout.decode(errors="replace").split()[2]
    return f"{found.group(1) if found else 'unknown'}, ffmpeg {ffmpeg}"


def encode(
    frames: bytes, pixel_format: str, width: int, height: int, options: list[str], container: str
) -> bytes:
    """The stream of raw ``frames``, in ffmpeg's ``container`` format."""
    source = _raw(pixel_format, width, height)
    return _checked([*source, *options, "-f", container, "-"], frames)


def decode(data: bytes, pixel_format: str, container: str, threads: int, size: int) -> bytes:
    """The raw frames of a stream, ``size`` bytes in all."""
    source = ["-threads", str(threads), "-f", container, "-i", "-"]
    frames = _checked([*source, "-f", "rawvideo", "-pix_fmt", pixel_format, "-"], data)
    if len(frames) != size:
        raise PeerError(f"ffmpeg: decoded {len(frames)} bytes of frames, not {size}")
    return frames


def _raw(pixel_format: str, width: int, height: int) -> list[str]:
    size = f"{width}x{height}"
    return ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", size, "-r", "25", "-i", "-"]


def _checked(arguments: list[str], data: bytes) -> bytes:
    done = _run(["-v", "error", *arguments], data)
    if done.returncode or not done.stdout:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise PeerError(f"ffmpeg: {lines[-1] if lines else 'no output'}")
    return done.stdout


def _run(arguments: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ffmpeg", "-hide_banner", *arguments], input=data, capture_output=True)
