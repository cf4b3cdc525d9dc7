"""All spikes of one LIF neuron, to 50 digits: from spike to spike and from input to input. Never imports eventsnn."""

from __future__ import annotations

from mpmath import exp, inf, isinf, mpf, workdps

from tests.reference.neuron_mpmath import WORKING_DIGITS, Neuron


@workdps(WORKING_DIGITS)
def spikes_of_neuron(
    inputs, tau_mem, tau_syn, v_threshold, v_reset, v_leak, t_refrac=0.0, i_bias=0.0, max_spikes=None, t_max=inf
):
    """Spike times up to t_max of a neuron with the inputs [(time, weight), ...], as a list of mpf.

    tau_mem dv/dt = -(v - v_leak) + i_syn + i_bias, tau_syn di_syn/dt = -i_syn; v(0) = v_leak, i_syn(0) = 0. At a spike
    v := v_reset, held for t_refrac, while i_syn runs on. Inputs at one time are summed; one that comes at the time of
    a spike comes after it.
    """
    tau_mem, tau_syn, v_threshold, v_reset, v_leak = (mpf(x) for x in (tau_mem, tau_syn, v_threshold, v_reset, v_leak))
    t_refrac, t_max, v_inf = mpf(t_refrac), mpf(t_max), v_leak + mpf(i_bias)
    summed = {}
    for time, weight in inputs:
        summed[mpf(time)] = summed.get(mpf(time), mpf(0)) + mpf(weight)
    v, i_syn, now, held_until = v_leak, mpf(0), mpf(0), mpf(0)
    spikes = []
    for time in [*(t for t in sorted(summed) if t <= t_max), t_max]:
        while now < time and (max_spikes is None or len(spikes) < max_spikes):
            if now < held_until:
                end = min(held_until, time)
                i_syn *= exp(-(end - now) / tau_syn)
                v, now = v_reset, end
                continue
            neuron = Neuron(v - v_inf, i_syn / tau_mem, tau_mem, tau_syn)
            wait = neuron.spike_time(v_threshold - v_inf, 0, time - now)
            step = time - now if isinf(wait) else wait
            if isinf(step):
                return spikes
            v = v_inf + neuron.potential(step)
            i_syn *= exp(-step / tau_syn)
            now += step
            if not isinf(wait):
                spikes.append(now)
                v, held_until = v_reset, now + t_refrac
        i_syn += summed.get(time, mpf(0))
    return spikes
