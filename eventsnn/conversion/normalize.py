"""What a spike of each layer stands for: its scale, from activations of the ANN or from the spiking network itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.ann import ANN
from eventsnn.conversion.blocks import Block
from eventsnn.conversion.engine import potentials
from eventsnn.conversion.plan import Plan, n_channels
from eventsnn.conversion.progress import BatchBar
from eventsnn.currents import Currents
from eventsnn.errors import ValidationError

__all__ = ["Activations", "activation_scales", "alive", "batches", "spike_norm_scale", "summarized"]

Floats = NDArray[np.float64]
Images = NDArray[np.floating]

#: numbers that a batch may take: 128 MB in float32
_BATCH_NUMBERS = 2**25
#: numbers of the patches of a 3 x 3 convolution and of its result, per number of its result
_PATCHES = 10


def batches(images: Images, numbers_per_image: int) -> Iterator[Images]:
    """Parts of the images, such that what is computed for one of them fits into `_BATCH_NUMBERS`."""
    size = max(1, _BATCH_NUMBERS // max(numbers_per_image, 1))
    return (images[k : k + size] for k in range(0, len(images), size))


def _activations(folded: ANN, blocks: list[Block], images: Images) -> Iterator[list[Images]]:
    """Activations of the blocks, (n, n_positions, n_channels) each, batch by batch."""
    for batch in batches(images, _PATCHES * sum(math.prod(shape) for shape in folded.shapes)):
        found = folded.activations(batch)
        yield [found[block.relu_index].reshape(len(batch), -1, n_channels(block)) for block in blocks]


class _Largest:
    """The k largest positive numbers of each of several streams, and how many positive ones there were."""

    def __init__(self, n_streams: int, k: int) -> None:
        self._k = k
        self._kept: NDArray[np.floating] = np.zeros((n_streams, 0), np.float32)
        self._n_positive = np.zeros(n_streams, np.int64)

    def add(self, values: Images) -> None:
        """Take more of every stream, (n_streams, n_values)."""
        self._n_positive += (values > 0).sum(axis=1)
        if len(values) == 1:  # few of very many: drop the others first
            floor = self._kept.min() if self._kept.shape[1] == self._k else 0.0
            values = values[values > floor][np.newaxis]
        both = np.concatenate([self._kept, values], axis=1, dtype=values.dtype)
        if both.shape[1] > self._k:
            both = np.partition(both, both.shape[1] - self._k, axis=1)[:, -self._k :]
        self._kept = both

    def percentiles(self, percentile: float) -> Floats:
        """The percentile of the positive numbers of each stream, NaN where there were none."""
        kept = np.sort(self._kept, axis=1).astype(np.float64)
        found = np.full(len(kept), np.nan)
        for stream in np.flatnonzero(self._n_positive):
            n = int(self._n_positive[stream])
            place = (n - 1) * percentile / 100.0
            low = min(int(place), n - 1)
            # counted from the largest, which is the last
            a, b = kept[stream, low - n], kept[stream, min(low + 1, n - 1) - n]
            found[stream] = a + (b - a) * (place - low)
        return found


def activation_scales(
    folded: ANN, blocks: list[Block], images: Images, percentile: float, by_channel: list[bool], bar: BatchBar
) -> list[Floats]:
    """The percentile of the positive activations of every block with a ReLU, () or (n_channels,).

    It is exact, and what is kept of each block is that share of its activations that lies above the percentile: all are
    seen once, batch by batch. A channel that is silent in all images has NaN.
    """
    blocks = [block for block in blocks if block.has_relu]
    largest = []
    for block, wise in zip(blocks, by_channel, strict=True):
        n_streams = n_channels(block) if wise else 1
        n = len(images) * math.prod(block.output_shape) // n_streams
        largest.append(_Largest(n_streams, n - min(int((n - 1) * percentile / 100.0), n - 1)))
    for activations in _activations(folded, blocks, images):
        for found, values, wise in zip(largest, activations, by_channel, strict=True):
            found.add(values.reshape(-1, values.shape[-1]).T if wise else values.reshape(1, -1))
        bar.advance(len(activations[0]) if activations else 0, "activations")
    scales = [found.percentiles(percentile) for found in largest]
    return [scale if wise else scale.reshape(()) for scale, wise in zip(scales, by_channel, strict=True)]


def spike_norm_scale(
    plan: Plan, k: int, images: Images, n_steps: int, by_channel: bool, n_threads: int, bar: BatchBar
) -> Floats:
    """The largest drive of block k over steps, neurons and images, the blocks before it spiking as planned.

    () or (n_channels,); NaN where it is never above 0.
    """
    block = plan.blocks[k]
    chain = plan.chain(k, "drive")
    # constant currents drive the first layer in every step alike
    steps = 1 if k == 0 else n_steps
    found = np.full(n_channels(block), -np.inf)
    # the drive, once on its way and once as the result; or the spikes of the layer before it that has most neurons
    widest = max(math.prod(own.output_shape) for own in plan.blocks[: k + 1])
    for batch in batches(images, steps * max(widest, 2 * math.prod(block.output_shape))):
        u = potentials(chain, Currents(batch), steps, n_threads=n_threads)
        np.maximum(found, u.reshape(-1, n_channels(block)).max(axis=0), out=found)
        bar.advance(len(batch), block.name)
    found[found <= 0] = np.nan
    return found if by_channel else np.asarray(np.nan if np.isnan(found).all() else np.nanmax(found))


def alive(scale: Floats, block: Block, n_images: int) -> Floats:
    """The scales, those of silent channels replaced by the largest of the layer.

    Raises
    ------
    ValidationError
        The layer is dead: all are silent.
    """
    if np.isnan(scale).all():
        raise ValidationError(
            f"convert: layer {block.name!r} ({block.layer!r}) is dead: its activation is 0 for all {n_images} "
            "calibration images, so nothing says what a spike of it should stand for; take other or more calibration "
            "images, scaled as those it was trained on, or train the network again"
        )
    return np.where(np.isnan(scale), np.nanmax(scale), scale)


@dataclass(frozen=True)
class Activations:
    """What the calibration images do in one block.

    Attributes
    ----------
    mean : activation of every neuron, (n_neurons,)
    n_silent : channels that are 0 in all images
    saturated : share of the positive activations that are above the scale
    """

    mean: Floats
    n_silent: int
    saturated: float


def summarized(
    folded: ANN, blocks: list[Block], scales: list[Floats], images: Images, bar: BatchBar
) -> list[Activations]:
    """Of every block, the output included."""
    sums = [np.zeros(math.prod(block.output_shape)) for block in blocks]
    highest = [np.full(n_channels(block), -np.inf) for block in blocks]
    n_above, n_positive = np.zeros(len(blocks)), np.zeros(len(blocks))
    for activations in _activations(folded, blocks, images):
        for k, values in enumerate(activations):
            sums[k] += values.reshape(len(values), -1).sum(axis=0, dtype=np.float64)
            np.maximum(highest[k], values.max(axis=(0, 1)), out=highest[k])
            if blocks[k].has_relu:
                n_above[k] += (values > scales[k]).sum()
                n_positive[k] += (values > 0).sum()
        bar.advance(len(activations[0]), "activations")
    return [
        Activations(
            mean=sums[k] / len(images),
            n_silent=int((highest[k] <= 0).sum()) if blocks[k].has_relu else 0,
            saturated=float(n_above[k] / max(n_positive[k], 1)),
        )
        for k in range(len(blocks))
    ]
