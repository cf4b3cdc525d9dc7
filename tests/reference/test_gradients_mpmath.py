"""The differences against formulas, where a single spike has one, and against what must hold at kinks."""

from __future__ import annotations

import pytest
from mpmath import exp, mpf, workdps

from tests.reference.gradients_mpmath import DELAY, TIME, WEIGHT, Loss, moved, split, trains_of
from tests.reference.network_mpmath import WORKING_DIGITS, simulate_reference

NEURON = {
    "name": "cells", "n": 1, "tau_mem": 1.7, "tau_syn": {"syn": 0.6}, "v_threshold": 0.9, "v_reset": -0.2,
    "v_leak": 0.1, "t_refrac": 0.0, "i_bias": 0.05, "max_spikes": 1,
}  # fmt: skip
T_MAX = 10.0
CELLS, DRIVE = ("populations", 0), ("spikes", "drive")


def _spec(synapses, spikes, recurrent=(), **changes):
    part = {**NEURON, **changes}
    projections = [
        {"source": "drive", "target": "cells", "receptor": "syn", "synapses": synapses},
        {"source": "cells", "target": "cells", "receptor": "syn", "synapses": list(recurrent)},
    ]
    inputs = [{"name": "drive", "n": 1 + max(j for j, *_ in synapses)}]
    spikes = {"drive": spikes}
    return {"populations": [part], "inputs": inputs, "projections": projections, "spikes": spikes, "t_max": T_MAX}


def _one_spike(**changes):
    """One input of weight 8 at 0.5 over a delay of 0.25, one spike of the neuron."""
    return _spec([(0, 0, 8.0, 0.25)], [(0, 0.5)], **changes)


def _slopes_of_one_spike():
    """Slope of T in every entry of `_one_spike`, by the implicit function theorem; t_m = tau_mem, t_s = tau_syn."""
    t_m, t_s, w, begin = mpf(NEURON["tau_mem"]), mpf(NEURON["tau_syn"]["syn"]), mpf(8.0), mpf(0.75)
    ((time, _),) = simulate_reference(_one_spike()).spikes["cells"]
    s = time - begin
    mem, syn, share = exp(-s / t_m), exp(-s / t_s), t_s / (t_m - t_s)
    start_mem, bias = exp(-time / t_m), mpf(NEURON["i_bias"])
    kernel, kernel_slope = share * (mem - syn), share * (syn / t_s - mem / t_m)
    rise = w * kernel_slope + bias * start_mem / t_m
    share_by_mem, share_by_syn = -t_s / (t_m - t_s) ** 2, t_m / (t_m - t_s) ** 2
    v_by = {  # dv(T)/d entry with T fixed
        ("projections", 0, "synapses", 0, WEIGHT): kernel,
        ("projections", 0, "synapses", 0, DELAY): -w * kernel_slope,
        (*DRIVE, 0, TIME): -w * kernel_slope,
        (*CELLS, "v_threshold", 0): mpf(-1),
        (*CELLS, "v_reset", 0): mpf(0),
        (*CELLS, "v_leak", 0): mpf(1),
        (*CELLS, "i_bias", 0): 1 - start_mem,
        (*CELLS, "t_refrac", 0): mpf(0),
        (*CELLS, "v0", 0): start_mem,
        (*CELLS, "i0", "syn", 0): share * (start_mem - exp(-time / t_s)),
        (*CELLS, "tau_mem", 0): w * (share_by_mem * (mem - syn) + share * mem * s / t_m**2)
        - bias * start_mem * time / t_m**2,
        (*CELLS, "tau_syn", "syn", 0): w * (share_by_syn * (mem - syn) - share * syn * s / t_s**2),
    }
    return time, {path: -slope / rise for path, slope in v_by.items()}


@workdps(WORKING_DIGITS)
def test_every_entry_of_one_spike_agrees_with_its_formula():
    loss = Loss(_one_spike(), {"cells": [[0.7]]})
    time, slopes = _slopes_of_one_spike()
    by_time = mpf(0.7) * (1 + mpf(6) / 10 * time / mpf(T_MAX))
    for path, slope in slopes.items():
        found = loss.derivative({path: 1.0})
        assert found.exists, path
        sides = [side for side in (found.left, found.right) if side is not None]
        assert len(sides) == (1 if path[2] == "t_refrac" else 2), path
        for side in sides:
            assert abs(side - by_time * slope) <= mpf(10) ** -23, path
        assert found.value == pytest.approx(float(by_time * slope), rel=1e-15), path


@workdps(WORKING_DIGITS)
def test_the_same_with_equal_time_constants():
    # v = v_leak + w (s/tau) exp(-s/tau); one tau moved alone makes them differ by one part in 1e25.
    spec = _one_spike(tau_mem=1.5, tau_syn={"syn": 1.5}, i_bias=0.0)
    ((time, _),) = simulate_reference(spec).spikes["cells"]
    tau, w = mpf(1.5), mpf(8)
    s = time - mpf(0.75)
    x = s / tau
    rise = w * (1 - x) * exp(-x) / tau
    # Both together: only s/tau matters. tau_mem alone: the limit of the derivative of the difference of exponentials.
    by_both = -w * x * (1 - x) * exp(-x) / tau
    by_syn = w * x**2 / 2 * exp(-x) / tau
    loss = Loss(spec, {"cells": [[1.0]]})
    by_time = 1 + mpf(6) / 10 * time / mpf(T_MAX)
    expected = {"tau_mem": by_both - by_syn, "tau_syn": by_syn}
    for path in ((*CELLS, "tau_mem", 0), (*CELLS, "tau_syn", "syn", 0)):
        found = loss.derivative({path: 1.0})
        assert found.exists
        assert abs(found.right + by_time * expected[path[2]] / rise) < mpf(10) ** -22


@workdps(WORKING_DIGITS)
def test_a_chain_and_a_refractory_time_shift_the_later_spike():
    # Neuron 0 drives itself from the end of its hold on: a later end of the hold, and T of the first, shift the second.
    spec = _spec([(0, 0, 8.0, 0.0)], [(0, 0.5)], [(0, 0, 60.0, 1.0)], v_leak=0.0, i_bias=0.0, v_reset=0.0, t_refrac=1.0,
                 max_spikes=2)  # fmt: skip
    loss = Loss(spec, {"cells": [[0.0, 1.0]]})
    found = loss.derivative({("projections", 1, "synapses", 0, DELAY): 1.0})
    assert found.left is not None
    # The arrival meets the end of the hold: before it only the current counts, behind it the potential as well.
    assert not found.exists
    assert not found.changed


def test_a_direction_is_the_sum_of_its_entries():
    loss = Loss(_one_spike(), {"cells": [[0.7]]})
    paths = [(*CELLS, "v0", 0), (*CELLS, "v_leak", 0), (*CELLS, "tau_syn", "syn", 0), (*DRIVE, 0, TIME)]
    factors = [0.3, -1.2, 2.0, 0.7]
    together = loss.derivative(dict(zip(paths, factors, strict=True)))
    apart = sum(factor * loss.derivative({path: 1.0}).value for path, factor in zip(paths, factors, strict=True))
    assert together.value == pytest.approx(apart, rel=1e-14)


def test_opposite_inputs_that_meet_have_a_slope_and_one_that_meets_a_spike_has_none():
    pair = [(0, 0, 8.0, 0.0), (1, 0, 5.0, 0.0), (2, 0, -5.0, 0.0)]
    smooth = Loss(_spec(pair, [(0, 0.5), (1, 0.75), (2, 0.75)]), {"cells": [[1.0]]})
    assert smooth.derivative({(*DRIVE, 1, TIME): 1.0}).exists
    # An input at 0: there is only the right side.
    first = Loss(_spec([(0, 0, 8.0, 0.0)], [(0, 0.0)]), {"cells": [[1.0]]}).derivative({(*DRIVE, 0, TIME): 1.0})
    assert first.left is None
    assert first.exists
    assert first.value > 0.0
    # Neuron 1 is neuron 0, and neuron 0 drives it at the very time of its spike: later, and that counts for nothing.
    twins = _spec([(0, 0, 8.0, 0.0), (0, 1, 8.0, 0.0)], [(0, 0.5)], [(0, 1, 3.0, 0.0)], n=2)
    meeting = Loss(twins, {"cells": [[0.0], [1.0]]})
    earlier = meeting.derivative({(*CELLS, "v_threshold", 0): 1.0})
    assert not earlier.exists
    assert abs(float(earlier.right)) < 1e-20 < float(earlier.left)


def test_a_spike_that_vanishes_is_told():
    # tau_mem == 2 tau_syn: v = w (y - y^2) with its peak at w/4; this weight is above the touch by less than the step.
    with workdps(WORKING_DIGITS):
        weight = 4 + mpf(10) ** -26
    spec = _spec([(0, 0, weight, 0.0)], [(0, 0.0)], tau_mem=2.0, tau_syn={"syn": 1.0}, v_threshold=1.0, v_leak=0.0,
                 v_reset=0.0, i_bias=0.0)  # fmt: skip
    found = Loss(spec, {"cells": [[1.0]]}).derivative({("projections", 0, "synapses", 0, WEIGHT): 1.0})
    assert found.changed
    assert not found.exists


def test_coefficients_must_be_those_of_the_spikes():
    with pytest.raises(ValueError, match="coefficients"):
        Loss(_one_spike(), {"cells": [[0.7, 0.1]]})


@workdps(WORKING_DIGITS)
def test_the_reference_keeps_every_digit_of_what_is_moved():
    spec = split(_one_spike(v0=0.0, i0={"syn": 0.3}, max_spikes=None, t_refrac=0.125))
    ((first, *_),) = trains_of(simulate_reference(spec), spec)["cells"]
    paths = [path for path in _slopes_of_one_spike()[1] if path[2] not in ("v_reset", "t_refrac")]
    for path in paths:
        for step in (mpf(10) ** -20, mpf(10) ** -40):
            changed = moved(spec, {path: 1.0}, step)
            ((other, *_),) = trains_of(simulate_reference(changed), changed)["cells"]
            assert 1e-4 < abs(other - first) / step < 1e3, path
