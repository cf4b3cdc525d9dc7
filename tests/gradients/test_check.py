"""`check_gradients` must find a wrong gradient, and must not blame a gradient for a jump of the loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from eventsnn import (
    LIF,
    BiasSpikes,
    Dense,
    FirstSpikeCrossEntropy,
    FirstSpikeMSE,
    Repeat,
    Sequential,
    Spikes,
    ValidationError,
)
from eventsnn.gradients import GradientReport, check_gradients
from eventsnn.gradients import check as module
from eventsnn.gradients.check import GradientEntry

LOSS = FirstSpikeCrossEntropy(xi=0.4)


def problem(ratio=2.0, n_samples=2):
    rng = np.random.default_rng(1)
    lif = LIF(tau_mem=ratio, tau_syn=1.0, max_spikes=1)
    net = Sequential(
        [Dense.normal(3, 4, mean=3.0, std=1.0, rng=rng), lif, Dense.normal(4, 2, mean=2.0, std=1.0, rng=rng), lif]
    )
    return net, Spikes.from_first_times(rng.uniform(0.0, 2.0, (n_samples, 3))), rng.integers(0, 2, n_samples)


@pytest.mark.parametrize("precision", ["auto", "float64", "high"])
def test_check_gradients_passes_right_gradients(precision, capsys):
    report = check_gradients(*problem(), LOSS, precision=precision)
    assert report.passed
    assert report.n_entries == 3 * 4 + 4 * 2 + 6
    assert list(report.entries) == ["hidden.weight", "output.weight", "input_times"]
    assert report.max_relative_error == max(report.max_errors().values())
    # float64: 1e-10 by rounding and by truncation; high: the rounding of the analytic value only
    assert report.max_relative_error <= (1e-8 if precision == "float64" else 1e-12)
    assert {e.precision for e in report.entries["input_times"]} == {"float64" if precision == "float64" else "high"}
    printed = capsys.readouterr().out
    assert printed == f"{report}\n"
    assert "hidden.weight[2, 3]" in printed
    assert "passed" in printed
    assert "of the largest numeric entry of each array" in printed


@pytest.mark.parametrize("precision", ["float64", "high"])
@pytest.mark.parametrize("shapes", [((6, 1), (4, 2)), ((1, 4), (1, 2)), ((6, 4), (4, 1)), ((), (4, 2))], ids=str)
def test_check_gradients_passes_delays(precision, shapes):
    """Of every form, one of them 0, behind repeated channels and bias spikes; the steps of that one go one way."""
    net, spikes, labels = problem()
    rng = np.random.default_rng(2)
    lif = net.layers[0].neuron
    delays = [rng.uniform(0.0, 1.0, shape) for shape in shapes]
    delays[1].flat[0] = 0.0
    hidden = Dense.normal(6, 4, mean=1.5, std=1.0, rng=rng, delay=delays[0])
    output = Dense.normal(4, 2, mean=3.0, std=1.0, rng=rng, delay=delays[1])
    # three inputs, the last as a bias spike: two of them twice
    net = Sequential([Repeat(2), BiasSpikes([0.3, 0.9]), hidden, lif, output, lif])
    times = spikes.first_times()[:, :2]
    loss = dataclasses.replace(LOSS, alpha=0.1)
    report = check_gradients(net, Spikes.from_first_times(times), labels, loss, precision=precision, verbose=False)
    assert list(report.entries) == ["hidden.weight", "hidden.delay", "output.weight", "output.delay", "input_times"]
    assert [len(own) for own in report.entries.values()] == [24, delays[0].size, 8, delays[1].size, 4]
    assert report.n_changed <= (1 if precision == "float64" else 0), str(report)
    assert report.max_relative_error <= (1e-8 if precision == "float64" else 1e-12)  # as above
    assert all(error >= 0.0 for error in report.max_errors().values())  # something of each was compared


@pytest.mark.parametrize("precision", ["float64", "high"])
def test_check_gradients_takes_rounding_for_nothing(precision):
    """One delay for all moves all outputs, of which the loss sees differences only."""
    net, spikes, labels = problem()
    hidden, output = net.layers
    net = Sequential([Dense(net.weights[0], delay=0.4), hidden.neuron, output.connection, output.neuron])
    report = check_gradients(net, spikes, labels, LOSS, precision=precision, verbose=False)
    (entry,) = report.entries["hidden.delay"]
    assert abs(entry.analytic) <= 1e-14
    assert report.passed


def test_check_gradients_leaves_delays_alone_that_are_not_there():
    report = check_gradients(*problem(), LOSS, verbose=False, precision="float64")
    assert list(report.entries) == ["hidden.weight", "output.weight", "input_times"]
    with pytest.raises(ValidationError, match=r"must be a list of names out of \['hidden.weight', 'output.weight'"):
        check_gradients(*problem(), LOSS, parameters=["hidden.delay"])


def test_check_gradients_checks_the_hinge_with_delays():
    """In float64: silent neurons, whose peaks move with the delays."""
    net, spikes, labels = problem()
    rng = np.random.default_rng(5)
    lif = net.layers[0].neuron
    delays = rng.uniform(0.0, 1.0, (3, 4)), rng.uniform(0.0, 1.0, (4, 1))
    weights = 0.3 * net.weights[0], net.weights[1]  # weak: some stay silent
    net = Sequential([Dense(weights[0], delays[0]), lif, Dense(weights[1], delays[1]), lif])
    report = check_gradients(net, spikes, labels, LOSS, silent_strength=0.5, verbose=False)
    assert report.passed
    assert report.n_changed == 0
    assert np.abs([e.analytic for e in report.entries["hidden.delay"]]).min() > 0.0


@pytest.mark.parametrize("precision", ["auto", "float64", "high"])
@pytest.mark.parametrize("name", ["hidden.weight", "output.weight", "input_times"])
def test_check_gradients_finds_a_wrong_entry(monkeypatch, precision, name):
    right = module.loss_and_grad

    def wrong(*args, **kwargs):
        value, gradients = right(*args, **kwargs)
        arrays = {k: g.copy() for k, g in gradients.parameters.items()}
        times = gradients.input_times.copy()
        array = times if name == "input_times" else arrays[name]
        array.flat[np.abs(array).argmax()] *= 1.0 + 1e-5
        return value, dataclasses.replace(gradients, parameters=arrays, input_times=times)

    monkeypatch.setattr(module, "loss_and_grad", wrong)
    report = check_gradients(*problem(), LOSS, precision=precision, verbose=False)
    assert not report.passed
    assert report.max_errors()[name] == pytest.approx(1e-5, rel=1e-2)  # float64 differences are good to 1e-8
    others = [error for other, error in report.max_errors().items() if other != name]
    assert max(others) <= 1e-7
    assert "FAILED" in str(report)


def test_check_gradients_finds_a_wrong_backward_pass(monkeypatch):
    from eventsnn.simulation.delayed_layers import DelayedRunner

    right = DelayedRunner.backward
    monkeypatch.setattr(DelayedRunner, "backward", lambda self, height, *rest: right(self, height * 1.001, *rest))
    report = check_gradients(*problem(), LOSS, verbose=False)
    assert not report.passed
    # One factor 1.001 per layer the gradient went through.
    assert report.max_errors()["output.weight"] == pytest.approx(1e-3, rel=1e-6)
    assert report.max_errors()["hidden.weight"] == pytest.approx(2e-3, rel=1e-3)


def grazing(excess):
    """One input, k(s) = e^(-s/2) - e^(-s) with its peak of 1/4: the neuron just fires, or just does not."""
    net = Sequential([Dense(np.array([[4.0 * (1 + excess)]])), LIF(tau_mem=2.0, tau_syn=1.0, max_spikes=1)])
    return net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=1), [0], FirstSpikeMSE(t_correct=1.0, t_wrong=2.0)


@pytest.mark.parametrize("excess", [1e-9, -1e-9])
def test_check_gradients_leaves_out_entries_whose_step_changes_who_fires(excess):
    report = check_gradients(*grazing(excess), precision="float64", verbose=False)
    weight, time = report.entries["output.weight"][0], report.entries["input_times"][0]
    assert weight.changed
    assert not time.changed
    assert report.n_changed == 1
    assert math.isnan(report.max_errors()["output.weight"])
    assert "1 of 2 entries left out" in str(report)
    assert "spikes changed" in str(report)


def test_check_gradients_takes_a_shorter_step_where_float64_changes_who_fires():
    report = check_gradients(*grazing(1e-9), precision="auto", tolerance=1e-6, verbose=False)
    assert report.n_changed == 0
    # The slope, 4e-5, is a difference of float64 numbers of order one.
    assert report.passed


def test_check_gradients_refines_what_float64_is_too_coarse_for(monkeypatch):
    monkeypatch.setattr(module, "SMALL", 0)
    report = check_gradients(*grazing(1e-6), tolerance=1e-8, verbose=False)
    assert [e.precision for e in report.entries["output.weight"]] == ["high"]
    assert report.passed
    easy = check_gradients(*problem(), LOSS, verbose=False)
    assert {e.precision for entries in easy.entries.values() for e in entries} == {"float64"}


def test_check_gradients_leaves_out_a_spike_at_the_time_of_an_input():
    # The second input arrives at the very moment of the spike: its derivative exists from one side only.
    net, spikes, labels, loss = grazing(0.5)
    net = Sequential([Dense(np.array([[6.0], [1.0]])), net.layers[0].neuron])
    from eventsnn import simulate

    t = simulate(net, Spikes([0], [0], [0.5], n_samples=1, n_neurons=2)).spikes["output"].times[0]
    spikes = Spikes([0, 0], [0, 1], [0.5, t - 1e-9], n_samples=1, n_neurons=2)
    report = check_gradients(net, spikes, labels, loss, precision="float64", verbose=False)
    assert [e.changed for e in report.entries["input_times"]] == [True, True]


def test_check_gradients_takes_one_sided_differences_at_time_zero():
    net, spikes, labels = problem()
    times = spikes.first_times()
    times[:, 0] = 0.0
    for precision, tolerance in (("float64", 1e-7), ("high", 1e-12)):
        report = check_gradients(
            net, Spikes.from_first_times(times), labels, LOSS, precision=precision, tolerance=tolerance, verbose=False
        )
        assert report.passed


def test_check_gradients_draws_entries():
    arguments = (*problem(), LOSS)
    report = check_gradients(*arguments, n_entries=3, rng=7, precision="float64", verbose=False)
    assert [len(entries) for entries in report.entries.values()] == [3, 3, 3]
    again = check_gradients(*arguments, n_entries=3, rng=np.random.default_rng(7), precision="float64", verbose=False)
    assert str(again) == str(report)
    other = check_gradients(*arguments, n_entries=3, rng=8, precision="float64", verbose=False)
    assert str(other) != str(report)


def test_check_gradients_takes_chosen_parameters():
    report = check_gradients(*problem(), LOSS, parameters=["output.weight"], verbose=False)
    assert list(report.entries) == ["output.weight"]
    net, _, _ = problem()
    twice = Spikes([0, 0], [0, 0], [0.1, 0.2], n_samples=1, n_neurons=3)
    assert list(check_gradients(net, twice, [0], LOSS, verbose=False).entries) == ["hidden.weight", "output.weight"]
    with pytest.raises(ValidationError, match="at most one spike per input neuron"):
        check_gradients(net, twice, [0], LOSS, parameters=["input_times"])


def test_check_gradients_takes_float32_in_float64():
    net, spikes, labels = problem()
    assert check_gradients(net.astype(np.float32), spikes, labels, LOSS, tolerance=1e-12, verbose=False).passed
    assert net.weights[0].dtype == np.float64


def test_check_gradients_leaves_the_network_alone():
    net, spikes, labels = problem()
    before = [w.copy() for w in net.weights]
    check_gradients(net, spikes, labels, LOSS, precision="float64", verbose=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.weights, strict=True))


def test_gradient_report_that_compared_nothing_has_not_passed():
    entry = GradientEntry("w", (0,), 1.0, 2.0, "float64", changed=True)
    report = GradientReport({"w": [entry]}, 1e-7)
    assert math.isnan(report.max_relative_error)
    assert not report.passed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "double"}, "check_gradients.precision"),
        ({"parameters": ["hidden"]}, "check_gradients.parameters"),
        ({"parameters": "hidden.weight"}, "check_gradients.parameters"),
        ({"n_entries": 0}, "check_gradients.n_entries"),
        ({"n_entries": 2}, "check_gradients.rng: 2 of the 12 entries of hidden.weight are drawn; give a seed"),
        ({"digits": 10}, "check_gradients.digits"),
        ({"step": 0.0}, "check_gradients.step"),
        ({"tolerance": -1.0}, "check_gradients.tolerance"),
        ({"silent_strength": -1.0}, "check_gradients.silent_strength"),
        ({"silent_strength": 1.0, "precision": "high"}, "can only be checked with precision='float64'"),
        ({"targets": [0, 2]}, "targets: entry 1 is 2"),
    ],
)
def test_check_gradients_refuses_bad_arguments(change, message):
    net, spikes, labels = problem()
    arguments = {"network": net, "spikes": spikes, "targets": labels, "loss": LOSS} | change
    with pytest.raises(ValidationError, match=message):
        check_gradients(**arguments)
