"""The shared encoder: coordinates to features that the gate and every expert read."""

from __future__ import annotations

from torch import Tensor

from inrcodec.model.sine import SineStack, sine_layer


class SharedEncoder(SineStack):
    """Sine layers over the coordinates."""

    def forward(self, coordinates: Tensor) -> Tensor:
        """(D, N) coordinates in -1..1 -> (F, N) features."""
        features = coordinates
        for layer in self:
            features = sine_layer(layer.weight, layer.bias, features, fixed_point=self.fixed_point)
        return features
