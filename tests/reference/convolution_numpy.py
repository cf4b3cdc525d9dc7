"""Convolution and pooling of one plane (height, width, n_channels), window by window, and as a matrix."""

import numpy as np


def padded(plane, padding, value=0.0):
    (top, left) = padding
    return np.pad(plane, ((top, top), (left, left), (0, 0)), constant_values=value)


def windows(plane, size, stride):
    """Number of the window along both axes, and its pixels (size_y, size_x, n_channels)."""
    for y in range((plane.shape[0] - size[0]) // stride[0] + 1):
        for x in range((plane.shape[1] - size[1]) // stride[1] + 1):
            top, left = y * stride[0], x * stride[1]
            yield y, x, plane[top : top + size[0], left : left + size[1]]


def out_size(plane, size, stride, padding):
    return tuple((plane.shape[a] + 2 * padding[a] - size[a]) // stride[a] + 1 for a in (0, 1))


def convolve(plane, weight, stride=(1, 1), padding=(0, 0), groups=1):
    """weight : (size_y, size_x, channels per group, n_channels_out)"""
    size, per_group, n_out = weight.shape[:2], weight.shape[2], weight.shape[3]
    own = n_out // groups
    found = np.zeros((*out_size(plane, size, stride, padding), n_out), np.result_type(plane, weight))
    for y, x, pixels in windows(padded(plane, padding), size, stride):
        for o in range(n_out):
            first = o // own * per_group
            found[y, x, o] = (pixels[:, :, first : first + per_group] * weight[:, :, :, o]).sum()
    return found


def average(plane, size, stride, padding=(0, 0)):
    found = np.zeros((*out_size(plane, size, stride, padding), plane.shape[2]), plane.dtype)
    for y, x, pixels in windows(padded(plane, padding), size, stride):
        found[y, x] = pixels.sum(axis=(0, 1)) / (size[0] * size[1])
    return found


def maximum(plane, size, stride, padding=(0, 0)):
    found = np.zeros((*out_size(plane, size, stride, padding), plane.shape[2]), plane.dtype)
    for y, x, pixels in windows(padded(plane, padding, -np.inf), size, stride):
        found[y, x] = pixels.max(axis=(0, 1))
    return found


def matrix_of(function, shape):
    """The matrix (n_in, n_out) of a linear function of a plane of that shape."""
    rows = []
    for j in range(int(np.prod(shape))):
        unit = np.zeros(shape)
        unit.flat[j] = 1.0
        rows.append(np.ravel(function(unit)))
    return np.array(rows)


class Gate:
    """Maximum of spikes, step by step: of each window only the winner's spikes pass.

    rule : "max_rate", most spikes so far, this step included, kept until another has more; or "first_spike"
    """

    def __init__(self, shape, size, stride, padding, rule):
        self.shape, self.rule = shape, rule
        self.counts = np.zeros(shape)
        numbers = np.arange(self.counts.size).reshape(shape)
        self.inputs = []  # of every window (y, x, channel) the neurons in it, by number
        for _, _, pixels in windows(padded(numbers, padding, -1), size, stride):
            for c in range(shape[2]):
                self.inputs.append([int(j) for j in pixels[:, :, c].ravel() if j >= 0])
        self.winner = [-1] * len(self.inputs)

    def step(self, spikes):
        """The winner of every window, -1 before there is one; spikes : of this step, by neuron."""
        self.counts += np.reshape(spikes, self.shape)
        counts = self.counts.ravel()
        for w, inputs in enumerate(self.inputs):
            if self.rule == "first_spike":
                fired = [j for j in inputs if spikes[j] > 0]
                if self.winner[w] < 0 and fired:
                    self.winner[w] = fired[0]
            else:
                best = max(inputs, key=lambda j: counts[j])
                if counts[best] > (counts[self.winner[w]] if self.winner[w] >= 0 else 0):
                    self.winner[w] = best
        return list(self.winner)
