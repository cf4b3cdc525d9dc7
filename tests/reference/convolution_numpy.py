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
        self.size, self.stride, self.padding, self.rule = size, stride, padding, rule
        self.counts = np.zeros(shape)
        self.out = out_size(self.counts, size, stride, padding)
        self.winner = {}

    def step(self, plane):
        """The spikes that pass; plane : spikes of this step, (height, width, n_channels)."""
        self.counts += plane
        found = np.zeros((*self.out, plane.shape[2]))
        spikes = padded(plane, self.padding)
        counts = padded(self.counts, self.padding)
        n_y, n_x = plane.shape[:2]
        for y, x in np.ndindex(self.out):
            places = [
                (y * self.stride[0] + i, x * self.stride[1] + j)
                for i in range(self.size[0])
                for j in range(self.size[1])
            ]
            inside = [(i, j) for i, j in places if 0 <= i - self.padding[0] < n_y and 0 <= j - self.padding[1] < n_x]
            for c in range(plane.shape[2]):
                key = (y, x, c)
                if self.rule == "first_spike":
                    if key not in self.winner:
                        fired = [p for p in inside if spikes[(*p, c)] > 0]
                        if fired:
                            self.winner[key] = fired[0]
                    found[key] = spikes[(*self.winner[key], c)] if key in self.winner else 0
                    continue
                winner = self.winner.setdefault(key, inside[0])
                best = max(inside, key=lambda p, c=c: counts[(*p, c)])
                if counts[(*best, c)] > counts[(*winner, c)]:
                    winner = self.winner[key] = best
                found[key] = spikes[(*winner, c)]
        return found
