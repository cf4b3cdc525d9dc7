"""What the layer kernels take: small named tuples of scalars and arrays, so that signatures stay readable.

Words used by all layer kernels. Times inside a sample are measured from a running reference time, s = t - t_ref, in
the warped form x = (1 - exp(-delta s))/delta with delta = 1/tau_syn - 1/tau_mem (`flow.warp`). Between two events

    v - v_inf = exp(-s/tau_mem) (p + q x)

so an input of weight w at s_j is two multiply-adds, ``q += w gain_j`` and ``p += w cross_j`` with
``gain_j = exp(s_j/tau_syn)/tau_mem`` and ``cross_j = -gain_j x_j``, and the threshold test is one,
``p + q x > theta exp(s/tau_mem)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: status codes of the kernels
STATUS_OK = 0
STATUS_NOT_FINITE = 1
STATUS_BUFFER_FULL = 2
STATUS_PAUSED = 3

#: A new reference time is taken once s exceeds this many of the shorter time constant: exp(20) leaves float32 (and
#: its squares in gradients) far from overflow, and typical windows of a few time constants never pay for a move.
REFERENCE_SPAN = 20.0

#: The same for delta s > 0: then p and q x grow like exp(s/tau_syn) while their sum grows like exp(s/tau_mem), so a
#: factor exp(delta s) of the precision cancels. exp(4) = 55 costs float32 less than two of its seven digits.
CANCELLATION_SPAN = 4.0

#: `LayerConstants.max_spikes` of neurons without a limit
NO_LIMIT = 2**62


class LayerConstants(NamedTuple):
    """Shared neuron parameters of a layer, all float64 but `family` and `max_spikes`.

    theta = v_threshold - v_inf > 0; reset_jump = v_threshold - v_reset > 0; t_end: spikes after it are not emitted.
    """

    tau_mem: float
    tau_syn: float
    delta: float
    theta: float
    reset_jump: float
    t_end: float
    family: int
    max_spikes: int


class NeuronConstants(NamedTuple):
    """Parameters of every neuron of a layer, arrays of shape (n_post,), for the neuron-wise kernels."""

    tau_mem: NDArray[np.float64]
    tau_syn: NDArray[np.float64]
    v_threshold: NDArray[np.float64]
    v_reset: NDArray[np.float64]
    v_leak: NDArray[np.float64]
    t_refrac: NDArray[np.float64]
    i_bias: NDArray[np.float64]
    t_end: float
    max_spikes: int


#: rows of the forward pass's work array: coefficients p, q (two sets in turn) and OFF of all neurons (0; inf once a
#: neuron may not fire any more)
P_ONE, P_OTHER, OFF = 0, 2, 4
WORK_ROWS = 5

#: rows of `Factors.values`
GAIN, CROSS, X_NEXT, RISE = 0, 1, 2, 3
#: rows of `Factors.clock`
TIME, REFERENCE = 0, 1
#: rows of `Factors.floats`
REDUCED, POWER, EXPONENTIAL, WARPED = 0, 1, 2, 3


class Factors(NamedTuple):
    """Per-event factors of the input spikes of a block (see `event_factors`).

    values : dtype of the weights, (4, n_events). GAIN = exp(s/tau_syn)/tau_mem, CROSS = -GAIN x, X_NEXT the warped time
        of the next event relative to this event's reference (its own where it is the sample's last), and
        RISE = exp(s/tau_mem).
    clock : float64, (2, n_events). TIME of the event and the REFERENCE time that s = time - reference is measured from.
    floats : float64, (4, n_events), scratch; bits : the memory of its POWER row as int64
    """

    values: NDArray[np.floating]
    clock: NDArray[np.float64]
    floats: NDArray[np.float64]
    bits: NDArray[np.int64]


class SpikeRecord(NamedTuple):
    """The event of each neuron through which its loss gradient flows, each of shape (n_samples, n_post).

    For a first-spike neuron that is its spike; for a silent one it may be its highest peak (`layer_peaks`).
    time (float64): inf where there is none; the other entries are then undefined. decay_mem = exp(-s/tau_mem) and
    warped = x(s), from the reference time of the last causal event. slope: dv/dt at a spike (> 0); at a peak minus
    dv/dt on its left (0 inside an interval, < 0 at a kink). These three have the dtype of the weights. causal_end
    (int32): the input events before it are offsets[sample] : causal_end.
    """

    time: NDArray[np.float64]
    decay_mem: NDArray[np.floating]
    warped: NDArray[np.floating]
    slope: NDArray[np.floating]
    causal_end: NDArray[np.int32]


#: rows of `FoundSpikes.floats`: coefficients and interval of the spike, then scratch of the solver
FOUND_P, FOUND_Q, S_LOW, S_HIGH, DECAY, ROOT, SLOPE, MANTISSA, EXPONENT, LOGARITHM = range(10)
#: rows of `FoundSpikes.places`
NEURON, EVENT = 0, 1


class FoundSpikes(NamedTuple):
    """First spikes of one sample whose times are still to be solved, one per column; room for n_post.

    floats : float64, (10, n_post); bits : the memory of its MANTISSA row as int64; places : int64, (2, n_post)
    """

    floats: NDArray[np.float64]
    bits: NDArray[np.int64]
    places: NDArray[np.int64]


#: rows of the trace of a layer's output spikes: dv/dt just before the spike, then warped time and exp(-s/tau_mem), s
#: from the reference of the input events around it; the last three in the order in which they were found, scratch
SPIKE_SLOPE, SPIKE_WARPED, SPIKE_DECAY = 0, 1, 2
TRACE_ROWS = 6


class DelayTables(NamedTuple):
    """Exponentials of the delays d of a layer, (n_post, n_pre) in float64, see `delayed_layer`.

    grow_mem : exp(d/tau_mem); grow_syn : exp(d/tau_syn); fade : their quotient, exp(-delta d)
    longest : the longest delay; usable: whether all neurons share time constants that differ by enough, or not at all
    """

    grow_mem: NDArray[np.float64]
    grow_syn: NDArray[np.float64]
    fade: NDArray[np.float64]
    longest: float
    usable: bool


class InputEvents(NamedTuple):
    """Input spikes of a block of samples in canonical order: sample b has the events offsets[b] : offsets[b + 1]."""

    offsets: NDArray[np.int64]
    neurons: NDArray[np.int64]
    times: NDArray[np.float64]


class OutputEvents(NamedTuple):
    """Output buffers of the forward kernels, same layout; neurons and times have room for `capacity` events."""

    offsets: NDArray[np.int64]
    neurons: NDArray[np.int64]
    times: NDArray[np.float64]
