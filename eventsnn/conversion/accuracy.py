"""Accuracy of a converted network after every step of one run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn._validation import count
from eventsnn.conversion.energy import EnergyEstimate
from eventsnn.errors import ValidationError

__all__ = ["AccuracyOverTime"]


@dataclass(frozen=True, eq=False)
class AccuracyOverTime:
    """Accuracy after every number of steps, for several threshold scales; `str` is a table.

    Attributes
    ----------
    accuracy : (n_scales, n_steps) array, ``accuracy[s, t]`` after t + 1 steps
    ann_accuracy : float, of the ANN on the same images
    scales : tuple of float, factors of all thresholds
    n_images : int
    layers : names of the layers, the output last
    n_spikes : (n_scales, n_layers - 1) array, spikes per image in all steps; the output has none
    n_synaptic_events : (n_scales, n_layers) array, additions of a weight at the inputs of the layers, per image
    energy : tuple of EnergyEstimate, one per scale, of an image in all steps, see `estimate_energy`
    """

    accuracy: NDArray[np.float64]
    ann_accuracy: float
    scales: tuple[float, ...]
    n_images: int
    layers: tuple[str, ...]
    n_spikes: NDArray[np.float64]
    n_synaptic_events: NDArray[np.float64]
    energy: tuple[EnergyEstimate, ...]

    @property
    def n_steps(self) -> int:
        """Steps of the run."""
        return int(self.accuracy.shape[1])

    def at(self, n_steps: int) -> NDArray[np.float64]:
        """Accuracy after so many steps, one per scale."""
        if not 1 <= count("AccuracyOverTime.at.n_steps", n_steps) <= self.n_steps:
            raise ValidationError(f"AccuracyOverTime.at.n_steps: must lie in 1 .. {self.n_steps}, got {n_steps}")
        found: NDArray[np.float64] = self.accuracy[:, n_steps - 1]
        return found

    def loss(self, n_steps: int) -> NDArray[np.float64]:
        """What is lost against the ANN after so many steps, one per scale; below 0 if the network is better."""
        return self.ann_accuracy - self.at(n_steps)

    def __str__(self) -> str:
        shown = sorted({2**k for k in range(self.n_steps.bit_length())} | {self.n_steps})
        rows = [["steps", *map(str, shown), "spikes/image"]]
        for k, scale in enumerate(self.scales):
            cells = [f"{100 * self.accuracy[k, t - 1]:.2f}" for t in shown]
            rows.append([f"scale {scale:g}", *cells, f"{self.n_spikes[k].sum():,.0f}"])
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        head = f"accuracy in % on {self.n_images} images; the ANN has {100 * self.ann_accuracy:.2f}"
        return "\n".join([head, *table])
