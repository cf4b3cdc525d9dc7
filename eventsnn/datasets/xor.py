"""XOR: the smallest task that needs a hidden layer."""

from __future__ import annotations

import numpy as np

from eventsnn._validation import count
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split, generate, spikes_from_times
from eventsnn.encoding import check_window, latency

__all__ = ["load_xor"]

CLASS_NAMES = ("equal", "different")
_PATTERNS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
_LABELS = np.array([0, 1, 1, 0])


def load_xor(
    tau_syn: float = DEFAULT_TAU_SYN,
    t_early: float = 0.15,
    t_late: float = 2.0,
    bias_time: float | None = 0.15,
    jitter: float = 0.0,
    n_train: int = 400,
    n_valid: int = 100,
    n_test: int = 100,
    seed: int = 0,
    complements: bool = False,
) -> Dataset:
    """Generate XOR as spikes: two inputs that fire early (1) or late (0), and a bias.

    Parameters
    ----------
    tau_syn : float
        Synaptic time constant in seconds: the unit of the four times that follow.
    t_early, t_late : float
        Spike times of the values 1 and 0 in units of tau_syn.
    bias_time : float or None
        Time of the bias spike in units of tau_syn; None leaves its channel out.
    jitter : float
        Standard deviation of Gaussian noise on the times of the inputs in units of tau_syn; times stay >= 0.
    n_train, n_valid, n_test : int
        Number of samples; the four patterns occur equally often (as far as the number divides), in random order.
    seed : int
        The three parts are drawn from independent streams of this seed.
    complements : bool
        Two more inputs, with the values 1 - a and 1 - b.

    Returns
    -------
    Dataset
        Inputs a, b (1 - a, 1 - b) and bias; class 1 where a and b differ; `values` are (a, b) (1 - a, 1 - b).

    Raises
    ------
    ValidationError
        An argument out of range.

    Examples
    --------
    >>> from eventsnn.datasets import load_xor
    >>> data = load_xor(n_train=4)
    >>> sorted(zip(data.train.values.tolist(), data.train.labels.tolist()))
    [([0.0, 0.0], 0), ([0.0, 1.0], 1), ([1.0, 0.0], 1), ([1.0, 1.0], 0)]
    """
    early, late = check_window("load_xor", t_early, t_late)
    streams = np.random.SeedSequence(count("load_xor.seed", seed)).spawn(3)

    def draw(n_samples: int, stream: np.random.SeedSequence) -> Split:
        rng = np.random.default_rng(stream)
        kind = rng.permutation(np.arange(n_samples) % len(_PATTERNS))
        values = np.concatenate((_PATTERNS, 1.0 - _PATTERNS), axis=1)[kind] if complements else _PATTERNS[kind]
        times = latency(values, early, late)
        spikes = spikes_from_times("load_xor", times, tau_syn, bias_time=bias_time, jitter=jitter, rng=rng)
        return Split(spikes, _LABELS[kind], values)

    return generate("xor", CLASS_NAMES, draw, (n_train, n_valid, n_test), streams)
