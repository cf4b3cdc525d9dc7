"""Silent neurons: counting them, choosing those to push, and the hinge on their highest peaks."""

from __future__ import annotations

import numpy as np

from eventsnn.kernels.jit import kernel


@kernel
def find_silent(times, wanted, silent, counts):
    """silent = wanted[neuron] and no spike, (n_samples, n_post); counts[neuron]: samples without a spike."""
    counts[:] = 0
    for b in range(times.shape[0]):
        for n in range(times.shape[1]):
            quiet = times[b, n] == np.inf
            counts[n] += quiet
            silent[b, n] = quiet and wanted[n]


@kernel
def add_hinge(pushed, peaks, theta, strength, height, losses):
    """Add strength (1 - peak/theta[n]) to losses[sample] for pushed neurons, its derivative to height.

    A neuron without a peak above rest (peak 0) has the full loss and no gradient.
    """
    for b in range(pushed.shape[0]):
        total = 0.0
        for n in range(pushed.shape[1]):
            if pushed[b, n]:
                total += 1.0 - peaks[b, n] / theta[n]
                if peaks[b, n] > 0.0:
                    height[b, n] = -strength / theta[n]
        losses[b] += strength * total
