"""How far a simulated network is from gaining or losing a spike, where the exactness of gradients ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventsnn._names import hint
from eventsnn.errors import ValidationError
from eventsnn.gradients.eventprop_sums import VoltageGradient
from eventsnn.kernels.constants import NO_LIMIT
from eventsnn.kernels.exponential_sum import scratch_size
from eventsnn.kernels.margins import HEIGHT, PLACE, SLOPE, TIME, peaks_and_slopes
from eventsnn.kernels.traces import V_INF
from eventsnn.simulation.parallel import BlockPool, sample_blocks
from eventsnn.simulation.result import Result

__all__ = ["PLACES", "Margins", "margins"]

#: what the numbers in `Margins.peak_place` mean
PLACES = ("none", "start", "release", "inside", "arrival", "end")
#: numbers of the kinds of peak that what a neuron receives can move
MOVING = tuple(PLACES.index(place) for place in ("inside", "arrival", "end"))
_QUANTILES = (0.0, 0.01, 0.1, 0.5)


@dataclass(frozen=True)
class Margins:
    """Distances from gaining and from losing a spike; print it for a table.

    Attributes
    ----------
    peak : by population, (n_samples, n_neurons), highest v that led to no spike; -inf where there is none
    peak_time : its time; inf for a v_inf that v comes up to for ever, nan where there is none
    peak_place : which kind of peak, a number into ``PLACES``: at the "start" or a "release" from a refractory time,
        from where v falls; "inside" an interval between events; at the "arrival" of what cut a rise; at the "end" of
        the simulation, where v still rises
    peak_slope : dv/dt just before a peak at an arrival, 0 at all others
    gain : v_threshold - peak, likewise; inf where there is no peak
    slope : least dv/dt just before the neuron's spikes, inf where there are none
    slope_spike : which event of ``result.spikes[name]`` that is, -1 where there are none
    spike_slopes : by population, (n_events,), dv/dt just before every spike, in the order of ``result.spikes[name]``
    gain_unit : by population, (n_neurons,), |v_threshold - v_leak - i_bias|
    slope_unit : likewise, over tau_mem
    """

    peak: dict[str, NDArray[np.float64]]
    peak_time: dict[str, NDArray[np.float64]]
    peak_place: dict[str, NDArray[np.int64]]
    peak_slope: dict[str, NDArray[np.float64]]
    gain: dict[str, NDArray[np.float64]]
    slope: dict[str, NDArray[np.float64]]
    slope_spike: dict[str, NDArray[np.int64]]
    spike_slopes: dict[str, NDArray[np.float64]]
    gain_unit: dict[str, NDArray[np.float64]]
    slope_unit: dict[str, NDArray[np.float64]]
    _spike_times: dict[str, NDArray[np.float64]]

    @property
    def relative_gain(self) -> dict[str, NDArray[np.float64]]:
        """`gain` in units of |v_threshold - v_leak - i_bias|: 1 for a neuron at rest."""
        return {name: _relative(own, self.gain_unit[name]) for name, own in self.gain.items()}

    @property
    def relative_slope(self) -> dict[str, NDArray[np.float64]]:
        """`slope` in units of |v_threshold - v_leak - i_bias|/tau_mem."""
        return {name: _relative(own, self.slope_unit[name]) for name, own in self.slope.items()}

    def moves(self, name: str) -> NDArray[np.bool_]:
        """Whether what a neuron receives can move its highest peak, (n_samples, n_neurons)."""
        return np.isin(self.peak_place[name], MOVING) & np.isfinite(self.peak_time[name])

    def voltage_gradient(self, name: str, d_peak: NDArray[np.float64]) -> VoltageGradient:
        """dL/dv of the highest peaks of a population as `eventprop` takes it; one at an arrival moves with it.

        d_peak : (n_samples, n_neurons), dL/d(peak); those that are 0 are left out
        """
        samples, neurons = np.nonzero(d_peak)
        columns = (by[samples, neurons] for by in (self.peak_time[name], d_peak, self.peak_slope[name]))
        return VoltageGradient(samples, neurons, *columns)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {own.shape}" for name, own in self.gain.items())
        return f"Margins({sizes}; print it for a table)"

    def __str__(self) -> str:
        """Quantiles by population, and the closest neurons."""
        gain, slope = self.relative_gain, self.relative_slope
        width = max([len(name) for name in gain] + [len("population")])
        head = "".join(f"{'least' if q == 0.0 else f'{100 * q:g} %':>11}" for q in _QUANTILES)
        lines = []
        for title, values in (
            ("v_threshold - highest peak without a spike, over |v_threshold - v_inf|", gain),
            ("least dv/dt at a spike, over |v_threshold - v_inf|/tau_mem", slope),
        ):
            lines += [title, f"  {'population':<{width}}{head}"]
            for name, own in values.items():
                found = own[np.isfinite(own)]
                row = "".join(f"{np.quantile(found, q):11.3g}" for q in _QUANTILES) if found.size else f"{'none':>11}"
                lines.append(f"  {name:<{width}}{row}")
        lines += [_closest("gaining", gain, self.peak_time, "of the distance from rest to threshold")]
        times = {
            name: np.append(self._spike_times[name], np.nan)[own]  # -1: the last entry
            for name, own in self.slope_spike.items()
        }
        lines += [_closest("losing", slope, times, "of that distance per tau_mem")]
        return "\n".join(lines)


def margins(result: Result, populations: Iterable[str] | None = None, n_threads: int = 1) -> Margins:
    """How far every neuron is from gaining a spike, and from losing one.

    Parameters
    ----------
    result : of `simulate`
    populations : names; default all that can spike
    n_threads : threads over blocks of samples

    Returns
    -------
    Margins

    Raises
    ------
    ValidationError
        An unknown population, or one that cannot spike; a run that was continued from a state, of a population with
        `max_spikes`: which of its neurons are done is not on record.

    Notes
    -----
    Gaining: a neuron that is free (not refractory, not done with `max_spikes`) gains a spike where a peak of v comes to
    v_threshold. Taken is the highest v of all its free time but the rises that end in its spikes: maxima between two
    events, at an arrival, where a free stretch begins and v falls (at the start, at v_reset), and at t_max. Where t_max
    is inf, a potential that comes up to v_inf has its peak v_inf at t = inf.

    Losing: where the peak that made a spike sinks to v_threshold, dv/dt at the spike goes to 0. This is seen in advance
    as long as v is free to rise; a spike also vanishes when it moves behind an arrival that inhibits, or behind t_max,
    at any dv/dt.

    Peaks are exact to rounding: in closed form with one receptor, else by isolated roots of dv/dt. Cost: like
    `Result.v`, once through all synaptic events.

    Examples
    --------
    >>> from eventsnn import Dense, LIF, Sequential, Spikes, margins, simulate
    >>> net = Sequential([Dense([[3.0, 5.0]]), LIF(tau_mem=2.0, tau_syn=1.0)])
    >>> found = margins(simulate(net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1)))
    >>> found.gain["output"][0, 0]  # v peaks at 3/4 of the threshold
    np.float64(0.25)
    >>> found.slope["output"].round(3)
    array([[  inf, 0.809]])
    """
    if not isinstance(result, Result):
        raise ValidationError(f"margins: result: expected the Result of simulate, got {type(result).__name__}")
    known = result._graph.populations
    if isinstance(populations, str):
        raise ValidationError(f"margins: populations: must be a list of names, got {populations!r}")
    names = [name for name, own in known.items() if own.can_spike] if populations is None else list(populations)
    for name in names:
        if name not in known:
            raise ValidationError(f"margins: no population {name!r}{hint(name, known)}")
        if not known[name].can_spike:
            raise ValidationError(f"margins: population {name!r} is {known[name].neuron!r}, which cannot spike")
        if result.t_start > 0.0 and getattr(known[name].neuron, "max_spikes", None) is not None:
            raise ValidationError(
                f"margins: the simulation was continued at t = {result.t_start:g}, and which neurons of {name!r} are "
                "done with max_spikes is not on record; simulate it in one run"
            )

    def work(block: tuple[int, int]) -> list[dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
        return [{name: _of_sample(result, name, b) for name in names} for b in range(*block)]

    with BlockPool(n_threads) as pool:
        samples = [sample for block in pool.map(work, sample_blocks(result.n_samples)) for sample in block]
    return _collect(result, names, samples)


def _of_sample(result: Result, name: str, b: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peaks (n, 4), of v - v_inf, and dv/dt of the spikes of one population in one sample."""
    parameters, tau_syn, currents = result._neuron_columns(name, b)
    n, n_receptors = tau_syn.shape
    start = result._start[b][name] if result._start is not None else None
    ends, (times, receptors, weights) = result._arrivals(name, b, np.arange(n), start)
    spikes = result.spikes[name][b]
    order = np.argsort(spikes.neurons, kind="stable")
    neuron = result._graph.populations[name].neuron
    peaks, slopes = np.empty((n, 4)), np.empty(order.size)
    peaks_and_slopes(
        parameters, tau_syn, neuron.per_neuron("v_threshold", n) - parameters[:, V_INF],
        getattr(neuron, "max_spikes", None) or NO_LIMIT, result.t_start, result.t_max, currents, ends, times, receptors,
        weights, np.searchsorted(spikes.neurons[order], np.arange(n + 1)), spikes.times[order],
        np.empty((3, n_receptors)), np.empty(scratch_size(n_receptors)), np.empty(n_receptors), peaks, slopes,
    )  # fmt: skip
    in_order = np.empty_like(slopes)
    in_order[order] = slopes
    return peaks, in_order


def _collect(
    result: Result, names: list[str], samples: list[dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]]
) -> Margins:
    found = Margins({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})
    for name in names:
        population, spikes = result._graph.populations[name], result.spikes[name]
        neuron, n = population.neuron, population.n_neurons
        v_inf = neuron.per_neuron("v_leak", n) + neuron.per_neuron("i_bias", n)
        theta = neuron.per_neuron("v_threshold", n) - v_inf
        peaks = np.stack([sample[name][0] for sample in samples]) if samples else np.empty((0, n, 4))
        slopes = np.concatenate([sample[name][1] for sample in samples]) if samples else np.empty(0)
        found.peak[name] = peaks[:, :, HEIGHT] + v_inf
        found.peak_time[name] = peaks[:, :, TIME]
        found.peak_place[name] = peaks[:, :, PLACE].astype(np.int64)
        found.peak_slope[name] = peaks[:, :, SLOPE]
        found.gain[name] = theta - peaks[:, :, HEIGHT]
        least, which = np.full((result.n_samples, n), np.inf), np.full((result.n_samples, n), -1)
        np.minimum.at(least, (spikes.samples, spikes.neurons), slopes)
        is_least = np.flatnonzero(slopes == least[spikes.samples, spikes.neurons])[::-1]  # of equal ones the first
        which[spikes.samples[is_least], spikes.neurons[is_least]] = is_least
        found.slope[name], found.slope_spike[name], found.spike_slopes[name] = least, which, slopes
        found.gain_unit[name] = np.abs(theta)
        found.slope_unit[name] = np.abs(theta) / neuron.per_neuron("tau_mem", n)
        found._spike_times[name] = spikes.times
    return found


def _relative(values: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the unit of each neuron; nan where it is 0, in a neuron that rests at its threshold."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative: NDArray[np.float64] = np.where(unit > 0.0, values / unit, np.nan)
    return relative


def _closest(
    what: str, values: dict[str, NDArray[np.float64]], times: dict[str, NDArray[np.float64]], unit: str
) -> str:
    """A sentence on the neuron with the least value."""
    finite = {name: np.where(np.isfinite(own), own, np.inf) for name, own in values.items() if np.isfinite(own).any()}
    if not finite:
        return f"closest to {what} a spike: none"
    name = min(finite, key=lambda key: float(finite[key].min()))
    b, n = np.unravel_index(int(finite[name].argmin()), finite[name].shape)
    return (
        f"closest to {what} a spike: population {name!r}, neuron {n}, sample {b}, t = {times[name][b, n]:g}: "
        f"{finite[name][b, n]:.3g} {unit}"
    )
