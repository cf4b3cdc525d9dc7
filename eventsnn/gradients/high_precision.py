"""First spike times of a feed-forward chain in high precision, for central differences that mean something.

With 40 digits a step of 1e-15 leaves a relative error of about 1e-25 in a central difference, far below any error of a
float64 gradient. Everything is the model of `eventsnn.LIF` with `max_spikes=1`, written for mpmath numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventsnn.errors import SimulationError, ValidationError
from eventsnn.gradients.high_precision_gates import Gates

__all__ = ["GUARD_DIGITS", "channel_events", "crossing_near", "first_spike_times", "flow_factors"]

# Digits carried beyond those asked for: what cancellation and the accumulated inputs of a few layers can cost.
GUARD_DIGITS = 15
# Exponentials whose exponents differ by more are subtracted as they are, which costs three digits at most.
CLOSE = 1e-3
# Relative distance from the threshold beyond which a float64 evaluation is trusted to decide. Its own error is below
# 1e-10 as long as rounding errors are not amplified by more than the second number.
CLEAR_MARGIN = 1e-8
LARGEST_AMPLIFICATION = 1e4


def first_spike_times(
    weights: Sequence[NDArray[Any]],
    lif_parameters: Sequence[Mapping[str, Any]],
    times: Sequence[Any],
    neurons: Sequence[int],
    digits: int = 40,
    *,
    delays: Sequence[Any] | None = None,
    channels: Sequence[tuple[Sequence[int], Sequence[Any]] | None] | None = None,
    gates: Sequence[Gates | None] | None = None,
) -> list[NDArray[Any]]:
    """First spike time of every neuron of a chain of first-spike LIF layers, for one sample.

    Parameters
    ----------
    weights : list of array_like, shape (n_pre, n_post)
        One matrix per layer, of floats or `mpmath.mpf` (dtype object).
    lif_parameters : list of dict
        One per layer: ``tau_mem, tau_syn, v_threshold, v_leak, i_bias``, each one value per neuron (or one for all),
        floats or mpf.
    times, neurons : sequences of the same length
        Input spikes, in any order; several per neuron are allowed. inf means no spike.
    digits : int
        Correct decimal digits of the result; numbers given as float count as exact.
    delays : list of array_like
        One per layer, floats or mpf, that fits the weights: a number, (n_pre, 1), (1, n_post) or (n_pre, n_post).
    channels : list of pairs, or None where the inputs of a layer are the spikes of the one before
        One per layer, (sources, times): for each row of the weights the neuron its spikes come from, or -1 for a spike
        of its own at a time; see `eventsnn.channels.ChannelMap`.
    gates : list of Gates, or None where there are none
        One per layer, that its inputs pass; the rows of its weights are what the last gate gives.

    Returns
    -------
    list of ndarray of mpf, shape (n_post,), dtype object
        One per layer; ``mpf('inf')`` for a neuron that stays silent.

    Raises
    ------
    ValidationError
        If the shapes do not fit together or a neuron index is out of range.

    Notes
    -----
    Simultaneous inputs are summed before the threshold is tested; a touch of peak and threshold is no spike. The state
    (u, q) = (v - v_inf, i_syn/tau_mem) is carried from input to input: u(s) = exp(-s/tau_mem) (u + q x(s)), x(s) =
    (1 - exp(-delta s))/delta, delta = 1/tau_syn - 1/tau_mem. Spike times come from Halley's iteration. mpmath's global
    precision is set for the call and restored: do not call this from two threads at once.

    Examples
    --------
    >>> import numpy as np
    >>> layer = dict(tau_mem=2.0, tau_syn=1.0, v_threshold=0.5, v_leak=0.0, i_bias=0.0)
    >>> (hidden,) = first_spike_times([np.array([[4.0, 1.0]])], [layer], [0.0], [0], digits=20)
    >>> [float(t) for t in hidden]
    [0.3166943676407499, inf]
    """
    from mpmath import mp

    channels = [None] * len(weights) if channels is None else channels
    delays = [np.asarray(delay, dtype=object) for delay in ([0] * len(weights) if delays is None else delays)]
    gates = [None] * len(weights) if gates is None else gates
    _check(weights, lif_parameters, times, neurons, delays, channels, gates)
    with mp.workdps(digits + GUARD_DIGITS):
        events = [(mp.mpf(time), int(neuron)) for time, neuron in zip(times, neurons, strict=True)]
        layers = []
        for weight, parameters, delay, rows, own in zip(weights, lif_parameters, delays, channels, gates, strict=True):
            inputs = events if rows is None else channel_events(mp, events, *rows)
            inputs = inputs if own is None else own(inputs)
            first = _layer(mp, np.asarray(weight, dtype=object), parameters, inputs, delay)
            layers.append(first)
            events = [(time, neuron) for neuron, time in enumerate(first)]
    with mp.workdps(digits):
        return [np.array([+time for time in first], dtype=object) for first in layers]


def _check(weights: Any, lif_parameters: Any, times: Any, neurons: Any, delays: Any, channels: Any, gates: Any) -> None:
    for own, what in ((lif_parameters, "parameter sets"), (delays, "arrays of delays"), (channels, "sets of channels")):
        if len(weights) != len(own):
            raise ValidationError(
                f"first_spike_times: {len(weights)} weight matrices but {len(own)} {what}; give one each"
            )
    if len(times) != len(neurons):
        raise ValidationError(f"first_spike_times: {len(times)} times but {len(neurons)} neurons; give one each")
    shapes = [np.shape(weight) for weight in weights]
    for k, (shape, rows, delay) in enumerate(zip(shapes, channels, delays, strict=True)):
        n_before = shapes[k - 1][1] if k > 0 else None
        if gates[k] is not None:
            if n_before not in (None, gates[k].n_pre):
                raise ValidationError(f"first_spike_times: gates[{k}] expect {gates[k].n_pre} inputs, got {n_before}")
            if k == 0 and not all(0 <= int(neuron) < gates[0].n_pre for neuron in neurons):
                raise ValidationError(f"first_spike_times: input neurons must be in 0 ... {gates[0].n_pre - 1}")
            if shape[0] != gates[k].n_post:
                raise ValidationError(f"first_spike_times: weights[{k}] must have {gates[k].n_post} rows, got {shape}")
            continue
        n_rows = n_before if rows is None else len(rows[0])
        if len(shape) != 2 or n_rows not in (None, shape[0]):
            raise ValidationError(
                f"first_spike_times: weights[{k}] has shape {shape}; it must be (n_pre, n_post) with n_pre the number "
                "of neurons of the layer before, or of the channels made of them"
            )
        if delay.shape not in ((), (shape[0], 1), (1, shape[1]), shape):
            raise ValidationError(f"first_spike_times: delays[{k}] has shape {delay.shape}, which does not fit {shape}")
        n_sources = n_before if n_before is not None else (shape[0] if rows is None else max(rows[0], default=-1) + 1)
        if rows is not None and not all(-1 <= int(source) < n_sources for source in rows[0]):
            raise ValidationError(f"first_spike_times: sources of channels[{k}] must be in -1 ... {n_sources - 1}")
        if k == 0 and not all(0 <= int(neuron) < n_sources for neuron in neurons):
            raise ValidationError(f"first_spike_times: input neurons must be in 0 ... {n_sources - 1}")


def channel_events(
    mp: Any, events: list[tuple[Any, int]], sources: Sequence[int], times: Sequence[Any]
) -> list[tuple[Any, int]]:
    """The events of the channels that take those of their source neurons, or spike at a time of their own."""
    found = [(mp.mpf(time), row) for row, (source, time) in enumerate(zip(sources, times, strict=True)) if source < 0]
    rows: dict[int, list[int]] = {}
    for row, source in enumerate(sources):
        rows.setdefault(int(source), []).append(row)
    return found + [(time, row) for time, neuron in events for row in rows.get(neuron, ())]


def _grouped(mp: Any, events: list[tuple[Any, int]]) -> list[tuple[Any, list[int]]]:
    """The inputs at each time, in order."""
    grouped: dict[Any, list[int]] = {}
    for time, neuron in events:
        if mp.isfinite(time):
            grouped.setdefault(time, []).append(neuron)
    return sorted(grouped.items())


def _layer(
    mp: Any, weight: NDArray[Any], parameters: Mapping[str, Any], events: list[tuple[Any, int]], delay: NDArray[Any]
) -> list[Any]:
    """First spike times of one layer from its input events."""
    n = weight.shape[1]
    own = delay.ndim == 2 and delay.shape[1] > 1  # every neuron has its own order of arrivals
    of_pairs = np.broadcast_to(delay, weight.shape)
    names = ("tau_mem", "tau_syn", "v_threshold", "v_leak", "i_bias")
    columns = [np.broadcast_to(np.asarray(parameters[name], dtype=object), (n,)) for name in names]
    decays: dict[Any, Any] = {}
    inputs: list[tuple[Any, list[int]]] = []
    result = []
    for j in range(n):
        if own or j == 0:
            inputs = _grouped(mp, [(time + mp.mpf(of_pairs[row, j]), row) for time, row in events])
            decays = {}
        tau_mem, tau_syn, v_threshold, v_leak, i_bias = (mp.mpf(column[j]) for column in columns)
        jumps = [(time, mp.fsum(mp.mpf(weight[k, j]) for k in sources) / tau_mem) for time, sources in inputs]
        key = (tau_mem, tau_syn)
        if key not in decays:
            decays[key] = _decays(mp, tau_mem, tau_syn, [time for time, _ in inputs])
        cell = _Neuron(mp, tau_mem, tau_syn, v_threshold - v_leak - i_bias)
        result.append(cell.first_spike(-i_bias, jumps, decays[key]))
    return result


def _decays(mp: Any, tau_mem: Any, tau_syn: Any, times: list[Any]) -> list[tuple[Any, Any, Any]]:
    """(exp(-h/tau_mem), exp(-h/tau_mem) x(h), exp(-h/tau_syn)) of the intervals that end at the given times."""
    factors = []
    start = mp.mpf(0)
    for time in times:
        factors.append(flow_factors(mp, time - start, tau_mem, tau_syn))
        start = time
    return factors


def flow_factors(mp: Any, h: Any, tau_mem: Any, tau_syn: Any) -> tuple[Any, Any, Any]:
    """exp(-h/tau_mem), exp(-h/tau_mem) x(h) and exp(-h/tau_syn) of an interval; h may be negative."""
    delta = (tau_mem - tau_syn) / (tau_mem * tau_syn)
    decay = mp.exp(-h / tau_mem)
    z = delta * h
    if abs(z) > CLOSE:
        syn_decay = mp.exp(-h / tau_syn)
        return decay, (decay - syn_decay) / delta, syn_decay
    rest = mp.expm1(-z)
    return decay, decay * (-rest / delta if delta else h), decay * (1 + rest)


def crossing_near(
    mp: Any, p: Any, q: Sequence[Any], tau_mem: Any, tau_syn: Sequence[Any], theta: Any, s: Any, small: Any, limit: Any
) -> Any:
    """The s with u(s) = theta near a first guess, by Halley's iteration; None if it does not settle within `limit`.

    q, tau_syn : one per receptor; small : a step of this size is the last, what is left is of the order of its cube.
    """
    guess = s
    for _ in range(60):
        u = drive = fade = decay = 0
        for q_r, tau_r in zip(q, tau_syn, strict=True):
            decay, kernel, syn_decay = flow_factors(mp, s, tau_mem, tau_r)
            u += kernel * q_r
            drive += syn_decay * q_r
            fade += syn_decay * q_r / tau_r
        u += decay * p
        rise = drive - u / tau_mem
        bend = -rise / tau_mem - fade
        if not rise:
            return None
        newton = (u - theta) / rise
        damping = 1 - newton * bend / (2 * rise)
        if not damping:
            return None
        step = newton / damping
        s -= step
        if abs(step) <= small:
            return s
        if not abs(s - guess) <= limit:
            return None
    return None


class _Neuron:
    """One neuron of a layer; p = v - v_inf and q = i_syn/tau_mem at the start of the present interval."""

    def __init__(self, mp: Any, tau_mem: Any, tau_syn: Any, theta: Any) -> None:
        self.mp, self.tau_mem, self.tau_syn, self.theta = mp, tau_mem, tau_syn, theta
        self.delta = (tau_mem - tau_syn) / (tau_mem * tau_syn)
        self.as_floats = float(tau_mem), float(tau_syn), float(self.delta), float(theta)

    def first_spike(self, p: Any, jumps: list[tuple[Any, Any]], decays: list[tuple[Any, Any, Any]]) -> Any:
        """Time of the first spike from v - v_inf = p, i_syn = 0 at t = 0."""
        q = self.mp.mpf(0)
        start = self.mp.mpf(0)
        for (time, jump), (mem_decay, kernel, syn_decay) in zip(jumps, decays, strict=True):
            if self.crosses(p, q, time - start):
                return start + self.spike_time(p, q, time - start)
            p, q, start = mem_decay * p + kernel * q, syn_decay * q + jump, time
        return start + self.spike_time(p, q, self.mp.inf) if self.crosses(p, q, self.mp.inf) else self.mp.inf

    def crosses(self, p: Any, q: Any, h: Any) -> bool:
        """Does u pass theta upward in (0, h]? float64 where that is clear."""
        if self.theta > 0:
            if q <= 0:
                return False
            clear = _clear_answer(float(p), float(q), float(h), *self.as_floats)
            return self._crosses_to_peak(p, q, h) if clear is None else clear
        if self.theta == 0:
            if q <= 0:
                return False
            return bool(q + self.delta * p > 0 if h == self.mp.inf else p + q * self._warp(h) >= 0)
        return bool(h == self.mp.inf or self._potential(p, q, h) >= self.theta)

    def _crosses_to_peak(self, p: Any, q: Any, h: Any) -> bool:
        s_peak = self._peak(p, q)
        if s_peak is None or s_peak <= 0:
            return False
        if s_peak <= h:
            return bool(self.tau_mem * q * self.mp.exp(-s_peak / self.tau_syn) > self.theta)
        return bool(self._potential(p, q, h) >= self.theta)

    def spike_time(self, p: Any, q: Any, h: Any) -> Any:
        """The crossing in (0, h] that `crosses` has found, by Halley's iteration on u(s) = theta."""
        mp = self.mp
        if self.theta == 0:
            return -mp.log1p(self.delta * p / q) / self.delta if self.delta else -p / q
        if self.theta > 0:
            s_peak = self._peak(p, q)
            gap = 1 - self.theta / (self.tau_mem * q) * mp.exp(s_peak / self.tau_syn)
            m = self.tau_mem / self.tau_syn
            scale = 3 / (m + 1)
            # Right to second order about the peak, within 1 % for 0.1 < m < 5; u is concave on the rising side.
            s = s_peak - self.tau_mem * scale * mp.log1p(mp.sqrt(2 * gap / m) / scale)
            reach = s_peak - s
        else:
            s = mp.mpf(_rising_root(float(p), float(q), float(h), *self.as_floats))
            reach = abs(s) + self.tau_mem
        small = reach * mp.mpf(10) ** (-mp.dps // 3 - 3)
        found = crossing_near(mp, p, (q,), self.tau_mem, (self.tau_syn,), self.theta, s, small, mp.inf)
        if found is not None:
            return found
        raise SimulationError(
            f"first_spike_times: the spike time near {mp.nstr(s, 10)} did not settle for "
            f"tau_mem={mp.nstr(self.tau_mem)}, tau_syn={mp.nstr(self.tau_syn)}; use time constants of similar size"
        )

    def _peak(self, p: Any, q: Any) -> Any:
        """Time of the maximum for q > 0, None if there is none."""
        denominator = q + self.delta * p
        if denominator <= 0:
            return None
        z = (self.tau_mem * q - p) / denominator
        return self.mp.log1p(self.delta * z) / self.delta if self.delta else z

    def _warp(self, s: Any) -> Any:
        return -self.mp.expm1(-self.delta * s) / self.delta if self.delta else s

    def _potential(self, p: Any, q: Any, s: Any) -> Any:
        return self.mp.exp(-s / self.tau_mem) * (p + q * self._warp(s))


def _potential_in_floats(p: float, q: float, s: float, tau_mem: float, tau_syn: float, delta: float) -> float:
    """u(s) for s >= 0, without overflow."""
    slow = max(tau_mem, tau_syn)
    x = -math.expm1(-abs(delta) * s) / abs(delta) if delta else s
    return p * math.exp(-s / tau_mem) + q * math.exp(-s / slow) * x


def _clear_answer(
    p: float, q: float, h: float, tau_mem: float, tau_syn: float, delta: float, theta: float
) -> bool | None:
    """Does u reach theta > 0 in (0, h], q > 0? None where float64 cannot tell for sure."""
    denominator = q + delta * p
    size = tau_mem * q + abs(p)
    # How much the roundings of p, q and delta are amplified in s_peak, see kernels/crossing.py, peak_log_error.
    if size * (q + abs(delta) * size) > LARGEST_AMPLIFICATION * tau_mem * q * denominator:
        return None
    y = delta * (tau_mem * q - p) / denominator
    if y < -0.5:
        s_peak = math.log(tau_mem / tau_syn * q / denominator) / delta
    else:
        s_peak = math.log1p(y) / delta if delta else (tau_mem * q - p) / denominator
    margin = CLEAR_MARGIN * max(tau_mem, tau_syn)
    if s_peak < -margin:
        return False
    if s_peak < margin or abs(s_peak - h) < margin or s_peak > 600.0 * min(tau_mem, tau_syn):
        return None
    if s_peak < h:
        u = tau_mem * q * math.exp(-s_peak / tau_syn)
        scale = u
    else:
        u = _potential_in_floats(p, q, h, tau_mem, tau_syn, delta)
        scale = abs(p) + q * h
    return u > theta if abs(u - theta) > CLEAR_MARGIN * (scale + theta) else None


def _rising_root(p: float, q: float, h: float, tau_mem: float, tau_syn: float, delta: float, theta: float) -> float:
    """A start for u(s) = theta < 0 in (0, h]: 60 bisections in float64 right of the trough, then the upper end."""
    low = 0.0
    if q < 0.0 and q + delta * p < 0.0:
        y = delta * (tau_mem * q - p) / (q + delta * p)
        low = max(0.0, math.log1p(y) / delta if delta else (tau_mem * q - p) / q)
    high = h
    if math.isinf(high):
        width = max(tau_mem, tau_syn)
        while _potential_in_floats(p, q, low + width, tau_mem, tau_syn, delta) < theta:
            width *= 2.0
        high = low + width
    for _ in range(60):
        middle = 0.5 * (low + high)
        if _potential_in_floats(p, q, middle, tau_mem, tau_syn, delta) < theta:
            low = middle
        else:
            high = middle
    return high
