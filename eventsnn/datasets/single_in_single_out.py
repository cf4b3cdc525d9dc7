"""One input spike, one output: the smallest task, to watch a spike time being learned."""

from __future__ import annotations

import numpy as np

from eventsnn._validation import count, number
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split, generate, spikes_from_times

__all__ = ["load_single_in_single_out"]

CLASS_NAMES = ("fires",)


def load_single_in_single_out(
    tau_syn: float = DEFAULT_TAU_SYN,
    time: float = 1.0,
    jitter: float = 0.0,
    n_train: int = 1,
    n_valid: int = 1,
    n_test: int = 1,
    seed: int = 0,
) -> Dataset:
    """Generate samples of a single input spike, all of the only class.

    What is learned is the time of the output spike, by `FirstSpikeMSE`; the accuracy says whether it fires at all.

    Parameters
    ----------
    tau_syn : float
        Synaptic time constant in seconds: the unit of the two times that follow.
    time : float
        Time of the input spike in units of tau_syn.
    jitter : float
        Standard deviation of Gaussian noise on it in units of tau_syn; times stay >= 0.
    n_train, n_valid, n_test : int
        Number of samples.
    seed : int
        The three parts are drawn from independent streams of this seed.

    Returns
    -------
    Dataset
        One input, one class.

    Raises
    ------
    ValidationError
        An argument out of range.

    Examples
    --------
    >>> from eventsnn.datasets import load_single_in_single_out
    >>> load_single_in_single_out(tau_syn=5e-3, time=2.0).train.spikes.first_times().tolist()
    [[0.01]]
    """
    where = "load_single_in_single_out"
    time = number(f"{where}.time", time, at_least=0)
    streams = np.random.SeedSequence(count(f"{where}.seed", seed)).spawn(3)

    def draw(n_samples: int, stream: np.random.SeedSequence) -> Split:
        rng = np.random.default_rng(stream)
        spikes = spikes_from_times(where, np.full((n_samples, 1), time), tau_syn, jitter=jitter, rng=rng)
        return Split(spikes, np.zeros(n_samples, dtype=np.int64))

    return generate("single_in_single_out", CLASS_NAMES, draw, (n_train, n_valid, n_test), streams)
