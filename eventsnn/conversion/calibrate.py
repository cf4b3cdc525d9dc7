"""Calibration: the error that conversion leaves in every layer, measured on a few images and taken out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsnn.conversion.engine import potentials, spike_counts
from eventsnn.conversion.normalize import batches
from eventsnn.conversion.plan import Plan, n_channels, per_neuron
from eventsnn.conversion.progress import BatchBar
from eventsnn.currents import Currents

__all__ = ["calibrate_plan"]

Floats = NDArray[np.float64]


def calibrate_plan(
    plan: Plan,
    targets: list[Floats],
    images: NDArray[np.floating],
    n_steps: int,
    *,
    bias: bool,
    potential: bool,
    n_threads: int,
    bar: BatchBar,
) -> None:
    """Correct the biases or the potentials at the start of every block of the plan, in order.

    Parameters
    ----------
    plan : with all its scales; its biases and shifts are replaced
    targets : mean activation of every neuron of every block in the ANN, (n_neurons,) each
    images : (n, n_inputs), those that the targets are of
    n_steps : steps of the runs that the errors are taken from

    Notes
    -----
    The error of a neuron is its mean activation less what the spiking network has for it, after n_steps steps with
    all corrections so far: spikes per step times scale, in the output potential / n_steps. `bias` adds its mean over
    the neurons of a channel to the channel's bias, `potential` adds n_steps times what is left of it to the neuron's
    potential at the start.
    """
    for k, block in enumerate(plan.blocks):
        if bias:
            error = targets[k] - _means(plan, k, images, n_steps, n_threads, bar)
            plan.biases[k] = plan.biases[k] + error.reshape(-1, n_channels(block)).mean(axis=0)
        if potential:
            error = targets[k] - _means(plan, k, images, n_steps, n_threads, bar)
            plan.shifts[k] = plan.shifts[k] + n_steps * error


def _means(
    plan: Plan, k: int, images: NDArray[np.floating], n_steps: int, n_threads: int, bar: BatchBar
) -> Floats:  # fmt: skip
    """What stands for the activation of every neuron of block k, mean over the images."""
    block = plan.blocks[k]
    chain = plan.chain(k)
    sums = np.zeros(chain.n_outputs)
    # the images' spikes in the layer that has most neurons, were every neuron to fire in every step
    widest = max(layer.n_neurons for layer in chain.layers)
    for batch in batches(images, n_steps * widest):
        if block.has_relu:
            counts = spike_counts(chain, Currents(batch), n_steps, n_threads=n_threads)
            sums += counts.sum(axis=0) * per_neuron(plan.scales[k], block)
        else:
            sums += potentials(chain, Currents(batch), n_steps, n_threads=n_threads)[:, -1].sum(
                axis=0, dtype=np.float64
            )
        bar.advance(len(batch), block.name)
    return sums / (n_steps * len(images))
