"""Spikes that come from outside: Poisson processes, regular trains, given times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventsnn._synapses import checked_size, real_array
from eventsnn._validation import count, index_array, number
from eventsnn.errors import ValidationError
from eventsnn.spikes import Spikes

__all__ = ["given_spikes", "poisson_spikes", "regular_spikes"]

#: more events than any memory holds: the units of rate and duration do not fit
_FAR_TOO_MANY = 1e12


def poisson_spikes(
    rate: ArrayLike,
    t_max: float,
    *,
    n_neurons: int,
    rng: np.random.Generator,
    n_samples: int = 1,
    t_start: float = 0.0,
) -> Spikes:
    """Independent homogeneous Poisson processes in continuous time.

    Parameters
    ----------
    rate : float or array_like, shape (n_neurons,)
        Expected spikes per unit of time, >= 0; in Hz if times are in seconds.
    t_max : float
        End of the processes, > `t_start`, in the unit of the network's time constants.
    n_neurons : int, >= 1
    rng : numpy Generator that draws numbers and times
    n_samples : int, >= 0
        Each sample is drawn anew.
    t_start : float, >= 0
        Beginning of the processes.

    Returns
    -------
    Spikes
        n_samples samples of n_neurons neurons; all times lie in [t_start, t_max].

    Raises
    ------
    ValidationError
        A rate is negative, not finite, or given for another number of neurons; an empty or negative window; `rng` is
        no Generator; so many spikes are to be expected that the units of `rate` and `t_max` cannot fit.

    Notes
    -----
    Exact, without a time grid: the number of spikes of each neuron is Poisson with mean ``rate (t_max - t_start)``, and
    given their number the times are independent and uniform.

    Examples
    --------
    >>> import numpy as np
    >>> from eventsnn import poisson_spikes
    >>> spikes = poisson_spikes([5.0, 50.0], t_max=100.0, n_neurons=2, rng=np.random.default_rng(0))
    >>> spikes.counts() / 100.0
    array([[ 5.09, 48.19]])
    """
    n_neurons = checked_size("poisson_spikes.n_neurons", n_neurons)
    n_samples = count("poisson_spikes.n_samples", n_samples)
    rates = _per_neuron("poisson_spikes.rate", rate, n_neurons, at_least=0.0)
    start = number("poisson_spikes.t_start", t_start, at_least=0)
    duration = number("poisson_spikes.t_max", t_max, above=start) - start
    if not isinstance(rng, np.random.Generator):
        raise ValidationError(f"poisson_spikes.rng: must be a numpy.random.Generator, got {type(rng).__name__}")
    with np.errstate(over="ignore"):  # inf is far too many as well
        means = rates * duration
        n_expected = n_samples * means.sum()
    if n_expected > _FAR_TOO_MANY:
        raise ValidationError(
            f"poisson_spikes: about {n_expected:.1g} spikes are to be expected; rate counts spikes per unit of t_max, "
            "so with times in seconds it is in Hz"
        )
    counts = rng.poisson(means, size=(n_samples, n_neurons)).ravel()
    places = np.repeat(np.arange(counts.size), counts)
    times = start + duration * rng.random(places.size)
    # The sum may round up beyond the end.
    return Spikes(
        places // n_neurons, places % n_neurons, np.minimum(times, t_max), n_samples=n_samples, n_neurons=n_neurons
    )


def regular_spikes(
    interval: ArrayLike, t_max: float, *, n_neurons: int = 1, phase: ArrayLike = 0.0, n_samples: int = 1
) -> Spikes:
    """Spikes at equal intervals: neuron j at ``phase[j] + k interval[j]``, k = 0, 1, ..., as long as that is <= t_max.

    Parameters
    ----------
    interval : float or array_like, shape (n_neurons,)
        Time between spikes, > 0, in the unit of the network's time constants.
    t_max : float
        End of the trains, >= 0; a spike at t_max itself is included. Times are computed as written above, so whether
        the last one is at most t_max is subject to rounding: ``3 * 0.1 > 0.3``.
    n_neurons : int, >= 1
    phase : float or array_like, shape (n_neurons,)
        Time of the first spike, >= 0; beyond t_max the neuron is silent.
    n_samples : int, >= 0
        All samples are equal.

    Returns
    -------
    Spikes

    Raises
    ------
    ValidationError
        Intervals that are not > 0, phases or an end that are negative, values that are not finite or given for another
        number of neurons; so many spikes that the units of `interval` and `t_max` cannot fit.

    Examples
    --------
    >>> from eventsnn import regular_spikes
    >>> spikes = regular_spikes([10e-3, 20e-3], t_max=40e-3, n_neurons=2, phase=[0.0, 5e-3])
    >>> spikes.neurons, spikes.times
    (array([0, 1, 0, 0, 1, 0, 0]), array([0.   , 0.005, 0.01 , 0.02 , 0.025, 0.03 , 0.04 ]))
    """
    n_neurons = checked_size("regular_spikes.n_neurons", n_neurons)
    n_samples = count("regular_spikes.n_samples", n_samples)
    intervals = _per_neuron("regular_spikes.interval", interval, n_neurons, above=0.0)
    phases = _per_neuron("regular_spikes.phase", phase, n_neurons, at_least=0.0)
    end = number("regular_spikes.t_max", t_max, at_least=0)
    with np.errstate(over="ignore"):
        # One more than fit, so that rounding of the quotient loses none; those beyond the end are left out below.
        n_spikes = np.where(phases <= end, np.floor((end - phases) / intervals) + 2, 0)
    if n_samples * n_spikes.sum() > _FAR_TOO_MANY:
        raise ValidationError(
            f"regular_spikes: {n_samples * n_spikes.sum():.1g} spikes; interval and t_max must be in the same unit"
        )
    counts = n_spikes.astype(np.int64)
    neurons = np.repeat(np.arange(n_neurons), counts)
    ranks = np.arange(neurons.size) - np.repeat(np.cumsum(counts) - counts, counts)
    times = phases[neurons] + ranks * intervals[neurons]
    kept = times <= end
    neurons, times = neurons[kept], times[kept]
    samples = np.repeat(np.arange(n_samples), times.size)
    return Spikes(
        samples, np.tile(neurons, n_samples), np.tile(times, n_samples), n_samples=n_samples, n_neurons=n_neurons
    )


def given_spikes(
    times_by_neuron: Iterable[ArrayLike] | Mapping[int, ArrayLike], n_neurons: int | None = None
) -> Spikes:
    """One sample of spikes at given times.

    Parameters
    ----------
    times_by_neuron : sequence of array_like, or dict of array_like by neuron
        Spike times of each neuron, finite and >= 0, in any order, in the unit of the network's time constants. An
        empty list, or a neuron that the dict leaves out, is silent.
    n_neurons : int, optional
        Default the length of the sequence, or the largest neuron of the dict plus one.

    Returns
    -------
    Spikes
        One sample. Several samples: `concatenate` of several such.

    Raises
    ------
    ValidationError
        Times that are negative, not finite, or not one-dimensional; neurons that are no integers in
        0 .. n_neurons - 1; nothing given and no `n_neurons`.

    Examples
    --------
    >>> from eventsnn import given_spikes
    >>> given_spikes([[1e-3, 4e-3], [], [2e-3]])
    Spikes(n_samples=1, n_neurons=3, n_events=3, times 0.001 .. 0.004)
    >>> given_spikes({7: [1e-3, 4e-3]}, n_neurons=10).counts()
    array([[0, 0, 0, 0, 0, 0, 0, 2, 0, 0]])
    """
    where = "given_spikes.times_by_neuron"
    if isinstance(times_by_neuron, Mapping):
        keys, values = list(times_by_neuron), list(times_by_neuron.values())
        wrong = [key for key in keys if isinstance(key, bool) or not isinstance(key, (int, np.integer)) or key < 0]
        if wrong:
            raise ValidationError(f"{where}: neurons must be integers >= 0, got {wrong[0]!r}")
    elif not isinstance(times_by_neuron, Iterable):
        raise ValidationError(f"{where}: must be a list or dict of times, got {type(times_by_neuron).__name__}")
    else:
        values = list(times_by_neuron)
        keys = list(range(len(values)))
    if n_neurons is None and not keys:
        raise ValidationError("given_spikes.n_neurons: must be given where times_by_neuron is empty")
    size = checked_size("given_spikes.n_neurons", int(max(keys)) + 1 if n_neurons is None else n_neurons)
    neurons = index_array(where, keys, size, "n_neurons")
    times = [_train(f"{where}[{key}]", value) for key, value in zip(keys, values, strict=True)]
    lengths = [train.size for train in times]
    joined = np.concatenate(times) if times else np.empty(0)
    return Spikes(np.zeros(joined.size, np.int64), np.repeat(neurons, lengths), joined, n_samples=1, n_neurons=size)


def _train(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Spike times of one neuron."""
    times = real_array(name, values)
    if times.ndim != 1:
        raise ValidationError(f"{name}: must be a one-dimensional array of times, got shape {times.shape}")
    times = times.astype(np.float64)
    bad = ~np.isfinite(times) | (times < 0)
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        raise ValidationError(f"{name}: entry {k} is {times[k]}; must be finite and >= 0")
    return times


def _per_neuron(name: str, given: Any, n_neurons: int, **bounds: float) -> NDArray[np.float64]:
    """A number, or one per neuron, within the bounds of `number`; shape (n_neurons,)."""
    values = real_array(name, given)
    if values.shape not in ((), (n_neurons,)):
        raise ValidationError(f"{name}: must be a number or of shape ({n_neurons},), got shape {values.shape}")
    if values.ndim == 0:
        return np.full(n_neurons, number(name, float(values), **bounds))
    return np.array([number(f"{name}[{j}]", float(value), **bounds) for j, value in enumerate(values)])
