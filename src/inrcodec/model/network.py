"""From an architecture to its network: empty, ready to be fitted, or as a file has it."""

from __future__ import annotations

import torch

from inrcodec.architecture import Architecture, Tree
from inrcodec.model.inr import INR
from inrcodec.model.moe import MoEINR
from inrcodec.model.statistics import VolumeStatistics
from inrcodec.model.tree import TreeINR
from inrcodec.quantization import QuantizedModel


def build(architecture: Architecture) -> INR:
    """A network of that shape, its weights not set."""
    return TreeINR(architecture) if isinstance(architecture, Tree) else MoEINR(architecture)


def initialized(
    architecture: Architecture, volume: VolumeStatistics, generator: torch.Generator
) -> INR:
    """A network ready to be fitted to such a volume."""
    network = build(architecture)
    network.initialize(volume, generator)
    return network


def from_quantized(quantized: QuantizedModel) -> INR:
    """The network that the file's integers stand for."""
    network = build(quantized.architecture)
    network.load([torch.from_numpy(tensor.dequantize()) for tensor in quantized.tensors])
    return network.requires_grad_(False)
