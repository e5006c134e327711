"""The shared encoder: coordinates to features that the gate and every expert read."""

from __future__ import annotations

from torch import Tensor, nn

from inrcodec.model.sine import SineLayer, sine_layer


class SharedEncoder(nn.ModuleList):
    """``layers`` sine layers of ``width`` units over ``coordinates`` inputs."""

    def __init__(self, coordinates: int, width: int, layers: int) -> None:
        fan_ins = [coordinates] + [width] * (layers - 1)
        super().__init__(SineLayer(fan_in, width) for fan_in in fan_ins)

    def forward(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates in -1..1 -> (F, N) features."""
        features = coordinates
        for layer in self:
            features = sine_layer(layer.weight, layer.bias, features)
        return features
