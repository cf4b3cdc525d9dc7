"""Bars: 3 x 3 pixel images of a horizontal, vertical or diagonal bar."""

from __future__ import annotations

import numpy as np

from eventsnn._validation import count
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split, generate, spikes_from_times
from eventsnn.encoding import check_window, latency

__all__ = ["load_bars"]

CLASS_NAMES = ("horizontal", "vertical", "diagonal")
_ROW = np.zeros((3, 3, 3))
_ROW[np.arange(3), np.arange(3), :] = 1.0  # image k: row k
_PATTERNS = np.concatenate((_ROW, _ROW.transpose(0, 2, 1), [np.eye(3), np.eye(3)[::-1]])).reshape(8, 9)


def load_bars(
    tau_syn: float = DEFAULT_TAU_SYN,
    t_early: float = 0.15,
    t_late: float = 2.0,
    bias_time: float | None = None,
    jitter: float = 0.05,
    n_train: int = 600,
    n_valid: int = 150,
    n_test: int = 150,
    seed: int = 0,
) -> Dataset:
    """Generate bars as spikes: the three pixels of the bar fire early, the other six late.

    Parameters
    ----------
    tau_syn : float
        Synaptic time constant in seconds: the unit of the four times that follow.
    t_early, t_late : float
        Spike times of the bar and of the background in units of tau_syn.
    bias_time : float or None
        Time of the spike of a tenth channel in units of tau_syn; None leaves the channel out.
    jitter : float
        Standard deviation of Gaussian noise on the times of the pixels in units of tau_syn; times stay >= 0.
    n_train, n_valid, n_test : int
        Number of samples; the three classes occur equally often (as far as the number divides), the bars of a class
        (three rows, three columns, two diagonals) are drawn at random.
    seed : int
        The three parts are drawn from independent streams of this seed.

    Returns
    -------
    Dataset
        9 inputs (pixels row by row), classes horizontal, vertical, diagonal; `values` are the images, 1 on the bar.

    Raises
    ------
    ValidationError
        An argument out of range.

    Examples
    --------
    >>> from eventsnn.datasets import load_bars
    >>> int(load_bars().train.values[0].reshape(3, 3).sum())
    3
    """
    early, late = check_window("load_bars", t_early, t_late)
    streams = np.random.SeedSequence(count("load_bars.seed", seed)).spawn(3)

    def draw(n_samples: int, stream: np.random.SeedSequence) -> Split:
        rng = np.random.default_rng(stream)
        labels = rng.permutation(np.arange(n_samples) % len(CLASS_NAMES))
        first, number = np.array([0, 3, 6]), np.array([3, 3, 2])  # the bars of each class in _PATTERNS
        values = _PATTERNS[first[labels] + rng.integers(number[labels])]
        times = latency(values, early, late)
        spikes = spikes_from_times("load_bars", times, tau_syn, bias_time=bias_time, jitter=jitter, rng=rng)
        return Split(spikes, labels, values)

    return generate("bars", CLASS_NAMES, draw, (n_train, n_valid, n_test), streams)
