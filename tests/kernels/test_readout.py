"""Maxima, integrals and samples of readout potentials against sums of kernels in 40 digits, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import LI, SimulationError, ValidationError
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.layer_backward import layer_backward
from eventsnn.simulation.readouts import ReadoutRunner
from eventsnn.spikes import Spikes
from tests.reference.readout_mpmath import exact_maximum, integral, potential

RATIOS = (1.0, 2.0, 4.0, 0.5, 1.37)


def events_of(samples, neurons, times, n_samples, n_neurons):
    spikes = Spikes(samples, neurons, times, n_samples=n_samples, n_neurons=n_neurons)
    return InputEvents(spikes.offsets, spikes.neurons, spikes.times)


def random_case(seed, *, n_samples=4, n_events=30, n_pre=12, n_post=3, span=3.0, mean=0.0):
    rng = np.random.default_rng(seed)
    n = n_samples * n_events
    events = events_of(
        np.repeat(np.arange(n_samples), n_events),
        rng.integers(0, n_pre, n),
        rng.uniform(0.0, span, n),
        n_samples,
        n_pre,
    )
    return events, rng.normal(mean, 1.0, (n_pre, n_post)), rng


def kind_of(runner, b, n):
    record = runner.record
    if record.time[b, n] == 0.0:
        return "rest"
    if record.slope[b, n] < 0.0:
        return "arrival"
    return "end" if record.time[b, n] == runner.constants.t_end else "interior"


@pytest.mark.parametrize("t_end", [np.inf, 2.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_finds_the_maximum(ratio, t_end):
    seen = set()
    for seed in range(3):
        events, weight, _ = random_case(seed, mean=(-0.4, 0.0, 0.8)[seed], n_samples=3)
        runner = ReadoutRunner(LI(ratio, 1.0, v_leak=0.25, i_bias=[0.0, 0.5, -1.0]), weight, t_end)
        values = runner.forward(events)
        with workdps(40):
            for b in range(3):
                mine = slice(events.offsets[b], events.offsets[b + 1])
                for n in range(3):
                    seen.add(kind_of(runner, b, n))
                    value, time = exact_maximum(events.times[mine], weight[events.neurons[mine], n], ratio, 1.0, t_end)
                    v_inf = 0.25 + (0.0, 0.5, -1.0)[n]
                    # A sum of thirty terms of both signs.
                    assert values[b, n] == pytest.approx(float(value) + v_inf, rel=0, abs=1e-13)
                    # A smooth maximum tells its time to the root of the value's precision only.
                    at_rest = kind_of(runner, b, n) == "rest"  # u = 0 up to the first input
                    assert at_rest or runner.record.time[b, n] == pytest.approx(float(time), abs=1e-6)
    assert {"rest", "arrival", "end" if t_end < np.inf else "interior"} <= seen


def moved(events, k, by):
    """Events with one of them moved, in the order of 40 digits; gives arrivals and inputs of its sample."""
    b = int(np.searchsorted(events.offsets, k, side="right")) - 1
    low, high = events.offsets[b], events.offsets[b + 1]
    arrivals = [mpf(float(t)) for t in events.times[low:high]]
    arrivals[k - low] += by
    return b, arrivals, events.neurons[low:high]


def smooth_maximum(runner, arrivals, weights, b, n, tau_mem, tau_syn):
    """Value of the same maximum as the runner's after a small change: Newton at a peak, the arrival at a kink."""
    kind, t0 = kind_of(runner, b, n), mpf(float(runner.record.time[b, n]))
    if kind == "rest":
        return mpf(0)
    t = t0
    if kind == "arrival":
        t = min(arrivals, key=lambda a: abs(a - t0))
    elif kind == "interior":
        h = mpf(10) ** -12
        for _ in range(3):
            below, here, above = (potential(t + d, arrivals, weights, tau_mem, tau_syn) for d in (-h, 0, h))
            t -= (above - below) / 2 / h / ((above - 2 * here + below) / h**2)
    return potential(t, arrivals, weights, tau_mem, tau_syn)


def check_max_gradient(runner, events, weight, d_values, tau_mem, tau_syn, entries=None):
    """Largest error of the gradients against central differences in 40 digits, relative to the largest entry."""
    d_weight = np.zeros_like(weight)
    d_times = runner.backward(d_values, d_weight).copy()
    errors_w, errors_t = [], []
    n_samples, n_post = d_values.shape
    entries = range(events.times.size) if entries is None else entries
    with workdps(40):
        tau_mem, tau_syn, h = mpf(tau_mem), mpf(tau_syn), mpf(10) ** -12
        for k in entries:
            difference = mpf(0)
            for sign in (1, -1):
                b, arrivals, neurons = moved(events, k, sign * h)
                for n in range(n_post):
                    w = [mpf(float(x)) for x in weight[neurons, n]]
                    u = smooth_maximum(runner, arrivals, w, b, n, tau_mem, tau_syn)
                    difference += sign * mpf(float(d_values[b, n])) * u / (2 * h)
            errors_t.append(abs(float(difference) - d_times[k]))
        for j in range(weight.shape[0]):
            for n in range(n_post):
                difference = mpf(0)
                for b in range(n_samples):
                    mine = slice(events.offsets[b], events.offsets[b + 1])
                    if not (events.neurons[mine] == j).any():
                        continue
                    arrivals = [mpf(float(t)) for t in events.times[mine]]
                    for sign in (1, -1):
                        w = [mpf(float(weight[i, n])) + (sign * h if i == j else 0) for i in events.neurons[mine]]
                        u = smooth_maximum(runner, arrivals, w, b, n, tau_mem, tau_syn)
                        difference += sign * mpf(float(d_values[b, n])) * u / (2 * h)
                errors_w.append(abs(float(difference) - d_weight[j, n]))
    # an interior maximum of a single input has no derivative in time, so both are measured by the larger
    scale = max(np.abs(d_weight).max(), np.abs(d_times).max())
    return max(errors_w) / scale, max(errors_t) / scale


@pytest.mark.parametrize("t_end", [np.inf, 2.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_backward_agrees_with_differences_in_high_precision(ratio, t_end):
    seen = set()
    for seed, mean in ((0, -0.4), (1, 0.8)):
        events, weight, rng = random_case(seed, n_samples=2, n_events=12, n_pre=6, mean=mean)
        runner = ReadoutRunner(LI(ratio, 1.0), weight, t_end)
        runner.forward(events)
        seen |= {kind_of(runner, b, n) for b in range(2) for n in range(3)}
        errors = check_max_gradient(runner, events, weight, rng.normal(size=(2, 3)), ratio, 1.0)
        assert max(errors) <= 1e-12  # measured: 1.1e-15
    assert len(seen) >= 3


@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_moves_its_reference_through_long_windows(ratio):
    events, weight, rng = random_case(5, n_samples=1, n_events=100, span=150.0, n_pre=4, n_post=2)
    runner = ReadoutRunner(LI(ratio, 1.0), weight, np.inf)
    values = runner.forward(events).copy()
    late = runner.record.time[0, :2] > 30.0
    assert late.any()
    with workdps(40):
        for n in range(2):
            value, _ = exact_maximum(events.times, weight[events.neurons, n], ratio, 1.0, np.inf)
            assert values[0, n] == pytest.approx(float(value), rel=1e-12)
    causal = int(runner.record.causal_end[0, :2].max())
    entries = [*range(5), *range(causal - 10, min(causal + 2, 100))]
    errors = check_max_gradient(runner, events, weight, rng.normal(size=(1, 2)), ratio, 1.0, entries)
    assert max(errors) <= 1e-11  # measured: 1e-14


@pytest.mark.parametrize(
    ("sort", "times", "weights", "t_end"),
    [
        ("rest", [0.5, 1.0], [-1.0, -0.5], np.inf),
        ("rest", [], [], np.inf),
        ("rest", [3.0], [1.0], 2.0),
        ("interior", [0.5, 3.0], [2.0, -1.0], np.inf),
        ("arrival", [0.5, 0.75], [1.0, -4.0], np.inf),
        ("end", [0.5, 0.75], [1.0, 1.0], 1.0),
        ("arrival", [0.5, 0.75], [1.0, -4.0], 1.0),
    ],
)
@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_knows_every_sort_of_maximum(sort, times, weights, t_end, ratio):
    events = events_of([0] * len(times), np.arange(len(times)), times, 1, max(len(times), 1))
    weight = np.array(weights).reshape(-1, 1) if weights else np.zeros((1, 1))
    runner = ReadoutRunner(LI(ratio, 1.0), weight, t_end)
    value = runner.forward(events)[0, 0]
    assert kind_of(runner, 0, 0) == sort
    if sort == "rest":
        assert value == 0.0
        d_weight = np.zeros_like(weight)
        d_times = runner.backward(np.ones((1, 1)), d_weight)
        assert not d_weight.any()
        assert not d_times.any()
        return
    errors = check_max_gradient(runner, events, weight, np.ones((1, 1)), ratio, 1.0)
    assert max(errors) <= 1e-13


def test_readout_max_adds_simultaneous_inputs_first():
    # up and down at the same instant cancel: no kink at 0.5, the peak is that of the first input alone
    events = events_of([0, 0, 0], [0, 1, 2], [0.25, 0.5, 0.5], 1, 3)
    runner = ReadoutRunner(LI(2.0, 1.0), np.array([[1.0], [-3.0], [3.0]]), np.inf)
    assert runner.forward(events)[0, 0] == pytest.approx(0.25, rel=1e-15)  # max of e^(-s/2) - e^(-s)
    assert runner.record.time[0, 0] == pytest.approx(0.25 + 2.0 * np.log(2.0), rel=1e-14)
    # at a kink of two simultaneous inputs, neither acts yet
    runner = ReadoutRunner(LI(2.0, 1.0), np.array([[1.0], [-3.0], [1.0]]), np.inf)
    runner.forward(events)
    d_weight = np.zeros((3, 1))
    d_times = runner.backward(np.ones((1, 1)), d_weight)
    assert d_weight[1:].tolist() == [[0.0], [0.0]]
    assert d_times.sum() == pytest.approx(0.0, abs=1e-15)  # all moved together: nothing changes


@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_backward_agrees_with_the_layer_kernel(ratio):
    events, weight, rng = random_case(7, n_events=60, n_post=18)  # more than one chunk of lanes
    runner = ReadoutRunner(LI(ratio, 1.0), weight, np.inf)
    runner.forward(events)
    d_values = rng.normal(size=(4, 18))
    d_weight = np.zeros_like(weight)
    d_times = runner.backward(d_values, d_weight).copy()
    other, other_times = np.zeros_like(weight), np.zeros(events.times.size)
    height = d_values * (runner.record.time[:, :18] > 0.0)
    record = runner.record._replace(**{k: np.ascontiguousarray(a[:, :18]) for k, a in runner.record._asdict().items()})
    layer_backward(
        runner.constants, weight, events, runner._factors, record, height, np.inf, np.zeros((4, 18)), other, other_times
    )
    assert np.allclose(d_weight, other, rtol=1e-12, atol=1e-13)
    assert np.allclose(d_times, other_times, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("span", [3.0, 100.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_max_in_float32_is_close_to_float64(ratio, span):
    events, weight, rng = random_case(11, n_samples=20, n_events=200, span=span, n_post=10)
    weight = weight.astype(np.float32)
    d_values = rng.normal(size=(20, 10))
    results = []
    for dtype in (np.float32, np.float64):
        runner = ReadoutRunner(LI(ratio, 1.0), weight.astype(dtype), np.inf)
        values = runner.forward(events).copy()
        d_weight = np.zeros(weight.shape, dtype)
        results.append((values, d_weight, runner.backward(d_values, d_weight).copy()))
    (v, dw, dt), (v64, dw64, dt64) = results
    # Coefficients of float32 summed over 200 events, exp(4) of cancellation at most; measured: 1.2e-5 and less.
    assert np.allclose(v, v64, rtol=0, atol=2e-5 * np.abs(v64).max())
    assert np.allclose(dw, dw64, rtol=0, atol=1e-4 * np.abs(dw64).max())
    assert np.quantile(np.abs(dt - dt64), 0.99) <= 1e-4 * np.abs(dt64).max()


# -- integral and values at given times ---------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", RATIOS)
def test_readout_at_and_its_gradient(ratio):
    events, weight, rng = random_case(3, n_samples=2, n_events=8, n_pre=5)
    at = np.array([0.0, 0.7, 0.7, 2.5, 40.0])
    runner = ReadoutRunner(LI(ratio, 1.0, v_leak=0.5), weight, kind="at", times=at)
    values = runner.forward(events).copy()
    d_values, d_weight = rng.normal(size=values.shape), np.zeros_like(weight)
    d_times = runner.backward(d_values, d_weight)

    def value(b, m, n, k=None, j=None, h=0):
        mine = range(events.offsets[b], events.offsets[b + 1])
        arrivals = [mpf(float(events.times[i])) + (h if i == k else 0) for i in mine]
        weights = [mpf(float(weight[events.neurons[i], n])) + (h if events.neurons[i] == j else 0) for i in mine]
        return potential(mpf(float(at[m])), arrivals, weights, mpf(ratio), mpf(1))

    check_linear(values - 0.5, value, d_values, d_weight, d_times, events)


@pytest.mark.parametrize("ratio", [r for r in RATIOS if r != 1.0])
def test_readout_integral_and_its_gradient(ratio):
    events, weight, rng = random_case(3, n_samples=2, n_events=8, n_pre=5)
    runner = ReadoutRunner(LI(ratio, 1.0, v_leak=0.5), weight, 2.5, kind="integral")
    values = runner.forward(events).copy()
    d_values, d_weight = rng.normal(size=values.shape), np.zeros_like(weight)
    d_times = runner.backward(d_values, d_weight)

    def value(b, m, n, k=None, j=None, h=0):
        mine = range(events.offsets[b], events.offsets[b + 1])
        arrivals = [mpf(float(events.times[i])) + (h if i == k else 0) for i in mine]
        weights = [mpf(float(weight[events.neurons[i], n])) + (h if events.neurons[i] == j else 0) for i in mine]
        return integral(mpf(2.5), arrivals, weights, mpf(ratio), mpf(1))

    check_linear(values[:, None] - 0.5 * 2.5, value, d_values[:, None], d_weight, d_times, events)


def check_linear(values, value, d_values, d_weight, d_times, events):
    n_samples, n_values, n_post = values.shape
    with workdps(50):
        h = mpf(10) ** -16
        places = [(b, m, n) for b in range(n_samples) for m in range(n_values) for n in range(n_post)]
        for b, m, n in places:
            assert values[b, m, n] == pytest.approx(float(value(b, m, n)), abs=1e-14)
        for k in range(events.times.size):
            d = mp.fsum(
                mpf(float(d_values[p])) * (value(*p, k=k, h=h) - value(*p, k=k, h=-h)) / (2 * h) for p in places
            )
            assert d_times[k] == pytest.approx(float(d), rel=1e-11, abs=1e-13)
        for j, n in np.ndindex(d_weight.shape):
            d = mp.fsum(
                mpf(float(d_values[p])) * (value(*p, j=j, h=h) - value(*p, j=j, h=-h)) / (2 * h)
                for p in places
                if p[2] == n
            )
            assert d_weight[j, n] == pytest.approx(float(d), rel=1e-11, abs=1e-13)


def test_readout_integral_is_continuous_through_equal_time_constants():
    events, weight, _ = random_case(3)
    equal, near = (
        ReadoutRunner(LI(tau, 1.0), weight, 2.5, kind="integral").forward(events).copy() for tau in (1.0, 1.0 + 1e-9)
    )
    assert np.allclose(equal, near, rtol=0, atol=1e-7)


# -- the runner ---------------------------------------------------------------------------------------------------


def test_runner_follows_weights_that_change_in_place_and_blocks_of_other_sizes():
    events, weight, _ = random_case(2, n_samples=5)
    runner = ReadoutRunner(LI(2.0, 1.0), weight, np.inf)
    first = runner.forward(events).copy()
    weight *= 2.0
    assert np.allclose(runner.forward(events), 2.0 * first, rtol=1e-13)
    small, _, _ = random_case(9, n_samples=2, n_events=3)
    alone = ReadoutRunner(LI(2.0, 1.0), weight, np.inf).forward(small).copy()
    assert np.array_equal(runner.forward(small), alone)


def test_runner_adds_to_d_weight_and_can_leave_out_times():
    events, weight, rng = random_case(2)
    runner = ReadoutRunner(LI(2.0, 1.0), weight, np.inf)
    d_values = rng.normal(size=runner.forward(events).shape)
    d_weight = np.ones_like(weight)
    assert runner.backward(d_values, d_weight, want_times=False) is None
    again = np.zeros_like(weight)
    runner.backward(d_values, again)
    assert np.allclose(d_weight - 1.0, again, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["max", "integral"])
def test_runner_names_the_sample_that_is_not_finite(kind):
    events, weight, _ = random_case(2)
    with pytest.raises(SimulationError, match="population 'readout', sample 7: the membrane potential is not finite"):
        ReadoutRunner(LI(2.0, 1.0), weight * np.nan, 5.0, kind=kind).forward(events, first_sample=7)


@pytest.mark.parametrize(
    ("neuron", "options", "message"),
    [
        (LI([1.0, 2.0, 3.0], 1.0), {}, "LI.tau_mem of 'readout' is given per neuron"),
        (LI(1.0, 1.0), {"t_end": -1.0}, "t_end: must be >= 0 for kind 'max', got -1.0"),
        (LI(1.0, 1.0), {"kind": "integral"}, "t_end: must be finite and >= 0 for kind 'integral', got inf"),
        (LI(1.0, 1.0), {"kind": "mean"}, "kind: must be 'max', 'integral' or 'at', got 'mean'"),
        (LI(1.0, 1.0), {"kind": "at"}, "times: needed for kind 'at' and for no other"),
        (LI(1.0, 1.0), {"times": [1.0]}, "times: needed for kind 'at' and for no other"),
        (LI(1.0, 1.0), {"kind": "at", "times": [1.0, 0.5]}, "times: must be finite, sorted"),
        (LI(1.0, 1.0), {"kind": "at", "times": []}, r"times: must have shape \(n_times,\)"),
        ("LI", {}, "'readout' needs LI neurons, got 'LI'"),
    ],
)
def test_runner_refuses_bad_settings(neuron, options, message):
    with pytest.raises(ValidationError, match=message):
        ReadoutRunner(neuron, np.ones((2, 3)), **options)
