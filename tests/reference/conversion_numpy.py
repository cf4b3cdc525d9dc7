"""Conversion of a ReLU network into a spiking one, dense and slow, as published: weights untouched, spikes of one.

A network is a list of `Layer`s, all but the last followed by a ReLU. Images are channel-last. Layer l of the spiking
network has the threshold of its publication; what its spikes stand for is the product of the thresholds up to it (the
scale), by which the biases of the next layer are divided, so that they weigh as much as in the ReLU network.

    in every step   u = v + W s + b / scale of the layer before
                    a spike where u > threshold
                    v = u - threshold there ("subtract") or 0 ("zero"), u elsewhere
    the last layer  v = u, no spikes

Sengupta et al. 2019 (SpikeNorm), Rueckauer et al. 2017 (data-based), Li et al. 2021 (calibration).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Layer:
    """A linear map, `weight` (n_in, n_out) or (kh, kw, c_in, c_out) on images of `shape`, after `pools`.

    pools : ("avg" | "max", size) each, on images of `shape`, which is that before them
    """

    weight: np.ndarray
    bias: np.ndarray
    shape: tuple = ()
    stride: int = 1
    padding: int = 0
    pools: list = field(default_factory=list)

    @property
    def pooled_shape(self):
        height, width, channels = self.shape
        for _, size in self.pools:
            height, width = height // size, width // size
        return height, width, channels

    def apply(self, x):
        """The linear map without its bias, of flat pooled inputs (n, n_in)."""
        if self.weight.ndim == 2:
            return x @ self.weight
        height, width, channels = self.pooled_shape
        kh, kw, _, n_out = self.weight.shape
        images = x.reshape(-1, height, width, channels)
        p, s = self.padding, self.stride
        images = np.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        rows, columns = (height + 2 * p - kh) // s + 1, (width + 2 * p - kw) // s + 1
        found = np.zeros((len(x), rows, columns, n_out))
        for y in range(rows):
            for z in range(columns):
                patch = images[:, y * s : y * s + kh, z * s : z * s + kw]
                found[:, y, z] = np.einsum("nijc,ijco->no", patch, self.weight)
        return found.reshape(len(x), -1)

    def spread(self, per_channel):
        """One number per output channel to one per neuron."""
        n_positions = 1 if self.weight.ndim == 2 else self.n_positions
        return np.tile(np.broadcast_to(per_channel, self.weight.shape[-1:]), n_positions)

    @property
    def n_positions(self):
        height, width, _ = self.pooled_shape
        kh, kw = self.weight.shape[:2]
        return ((height + 2 * self.padding - kh) // self.stride + 1) * (
            (width + 2 * self.padding - kw) // self.stride + 1
        )


def windows(x, shape, size):
    """Flat images (n, h w c) -> (n, h/size, w/size, c, size size); a window's inputs in the order of their index."""
    height, width, channels = shape
    rows, columns = height // size, width // size
    x = x.reshape(-1, height, width, channels)[:, : rows * size, : columns * size]
    x = x.reshape(-1, rows, size, columns, size, channels).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(*x.shape[:4], size * size)


class MaxGate:
    """Max pooling of spikes: the input with most spikes so far passes, ties keep it, at first the lowest index."""

    def __init__(self):
        self.counts = self.winner = None

    def __call__(self, x, shape, size):
        inputs = windows(x, shape, size)
        if self.counts is None:
            self.counts, self.winner = np.zeros_like(inputs), np.zeros((*inputs.shape[:-1], 1), int)
        self.counts += inputs
        best = self.counts.max(axis=-1, keepdims=True)
        beaten = np.take_along_axis(self.counts, self.winner, -1) < best
        self.winner = np.where(beaten, self.counts.argmax(axis=-1)[..., None], self.winner)
        return np.take_along_axis(inputs, self.winner, -1).reshape(len(x), -1)


def max_of_values(x, shape, size):
    return windows(x, shape, size).max(axis=-1).reshape(len(x), -1)


def pooled(layer, x, gates):
    shape = layer.shape
    for (kind, size), gate in zip(layer.pools, gates, strict=True):
        x = gate(x, shape, size) if kind == "max" else windows(x, shape, size).mean(axis=-1).reshape(len(x), -1)
        shape = (shape[0] // size, shape[1] // size, shape[2])
    return x


def relu_network(layers, x):
    """Activations of every layer, the last without ReLU."""
    found = []
    for k, layer in enumerate(layers):
        x = layer.apply(pooled(layer, x, [max_of_values] * len(layer.pools))) + layer.spread(layer.bias)
        x = np.maximum(x, 0.0) if k < len(layers) - 1 else x
        found.append(x)
    return found


@dataclass
class Run:
    """Arrays (n, n_steps, n_neurons) of every layer: W s + b, potential before the reset, spikes."""

    drive: list
    u: list
    spikes: list
    v: list  # after the last step


def spiking_network(layers, thresholds, x, n_steps, reset="subtract", charge=0.0, shifts=None):
    """Run the first len(thresholds) + 1 layers, the last of them without threshold.

    charge : potential before the first step, as a share of the threshold; shifts : what is added to it, by layer
    """
    n = len(thresholds) + 1
    scales = np.concatenate(([1.0], np.cumprod(thresholds)))
    thresholds = [*thresholds, np.inf]
    shifts = [0.0] * n if shifts is None else shifts
    gates = [[max_of_values if k == 0 else MaxGate() for _ in layer.pools] for k, layer in enumerate(layers[:n])]
    run = Run([[] for _ in range(n)], [[] for _ in range(n)], [[] for _ in range(n)], [None] * n)
    v = [None] * n
    for _ in range(n_steps):
        s = x
        for k, layer in enumerate(layers[:n]):
            drive = layer.apply(pooled(layer, s, gates[k])) + layer.spread(layer.bias) / scales[k]
            if v[k] is None:
                v[k] = np.zeros_like(drive) + (charge * thresholds[k] if k < n - 1 else 0.0) + shifts[k] / scales[k]
            u = v[k] + drive
            s = (u > thresholds[k]).astype(float)
            if reset == "zero":
                v[k] = np.where(s > 0, 0.0, u)
            else:
                v[k] = u - s * thresholds[k] if k < n - 1 else u
            for record, value in ((run.drive, drive), (run.u, u), (run.spikes, s)):
                record[k].append(value)
    for record in (run.drive, run.u, run.spikes):
        record[:] = [np.stack(steps, axis=1) for steps in record]
    run.v = v
    return run


def spike_norm(layers, x, n_steps, reset="subtract", charge=0.0, factor=1.0):
    """Thresholds of all layers but the last: the maximum of W s + b over time, neurons and samples, layer by layer."""
    thresholds = []
    for _ in layers[:-1]:
        drive = spiking_network(layers, thresholds, x, n_steps, reset, charge).drive[-1]
        thresholds.append(factor * drive.max())
    return thresholds


def calibrated(layers, thresholds, x, n_steps, which, charge=0.5):
    """Biases and potentials at the start after calibration, layer by layer, the corrected ones before it in place.

    The error of a neuron is the mean over samples of its activation minus rate times scale. Its mean over the
    neurons of a channel is added to the bias; n_steps times it to the neuron's potential at the start.
    """
    layers = [Layer(own.weight, own.bias.copy(), own.shape, own.stride, own.padding, own.pools) for own in layers]
    targets = [a.mean(axis=0) for a in relu_network(layers, x)]  # of the ReLU network as it came
    scales = np.cumprod(thresholds)
    shifts = [np.zeros(target.size) for target in targets]

    def error(k):
        run = spiking_network(layers, thresholds, x, n_steps, "subtract", charge, shifts)
        got = run.spikes[k].mean(axis=1) * scales[k] if k < len(scales) else run.v[k] * scales[k - 1] / n_steps
        return targets[k] - got.mean(axis=0)

    for k, layer in enumerate(layers):
        if which in ("bias", "both"):
            layer.bias += error(k).reshape(-1, layer.bias.size).mean(axis=0)
        if which in ("potential", "both"):
            shifts[k] = shifts[k] + n_steps * error(k)
    return [layer.bias for layer in layers], shifts
