"""Fitting a network to a volume: sampling, optimization, and quantization that meets the loss."""
