"""Energy of an inference, estimated from its operations: multiply-accumulates of the ANN, accumulates of the SNN."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from eventsnn._validation import count, number
from eventsnn.conversion.ann_layers import Linear
from eventsnn.errors import ValidationError

if TYPE_CHECKING:
    from eventsnn.conversion.blocks import Block

__all__ = ["AC_JOULE", "MAC_JOULE", "EnergyEstimate", "estimate_energy", "multiply_accumulates"]

#: a 32-bit float multiplication (3.7 pJ) and addition (0.9 pJ) in 45 nm, Horowitz 2014
MAC_JOULE = 4.6e-12
#: a 32-bit float addition alone
AC_JOULE = 0.9e-12

_UNITS = ((1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"))


@dataclass(frozen=True)
class EnergyEstimate:
    """Operations of an image and the energy that they stand for.

    Attributes
    ----------
    ann_macs : multiply-accumulates of the ANN
    snn_macs : multiply-accumulates of the SNN: its first layer, where the input is a current
    snn_acs : accumulates of the SNN: synapses that spikes were sent over
    """

    ann_macs: float
    snn_macs: float
    snn_acs: float

    @property
    def ann_joule(self) -> float:
        """Energy of the ANN, J per image."""
        return MAC_JOULE * self.ann_macs

    @property
    def snn_joule(self) -> float:
        """Energy of the SNN, J per image."""
        return MAC_JOULE * self.snn_macs + AC_JOULE * self.snn_acs

    @property
    def ratio(self) -> float:
        """Energy of the ANN relative to the SNN's: above 1 the SNN needs less."""
        return self.ann_joule / self.snn_joule if self.snn_joule > 0 else float("inf")

    def __str__(self) -> str:
        scale, unit = next((known for known in _UNITS if self.ann_joule >= known[0]), _UNITS[-1])
        ann = f"{self.ann_joule / scale:.3g} {unit} ({_millions(self.ann_macs)} MAC)"
        own = f"{_millions(self.snn_macs)} MAC, {_millions(self.snn_acs)} AC"
        return f"{self.snn_joule / scale:.3g} {unit} per image ({own}), the ANN {ann}"


def estimate_energy(
    macs: Iterable[float],
    synaptic_events: float,
    *,
    n_steps: int,
    constant_input: bool = True,
    first_layer: Literal["once", "every_step"] = "once",
) -> EnergyEstimate:
    """Energy of an image through an ANN and through the SNN made from it.

    Parameters
    ----------
    macs : multiply-accumulates of each layer of the ANN, the first layer first; `multiply_accumulates` counts them
    synaptic_events : synapses that spikes are sent over for an image, in all steps; also those of an input of spikes
    n_steps : steps of the SNN, >= 1
    constant_input : whether the input is a constant current, which makes the SNN's first layer multiply-accumulates
    first_layer : how often these are counted. "once": the same product serves every step, as the engine here computes
        it; "every_step": as for hardware that keeps no drive, and as some papers count

    Returns
    -------
    EnergyEstimate

    Raises
    ------
    ValidationError
        No layers, a negative number, no steps, an unknown convention.

    Notes
    -----
    ``E_ann = 4.6 pJ sum(macs)``; ``E_snn = 4.6 pJ macs[0] (1 or n_steps) + 0.9 pJ synaptic_events``. The constants are
    those of additions and multiplications of 32-bit floats in 45 nm. Not counted, for either network: memory accesses,
    which in silicon cost more than the arithmetic, biases, pooling, and the updates of potentials, one addition per
    neuron and step. It is a comparison of operations, not a measurement.

    References
    ----------
    Horowitz, M. (2014), Computing's energy problem (and what we can do about it), ISSCC, doi
    10.1109/ISSCC.2014.6757323, figure 1.1.9

    Examples
    --------
    >>> from eventsnn.conversion import estimate_energy
    >>> found = estimate_energy([784 * 256, 256 * 10], synaptic_events=8_000, n_steps=16)
    >>> found.snn_acs, round(found.ann_joule * 1e6, 3), round(found.snn_joule * 1e6, 3)
    (8000.0, 0.935, 0.93)
    """
    where = "estimate_energy"
    layers = [number(f"{where}.macs[{k}]", own, at_least=0.0) for k, own in enumerate(macs)]
    if not layers:
        raise ValidationError(f"{where}.macs: needs at least one layer")
    events = number(f"{where}.synaptic_events", synaptic_events, at_least=0.0)
    if count(f"{where}.n_steps", n_steps) < 1:
        raise ValidationError(f"{where}.n_steps: must be >= 1, got {n_steps}")
    if first_layer not in ("once", "every_step"):
        raise ValidationError(f"{where}.first_layer: must be 'once' or 'every_step', got {first_layer!r}")
    times = (1 if first_layer == "once" else n_steps) if constant_input else 0
    return EnergyEstimate(ann_macs=sum(layers), snn_macs=layers[0] * times, snn_acs=events)


def multiply_accumulates(blocks: Iterable[Block]) -> list[int]:
    """Multiply-accumulates of each layer with weights, for one image.

    Parameters
    ----------
    blocks : what `blocks_of` gives

    Returns
    -------
    list of int
        ``n_inputs n_outputs`` of a linear layer; of a convolution the weights that lie over the image, times the
        output channels: the zeros of the padding, which no spike ever meets, are not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn.conversion import ANN, Linear, ReLU, blocks_of, multiply_accumulates
    >>> layers = [Linear(np.ones((4, 3))), ReLU(), Linear(np.ones((3, 2)))]
    >>> multiply_accumulates(blocks_of(ANN(layers, input_shape=(4,))))
    [12, 6]
    """
    return [_macs_of(block) for block in blocks]


def _macs_of(block: Block) -> int:
    layer = block.layer
    if isinstance(layer, Linear):
        return int(layer.weight.size)
    kernel_height, kernel_width, channels_in, channels_out = map(int, layer.weight.shape)
    stride, padding = layer.stride, layer.padding
    rows, columns = (
        _taps(block.pooled_shape[axis], block.output_shape[axis], size, stride[axis], padding[axis])
        for axis, size in enumerate((kernel_height, kernel_width))
    )
    return rows * columns * channels_in * channels_out


def _taps(n_in: int, n_out: int, size: int, stride: int, padding: int) -> int:
    """Pairs of an output and a tap of its kernel that lies over the image, along one axis."""
    at = np.arange(n_out)[:, None] * stride - padding + np.arange(size)
    return int(((at >= 0) & (at < n_in)).sum())


def _millions(operations: float) -> str:
    return f"{operations / 1e6:.3g} M"
