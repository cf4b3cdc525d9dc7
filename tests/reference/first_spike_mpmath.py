"""First spike times of a feed-forward chain of LIF layers, every neuron at most one spike: the slow, literal way.

Never imports eventsnn. One neuron at a time, one interval between two inputs at a time; the state at the next input is
v and i_syn themselves. Simultaneous inputs are summed before the threshold is tested.
"""

from __future__ import annotations

import numpy as np
from mpmath import exp, inf, isinf, mpf, workdps

from tests.reference.neuron_mpmath import WORKING_DIGITS, Neuron


@workdps(WORKING_DIGITS)
def first_spike_of_neuron(inputs, tau_mem, tau_syn, v_threshold, v_leak, i_bias=0.0):
    """First spike time of one neuron from its inputs [(time, weight), ...]; inf if it stays silent.

    tau_mem dv/dt = -(v - v_leak) + i_syn + i_bias, tau_syn di_syn/dt = -i_syn; v(0) = v_leak, i_syn(0) = 0.
    """
    tau_mem, tau_syn, v_threshold, v_leak, i_bias = (mpf(x) for x in (tau_mem, tau_syn, v_threshold, v_leak, i_bias))
    v_inf = v_leak + i_bias
    summed = {}
    for time, weight in inputs:
        if not isinf(mpf(time)):
            summed[mpf(time)] = summed.get(mpf(time), mpf(0)) + mpf(weight)
    v, i_syn, now = v_leak, mpf(0), mpf(0)
    for time in [*sorted(summed), inf]:
        neuron = Neuron(v - v_inf, i_syn / tau_mem, tau_mem, tau_syn)
        if time > now:
            spike = neuron.spike_time(v_threshold - v_inf, 0, time - now)
            if not isinf(spike):
                return now + spike
        if isinf(time):
            return inf
        v = v_inf + neuron.potential(time - now)
        i_syn = i_syn * exp(-(time - now) / tau_syn) + summed[time]
        now = time
    return inf


def first_spike_times(weights, tau_mem, tau_syn, v_threshold, v_leak, spikes, i_bias=0.0):
    """First spike times of every layer for one sample, as lists of mpf.

    weights: one (n_pre, n_post) array per layer; the neuron parameters are the same for all; spikes: the input of the
    sample as a list of (time, neuron).
    """
    layers = []
    for weight in weights:
        layer = []
        for j in range(np.shape(weight)[1]):
            inputs = [(time, weight[k][j]) for time, k in spikes]
            layer.append(first_spike_of_neuron(inputs, tau_mem, tau_syn, v_threshold, v_leak, i_bias))
        layers.append(layer)
        spikes = [(time, k) for k, time in enumerate(layer)]
    return layers
