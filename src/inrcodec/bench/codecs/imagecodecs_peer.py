"""The package that the codecs without a program of their own come in."""

from __future__ import annotations

from importlib.util import find_spec

from inrcodec.bench.codecs.peer import Peer


class ImagecodecsPeer(Peer):
    """A peer from imagecodecs, where it is called ``function`` (``function_encode``, ...)."""

    function: str

    def missing(self) -> str | None:
        if find_spec("imagecodecs") is None:
            return "pip install 'inrcodec[bench]'"
        import imagecodecs

        if not getattr(imagecodecs, self.function.upper()).available:
            return f"install an imagecodecs that has {self.function}"
        return None

    def version(self) -> str:
        import imagecodecs

        own = getattr(imagecodecs, f"{self.function}_version")()
        return f"{own}, imagecodecs {imagecodecs.__version__}"
