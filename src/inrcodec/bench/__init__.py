"""Comparing inrcodec with other codecs at equal bytes (docs/benchmarks/peers.md).

``codecs`` has one module for each peer and inrcodec's own. A peer is searched to the bytes that a
ratio allows (``search``), with down-sampled volumes too where that may be its best (``peer``);
``runs`` measures and keeps the results, ``rates``, ``table`` and ``plot`` show them.
"""
