"""Losses on first spike times: value and derivative of a block of samples in one pass.

All take t = time/tau_syn, (n_samples, n_outputs), and labels, (n_samples,), and fill `value`, (n_samples,), and `grad`,
the derivative with respect to t. The formulas are in `eventsnn.training.losses`.
"""

from __future__ import annotations

import math

import numpy as np

from eventsnn.kernels.jit import kernel


@kernel
def scaled_times(times, tau_syn, t_silent, t):
    """t = times/tau_syn[output], and t_silent where silent."""
    for b in range(times.shape[0]):
        for n in range(times.shape[1]):
            t[b, n] = times[b, n] / tau_syn[n] if times[b, n] < np.inf else t_silent


@kernel
def cross_entropy(t, labels, xi, value, grad):
    """log sum exp(-t/xi) + t*/xi, with the earliest spike's exponential taken out."""
    for b in range(t.shape[0]):
        earliest = t[b, 0]
        for n in range(t.shape[1]):
            earliest = min(earliest, t[b, n])
        total = 0.0
        for n in range(t.shape[1]):
            grad[b, n] = math.exp((earliest - t[b, n]) / xi)
            total += grad[b, n]
        for n in range(t.shape[1]):
            grad[b, n] /= -total * xi
        grad[b, labels[b]] += 1.0 / xi
        value[b] = math.log(total) + (t[b, labels[b]] - earliest) / xi


@kernel
def squared_error(t, labels, t_correct, t_wrong, value, grad):
    """1/2 sum (t - target)^2."""
    for b in range(t.shape[0]):
        total = 0.0
        for n in range(t.shape[1]):
            grad[b, n] = t[b, n] - (t_correct if n == labels[b] else t_wrong)
            total += grad[b, n] * grad[b, n]
        value[b] = 0.5 * total


@kernel
def shifted_squared_error(t, labels, delta_t, value, grad):
    """1/2 sum over the wrong outputs of (t - t* - delta_t)^2."""
    for b in range(t.shape[0]):
        total, pull = 0.0, 0.0
        for n in range(t.shape[1]):
            error = t[b, n] - t[b, labels[b]] - delta_t if n != labels[b] else 0.0
            grad[b, n] = error
            pull += error
            total += error * error
        grad[b, labels[b]] = -pull
        value[b] = 0.5 * total


@kernel
def finish_loss(times, t, labels, tau_syn, alpha, beta, value, grad):
    """Add alpha exp(t*/beta) and its derivative; then derivatives with respect to the times, 0 where silent."""
    for b in range(t.shape[0]):
        if alpha != 0.0:
            early = alpha * math.exp(min(t[b, labels[b]] / beta, 700.0))
            value[b] += early
            grad[b, labels[b]] += early / beta
        for n in range(t.shape[1]):
            grad[b, n] = grad[b, n] / tau_syn[n] if times[b, n] < np.inf else 0.0


@kernel
def earliest_output(times, label):
    """The output that fires first, the lowest of equal ones; -1 where all are silent. times may not be nan."""
    for b in range(times.shape[0]):
        label[b], first = -1, np.inf
        for n in range(times.shape[1]):
            if times[b, n] < first:
                label[b], first = n, times[b, n]
