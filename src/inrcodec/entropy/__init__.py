"""Lossless coding of the quantized weights: integer distributions and the rANS coder."""
