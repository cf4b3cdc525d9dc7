"""Delayed match to sample: two symbols with a pause between them, and the question whether they are the same."""

from __future__ import annotations

import numpy as np

from eventsnn._validation import count, number
from eventsnn.datasets.base import DEFAULT_TAU_SYN, Dataset, Split, generate
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

__all__ = ["load_delayed_match"]

CLASS_NAMES = ("different", "match")


def load_delayed_match(
    tau_syn: float = DEFAULT_TAU_SYN,
    n_symbols: int = 4,
    n_channels: int = 5,
    width: float = 2.0,
    pause: float = 20.0,
    jitter: float = 0.2,
    n_train: int = 1000,
    n_valid: int = 500,
    n_test: int = 1000,
    seed: int = 0,
) -> Dataset:
    """Generate the task: nothing but a memory of the first symbol tells the classes apart.

    Parameters
    ----------
    tau_syn : float
        Synaptic time constant in seconds: the unit of the times that follow.
    n_symbols : int, >= 2
        Number of symbols.
    n_channels : int
        Input channels of each symbol; when it is shown, they fire once each, one after the other.
    width : float
        How long a symbol is shown, in units of tau_syn.
    pause : float
        Time from the end of the first symbol to the beginning of the second, in units of tau_syn.
    jitter : float
        Standard deviation of Gaussian noise on every spike time, in units of tau_syn; times stay >= 0.
    n_train, n_valid, n_test : int
        Number of samples. Half of them match (one fewer if the number is odd); symbols are drawn evenly.
    seed : int
        The three parts are drawn from independent streams of this seed.

    Returns
    -------
    Dataset
        n_symbols * n_channels inputs, symbol by symbol; classes different, match; `values` are the two symbols.

    Raises
    ------
    ValidationError
        An argument out of range.

    Notes
    -----
    Both symbols are equally frequent in both classes, so neither alone says anything: without a memory of the first
    one at the time of the second a classifier is right half of the time.

    Examples
    --------
    >>> from eventsnn.datasets import load_delayed_match
    >>> data = load_delayed_match()
    >>> data.n_inputs, data.train.values[:2].tolist(), data.train.labels[:2].tolist()
    (20, [[1.0, 1.0], [2.0, 2.0]], [1, 1])
    """
    where = "load_delayed_match"
    tau_syn = number(f"{where}.tau_syn", tau_syn, above=0)
    n_symbols, n_channels = count(f"{where}.n_symbols", n_symbols), count(f"{where}.n_channels", n_channels)
    if n_symbols < 2 or n_channels < 1:
        raise ValidationError(f"{where}: needs 2 symbols and 1 channel at least, got {n_symbols} and {n_channels}")
    width, pause = number(f"{where}.width", width, above=0), number(f"{where}.pause", pause, at_least=0)
    jitter = number(f"{where}.jitter", jitter, at_least=0)
    streams = np.random.SeedSequence(count(f"{where}.seed", seed)).spawn(3)
    steps = (np.arange(n_channels) + 0.5) / n_channels * width

    def draw(n_samples: int, stream: np.random.SeedSequence) -> Split:
        rng = np.random.default_rng(stream)
        labels = rng.permutation(np.arange(n_samples) % 2)
        first = rng.integers(n_symbols, size=n_samples)
        shift = np.where(labels == 1, 0, rng.integers(1, n_symbols, size=n_samples))
        symbols = np.stack((first, (first + shift) % n_symbols), axis=1)
        times = np.array([0.0, width + pause])[None, :, None] + steps
        times = np.maximum(times + jitter * rng.standard_normal((n_samples, 2, n_channels)), 0.0)
        neurons = symbols[:, :, None] * n_channels + np.arange(n_channels)
        samples = np.repeat(np.arange(n_samples), 2 * n_channels)
        spikes = Spikes(
            samples, neurons.ravel(), times.ravel() * tau_syn, n_samples=n_samples, n_neurons=n_symbols * n_channels
        )
        return Split(spikes, labels, symbols.astype(np.float64))

    return generate("delayed_match", CLASS_NAMES, draw, (n_train, n_valid, n_test), streams)
