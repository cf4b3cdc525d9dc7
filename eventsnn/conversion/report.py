"""What a conversion chose, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["ConversionReport", "LayerReport"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerReport:
    """What a conversion chose for one layer.

    Attributes
    ----------
    name : str
    n_neurons, n_channels : int
    method : str
        How the scale was found, with its settings; "accumulates" for the output.
    scale : float, or array of shape (n_channels,), or None for the output
        What a spike stands for, in units of the ANN's activation: the threshold.
    published_threshold : float or None
        The threshold of the same layer if weights were left as they are and a spike counted 1, as in the publications:
        scale / scale of the layer before. None for the output and where scales differ by channel.
    saturated_share : float or None
        Share of the positive activations of the calibration images above the scale, which no rate can reach.
    n_silent : int or None
        Channels whose activation is 0 for all calibration images; by channel they have the layer's largest scale.
    bias_correction : array of shape (n_channels,) or None
        What calibration added to the biases.
    potential_correction : array of shape (n_neurons,) or None
        What calibration added to the potentials at the start.
    """

    name: str
    n_neurons: int
    n_channels: int
    method: str
    scale: float | Floats | None
    published_threshold: float | None = None
    saturated_share: float | None = None
    n_silent: int | None = None
    bias_correction: Floats | None = None
    potential_correction: Floats | None = None


@dataclass(frozen=True, eq=False)
class ConversionReport(Sequence[LayerReport]):
    """The reports of all layers, in order; `str` is a table.

    Attributes
    ----------
    layers : tuple of LayerReport
    settings : str
        What holds for all layers, in words.
    """

    layers: tuple[LayerReport, ...]
    settings: str

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, key: int) -> LayerReport: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[LayerReport, ...]: ...
    def __getitem__(self, key: int | slice) -> LayerReport | tuple[LayerReport, ...]:
        return self.layers[key]

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def scaled(self, factor: float) -> ConversionReport:
        """The report of the network whose thresholds are `factor` times as high."""
        layers: list[LayerReport] = []
        for k, layer in enumerate(self.layers):
            if layer.scale is None:
                layers.append(layer)
                continue
            published = layer.published_threshold
            layers.append(
                replace(
                    layer,
                    method=f"{layer.method}, x {factor:g}",
                    scale=layer.scale * factor,
                    published_threshold=published * factor if published is not None and k == 0 else published,
                    saturated_share=None,
                    potential_correction=None
                    if layer.potential_correction is None
                    else layer.potential_correction * factor,
                )
            )
        return ConversionReport(tuple(layers), self.settings)

    def __str__(self) -> str:
        head = ("layer", "neurons", "scale", "threshold", "saturated", "silent", "bias", "potential", "method")
        rows: list[tuple[str, ...]] = [head]
        rows += [_row(layer) for layer in self.layers]
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.settings, *lines])

    def __repr__(self) -> str:
        return str(self)


def _row(layer: LayerReport) -> tuple[str, ...]:
    typical = None if layer.scale is None else float(np.mean(layer.scale))
    return (
        layer.name,
        str(layer.n_neurons),
        _range(layer.scale),
        "-" if layer.published_threshold is None else f"{layer.published_threshold:.4g}",
        "-" if layer.saturated_share is None or layer.scale is None else f"{100 * layer.saturated_share:.2g} %",
        "-" if layer.n_silent is None or layer.scale is None else f"{layer.n_silent}/{layer.n_channels}",
        _size(layer.bias_correction, typical),
        _size(layer.potential_correction, typical),
        layer.method,
    )


def _range(scale: Any) -> str:
    if scale is None:
        return "-"
    if np.ndim(scale) == 0:
        return f"{float(scale):.4g}"
    return f"{np.min(scale):.4g} .. {np.max(scale):.4g}"


def _size(correction: Floats | None, scale: float | None) -> str:
    """Mean size of a correction, in scales of the layer where it has one."""
    if correction is None:
        return "-"
    size = float(np.abs(correction).mean())
    return f"{size:.2g}" if scale is None else f"{size / scale:.2g} x"
