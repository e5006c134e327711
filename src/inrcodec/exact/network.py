"""The network in integers: docs/format.md, "Exact arithmetic"."""

from __future__ import annotations

import torch
from torch import Tensor

from inrcodec.architecture import Tree
from inrcodec.exact.layers import LayerFactory
from inrcodec.exact.mixture import ExactMixture
from inrcodec.exact.tree import ExactTree
from inrcodec.quantization import OUTPUT_BITS, QuantizedModel

_LARGEST_OUTPUT = 1 << OUTPUT_BITS


class ExactNetwork:
    """Evaluates a quantized network at fixed-point coordinates, to the bit.

    Raises `BitstreamError` for weights that the exact arithmetic does not allow.
    """

    def __init__(self, model: QuantizedModel, device: torch.device) -> None:
        self.architecture = model.architecture
        self.device = device
        layers = LayerFactory(model, device)
        self._network: ExactTree | ExactMixture
        if isinstance(model.architecture, Tree):
            self._network = ExactTree(model.architecture, layers)
        else:
            self._network = ExactMixture(model.architecture, layers)

    @torch.inference_mode()
    def __call__(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates in units of 2**-20 -> (N,) int64 levels 0..2**25.

        Level 0 stands for the volume's lowest value, 2**25 for its highest.
        """
        output = self._network(coordinates)
        return output.clamp_(-_LARGEST_OUTPUT, _LARGEST_OUTPUT).long().add_(_LARGEST_OUTPUT)

    @torch.inference_mode()
    def route(self, coordinates: Tensor) -> Tensor:
        """(D, N) float64 coordinates in units of 2**-20 -> (N,) int64.

        The expert that the gate prefers, or the leaf of a tree: which network makes a sample.
        """
        return self._network.route(coordinates)
