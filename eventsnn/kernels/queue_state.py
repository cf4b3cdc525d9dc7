"""What the priority-queue engine works on: the network it simulates, and a state that a run can be continued from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class QueueNetwork(NamedTuple):
    """Neurons 0 .. N-1 of a part of a network, and all synapses onto them. Never changed.

    Neurons with the same time constants that follow each other form a group: g has group_start[g] : group_start[g + 1].
    Sources are the external channels 0 .. n_external - 1, then the neurons. The synapses of a source lie in segments
    of equal delay, group of targets and receptor, in the order of their delays:
    source_segments[source] : source_segments[source + 1].

    group_start : (G + 1,) int64; group_of : (N,) int64
    n_receptors : (G,) int64; tau_mem : (G,); tau_syn, delta : (G, K), unused ones beyond n_receptors
    theta : (N,) v_threshold - v_inf; reset : (N,) v_reset - v_inf; t_refrac : (N,); max_spikes : (N,) int64
    source_segments : (n_sources + 1,) int64
    segment_delay : (n_segments,); segment_place : (n_segments, 5) int64, columns SEGMENT_GROUP .. SEGMENT_LAST
    targets : (n_synapses,) uint32; weights : (n_synapses,)
    """

    group_start: NDArray[np.int64]
    group_of: NDArray[np.int64]
    n_receptors: NDArray[np.int64]
    tau_mem: NDArray[np.float64]
    tau_syn: NDArray[np.float64]
    delta: NDArray[np.float64]
    theta: NDArray[np.float64]
    reset: NDArray[np.float64]
    t_refrac: NDArray[np.float64]
    max_spikes: NDArray[np.int64]
    source_segments: NDArray[np.int64]
    segment_delay: NDArray[np.float64]
    segment_place: NDArray[np.int64]
    targets: NDArray[np.uint32]
    weights: NDArray[np.float64]
    n_external: int


#: columns of `QueueNetwork.segment_place`
SEGMENT_GROUP, SEGMENT_RECEPTOR, SEGMENT_START, SEGMENT_END, SEGMENT_LAST = 0, 1, 2, 3, 4

#: entries of `QueueState.reals`: reference time = beginning of the window, its end and its width
WINDOW_START, WINDOW_END, WIDTH = 0, 1, 2
N_REALS = 3
#: entries of `QueueState.counts`
N_QUEUED, N_ON_WAY, N_RANKS, N_HELD, N_WASTED, N_EVENTS, NEXT_INPUT, N_WRITTEN, N_SYNAPTIC, N_WINDOWS = range(10)
N_COUNTS = 10


#: columns of `QueueState.cells`
HEADROOM, P, Q = 0, 1, 2


class QueueState(NamedTuple):
    """Everything that changes; a copy of it continues a run with the same bits.

    cells : (N, 2 + K)       a neuron's HEADROOM, how far its potential can be pushed up in the window without
                             a crossing; then p and q of each receptor, with respect to WINDOW_START. Side by side,
                             because a synaptic event needs them all: one line of the cache
    off : (N,)               0; inf for a neuron that cannot fire: held at reset, or out of spikes
    held_until : (N,)        end of the refractory time of a held neuron
    n_spikes : (N,) int64    spikes so far
    queue, place : (N,) int64, key : (N,)    heap of the neurons whose next spike or release lies in this window
    stale : (N,) uint8       the queued time is too early: inhibition came later
    held : (N,) int64        neurons held beyond this window, N_HELD of them
    way_times : (2, capacity), way_items : (2, capacity) int64      heap of the spikes on their way
    reals : (N_REALS,), counts : (N_COUNTS,) int64
    """

    cells: NDArray[np.float64]
    off: NDArray[np.float64]
    held_until: NDArray[np.float64]
    n_spikes: NDArray[np.int64]
    queue: NDArray[np.int64]
    place: NDArray[np.int64]
    key: NDArray[np.float64]
    stale: NDArray[np.uint8]
    held: NDArray[np.int64]
    way_times: NDArray[np.float64]
    way_items: NDArray[np.int64]
    reals: NDArray[np.float64]
    counts: NDArray[np.int64]


class QueueScratch(NamedTuple):
    """Work space that carries nothing over.

    push : (G, K) how far one unit of weight can raise the potential before the window's end
    at_end : (G, 1 + K) factors of p and q in the potential at the window's end; bends : (G, 1 + K) in the bound on its
        curvature; at_end_syn : (G, K) decays of the currents until then
    now : (G,) a time in the window, at_now : (G, 1 + K) exp(-now/tau_mem) and x_r(now)
    mix, fade : (K,) factors of the move to another reference time
    crossing : scratch of `first_crossing_of_sum`
    todo : int64, neurons to be solved; -1 - n if neuron n was only inhibited. Room for N, or all synapses that one
        spike reaches in one instant if they are more, and one
    sums : (N, K), is_touched : (N,) uint8, both zero; touched : (N,) int64    arrivals of one instant, added up
    """

    push: NDArray[np.float64]
    at_end: NDArray[np.float64]
    bends: NDArray[np.float64]
    at_end_syn: NDArray[np.float64]
    now: NDArray[np.float64]
    at_now: NDArray[np.float64]
    mix: NDArray[np.float64]
    fade: NDArray[np.float64]
    crossing: NDArray[np.float64]
    todo: NDArray[np.int64]
    sums: NDArray[np.float64]
    is_touched: NDArray[np.uint8]
    touched: NDArray[np.int64]
