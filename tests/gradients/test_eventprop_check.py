"""`check_eventprop`: it passes what is right, finds what is wrong, and says when a spike appeared."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Dense,
    Network,
    Population,
    Projection,
    Sequential,
    SimulationError,
    Spikes,
    ValidationError,
    VanRossum,
    VoltageGradient,
    check_eventprop,
    simulate,
)
from eventsnn.gradients import eventprop_check as module
from eventsnn.gradients.recorded_events import LossTerms
from eventsnn.gradients.recorded_spikes import RecordedRun
from eventsnn.simulation.result import Result
from tests.gradients.test_eventprop_adjoint import N_NETWORKS, draw_case, entries_of
from tests.reference.random_networks import KINDS
from tests.simulation.network_specs import initial_of, spikes_of


def network(rng):
    cell = LIF(tau_mem=[20.0, 18.0, 22.0, 20.0], tau_syn={"fast": 5.0, "slow": 12.0}, t_refrac=1.0)
    return Network(
        {"drive": 3},
        {"cells": Population(cell, 4), "out": Population(LI(tau_mem=15.0, tau_syn=5.0), 2)},
        [
            Projection("drive", "cells", Dense(rng.uniform(2.0, 5.0, (3, 4))), "fast"),
            Projection("cells", "cells", Dense(rng.normal(0.0, 1.0, (4, 4)), delay=2.0), "slow"),
            Projection("cells", "out", Dense(rng.normal(0.0, 1.0, (4, 2)), delay=np.array([[0.0, 1.0]]))),
        ],
    )


def drive(rng):
    n = 16
    return Spikes(rng.integers(0, 2, n), rng.integers(0, 3, n), rng.uniform(0, 30, n), n_samples=2, n_neurons=3)


def squares(result, of_v=1.0):
    """Spike times and two potentials of the readout."""
    times = result.spikes["cells"].times
    at = np.array([28.0, 44.0])
    v = np.array([result.v("out", [t], s, [n]).item() for s, n, t in zip([0, 1], [1, 0], at, strict=True)])
    probes = VoltageGradient(np.array([0, 1]), np.array([1, 0]), at, 2.0 * of_v * v)
    return (0.01 * times**2).sum() + of_v * (v**2).sum(), {"cells": 0.02 * times}, {"out": probes}


@pytest.mark.parametrize("precision", ["float64", "high"])
def test_all_parameters_of_a_network_pass(precision):
    rng = np.random.default_rng(3)
    report = check_eventprop(network(rng), drive(rng), squares, 50.0, n_entries=3, rng=0, precision=precision)
    assert set(report.entries) == {
        *(f"{p}.{key}" for p in ("drive->cells", "cells->cells", "cells->out") for key in ("weight", "delay")),
        *(f"cells.{key}" for key in ("tau_mem", "tau_syn[fast]", "tau_syn[slow]", "v_threshold", "v_reset", "v_leak")),
        *(f"cells.{key}" for key in ("i_bias", "t_refrac")),
        *(f"out.{key}" for key in ("tau_mem", "tau_syn", "v_leak", "i_bias")),
        "drive.times",
    }  # fmt: skip
    assert len(report.entries["cells.tau_mem"]) == 3
    assert [e.index for e in report.entries["cells.t_refrac"]] == [()]  # shared: one entry
    assert {e.precision for own in report.entries.values() for e in own} == {precision}
    assert report.passed, str(report)
    assert report.n_changed < report.n_entries / 4
    if precision == "high":
        assert report.max_relative_error <= 1e-12  # the rounding of eventprop
        assert report.n_changed == 0
        assert set(report.loss_entries) == {"loss.d_times[drive]", "loss.d_times[cells]", "loss.d_v[out]"}


def test_a_chain_and_a_loss_of_the_library_pass():
    rng = np.random.default_rng(4)
    net = Sequential([Dense(rng.uniform(2.0, 5.0, (3, 3))), LIF(tau_mem=10.0, tau_syn=5.0)])
    spikes = drive(rng)
    target = Spikes([0, 0, 1], [0, 2, 1], [10.0, 20.0, 12.0], n_samples=2, n_neurons=3)

    def loss(result):
        values, d_times = VanRossum(tau=10.0).value_and_grad(result.spikes["output"], target)
        return values.sum(), {"output": d_times}

    names = ["input->output.weight", "input.times"]
    report = check_eventprop(net, spikes, loss, 60.0, parameters=names)
    assert list(report.entries) == names
    assert report.passed, str(report)


def sines(rng, network, t_max):
    """A loss on all spike times and on two potentials of every population, one of them of its first neuron."""
    c = {name: rng.normal(size=1000) for name in network.populations}
    last = {name: population.n_neurons - 1 for name, population in network.populations.items()}

    def loss(result):
        value, d_times, d_v = 0.0, {}, {}
        for name, own in c.items():
            times = result.spikes[name].times
            value += (own[: times.size] * np.sin(3.0 * times / t_max)).sum()
            d_times[name] = own[: times.size] * 3.0 / t_max * np.cos(3.0 * times / t_max)
            at = np.array([0.41, 0.83]) * t_max
            v = np.diag(result.v(name, at, 0, [0, last[name]]))
            value += (v**2).sum()
            d_v[name] = VoltageGradient(np.zeros(2, int), np.array([0, last[name]]), at, 2.0 * v)
        return value, d_times, d_v

    return loss


@pytest.mark.parametrize("kind", KINDS)
def test_high_precision_agrees_with_eventprop(kind):
    """Loops, delays of all forms, receptors, refractory times, a bias, initial states."""
    for n in range(N_NETWORKS):
        rng = np.random.default_rng([KINDS.index(kind), 31, n])
        case = draw_case(rng, kind)
        t_max, initial = case.spec["t_max"], initial_of(case.spec)
        loss = sines(rng, case.network, t_max)
        report = check_eventprop(
            case.network, spikes_of(case.spec), loss, t_max, initial=initial, precision="high", n_entries=3, rng=rng
        )  # fmt: skip
        # Rounding of eventprop; spikes here may have a slope of v of 1e-4 of their neuron's (CLEAR).
        assert report.max_relative_error <= 1e-11, str(report)
        assert report.passed, str(report)
        starts = {f"{name}.initial_{what}" for name, own in (initial or {}).items() for what in own}
        assert starts <= set(report.entries)
        # Only a hold of 0, or what coincides, may lie on a kink.
        kinks = {name for name, own in report.entries.items() if any(e.changed for e in own)}
        assert all(name.endswith(".t_refrac") for name in kinks) or kind == "simultaneous", kinks


def test_high_precision_agrees_with_the_reference_simulator():
    case = draw_case(np.random.default_rng([31, 2]), "delays")
    run = RecordedRun(case.result, LossTerms(case.d_times), 40)
    rng, h = np.random.default_rng(32), 1e-15
    by_kind = entries_of(case, module.eventprop(case.result, case.d_times))
    compared = 0
    for kind, key in (("weights", "weight"), ("tau_mem", "tau_mem"), ("input_times", "times")):
        entries = by_kind[kind]
        for k in rng.choice(len(entries), 3, replace=False):
            (path,) = entries[k].paths
            if key == "weight":
                place = {("weight", path[1]): (np.array([path[3]]), np.ones(1))}
            elif key == "times":
                place = {("times", path[1]): (np.array([path[2]]), np.ones(1))}
            else:
                place = {(case.spec["populations"][path[1]]["name"], key): (np.array([path[3]]), np.ones(1))}
            right = case.loss.derivative({path: 1.0})
            assert right.exists
            (above, _, _), (below, changed, _) = run.change(place, h), run.change(place, -h)
            assert not changed
            # Both are exact to far more digits than the coefficients of the loss, which are float64.
            found = float((above - below) / (2 * run.mp.mpf(h)))
            assert found == pytest.approx(right.value, rel=1e-13, abs=1e-18), (kind, k)
            compared += right.value != 0.0
    assert compared >= 5


@pytest.mark.parametrize("precision", ["auto", "float64", "high"])
@pytest.mark.parametrize("wrong", ["d_times", "d_v", "d_times left out", "d_v left out"])
def test_a_wrong_derivative_of_the_loss_fails(precision, wrong):
    rng = np.random.default_rng(3)

    def loss(result):
        value, d_times, d_v = squares(result, of_v=100.0)
        if wrong == "d_times":
            d_times = {"cells": 1.01 * d_times["cells"]}
        elif wrong == "d_v":
            own = d_v["out"]
            d_v = {"out": VoltageGradient(own.samples, own.neurons, own.times, 1.01 * own.values)}
        return value, d_times if wrong != "d_times left out" else {}, d_v if wrong != "d_v left out" else {}

    few = {"parameters": ["drive->cells.weight"], "n_entries": 4, "rng": 0}
    report = check_eventprop(network(rng), drive(rng), loss, 50.0, precision=precision, **few)
    assert not report.passed
    assert "FAILED" in str(report)
    if precision == "high":  # eventprop is right for what it was given; the loss is not
        assert report.max_relative_error < 1e-12
        name = "loss.d_v[out]" if wrong == "d_v" else "loss.d_times[cells]"
        assert report.max_errors()[name] > 1e-3
        assert name in str(report)


def test_an_error_that_float64_cannot_see_fails_in_high_precision(monkeypatch):
    rng = np.random.default_rng(3)
    right = module.eventprop

    def wrong(*args, **kwargs):
        gradients = right(*args, **kwargs)
        gradients.weights[0].flat[np.abs(gradients.weights[0]).argmax()] *= 1.0 + 1e-9
        return gradients

    monkeypatch.setattr(module, "eventprop", wrong)
    arguments = network(rng), drive(rng), squares, 50.0
    names = ["drive->cells.weight", "cells->cells.weight"]
    assert check_eventprop(*arguments, parameters=names, precision="float64").passed
    report = check_eventprop(*arguments, parameters=names, precision="high", tolerance=1e-10)
    assert not report.passed
    errors = report.max_errors()
    assert errors[names[0]] == pytest.approx(1e-9, rel=1e-3)  # of the largest entry
    assert errors[names[1]] <= 1e-12


def test_auto_refines_what_float64_cannot_tell(monkeypatch):
    rng = np.random.default_rng(3)
    monkeypatch.setattr(module, "SMALL", 0)
    arguments = network(rng), drive(rng), squares, 50.0
    names = ["cells->cells.weight", "cells->out.weight"]
    plain = check_eventprop(*arguments, parameters=names, n_entries=3, rng=0)
    assert {e.precision for own in plain.entries.values() for e in own} == {"float64"}
    assert not plain.loss_entries
    errors = sorted(e.error for own in plain.entries.values() for e in own)
    between = float(np.sqrt(errors[2] * errors[3]))
    refined = check_eventprop(*arguments, parameters=names, n_entries=3, rng=0, tolerance=between)
    assert [e.precision for own in refined.entries.values() for e in own].count("high") == 3
    assert refined.passed
    assert refined.loss_entries


def test_losses_that_look_at_slopes_pass_in_high_precision():
    rng = np.random.default_rng(33)
    cell = LIF(tau_mem=20.0, tau_syn=5.0, v_leak=0.1)
    weights = rng.uniform(2.0, 5.0, (3, 3)), rng.normal(0.0, 1.0, (3, 3))
    net = Network(
        {"drive": 3},
        {"cells": Population(cell, 3)},
        [Projection("drive", "cells", Dense(weights[0])), Projection("cells", "cells", Dense(weights[1], delay=2.0))],
    )

    def loss(result):
        slopes = []
        spikes = result.spikes["cells"]
        for sample, neuron, time in zip(spikes.samples, spikes.neurons, spikes.times, strict=True):
            slopes.append((result.i_syn("cells", [time], sample, [neuron]).item() + 0.1 - 1.0) / 20.0)
        slopes = np.array(slopes)
        return (slopes**2).sum(), {}, {}, {"cells": 2.0 * slopes}

    report = check_eventprop(net, drive(rng), loss, 50.0, n_entries=4, rng=0, precision="high")
    assert report.passed, str(report)
    assert report.max_relative_error <= 1e-12  # rounding of eventprop
    forgotten = check_eventprop(
        net, drive(rng), lambda result: loss(result)[:2], 50.0, parameters=["drive->cells.weight"], precision="high"
    )
    assert not forgotten.passed


def test_a_spike_that_appears_is_marked():
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)

    def loss(result):
        times = result.spikes["output"].times
        return times.sum(), {"output": np.ones(times.size)}

    def check(weight, **settings):
        net = Sequential([Dense([[weight]]), LIF(tau_mem=2.0, tau_syn=1.0)])  # with 4 its peak is at the threshold
        return check_eventprop(net, spikes, loss, parameters=["input->output.weight"], **settings)

    for weight, settings in ((4.0 + 1e-7, {"precision": "float64"}), (4.0 + 1e-7, {"precision": "high", "step": 1e-6})):
        report = check(weight, **settings)
        assert report.n_changed == 1
        assert not report.passed  # nothing was compared
        assert "spikes changed" in str(report)
    # A step of 1e-15 changes nothing; 1/(dv/dt) is large, and float64 loses as many digits.
    report = check(4.0 + 1e-7, precision="high", tolerance=1e-5)
    assert report.n_changed == 0
    assert report.passed


@pytest.mark.parametrize("what", ["arrival passes a spike", "hold ends at an arrival", "potential at a spike"])
def test_an_order_that_the_step_changes_is_marked(what):
    cell = LIF(tau_mem=2.0, tau_syn=1.0, t_refrac=0.5)
    net = Network({"drive": 1}, {"cells": Population(cell, 1)}, [Projection("drive", "cells", Dense([[9.0]]))])
    alone = simulate(net, Spikes([0], [0], [0.0], n_samples=1, n_neurons=1), 3.0).spikes["cells"].times[0]
    second = {"arrival passes a spike": alone + 1e-9, "hold ends at an arrival": alone + 0.5 + 1e-9}.get(what, 2.0)
    spikes = Spikes([0, 0], [0, 0], [0.0, second], n_samples=1, n_neurons=1)
    at = alone + 1e-9 if what == "potential at a spike" else 2.5

    def loss(result):
        probe = VoltageGradient(np.zeros(1, int), np.zeros(1, int), np.array([at]), np.ones(1))
        return result.v("cells", [at]).item(), {}, {"cells": probe}

    for step, n_changed in ((1e-6, 1), (1e-15, 0)):
        report = check_eventprop(net, spikes, loss, 3.0, parameters=["drive->cells.delay"], precision="high", step=step)
        moves = check_eventprop(net, spikes, loss, 3.0, parameters=["drive.times"], precision="high", step=step)
        # Input and delay move all arrivals together, the input's second event alone the second.
        together = n_changed if what == "potential at a spike" else 0
        assert report.n_changed == together, step
        assert moves.n_changed >= n_changed, step
        # The loss's own derivatives are looked at with a step of 6e-6.
        own = report.loss_entries["loss.d_times[cells]"]
        assert [e.changed for e in own] == [what == "potential at a spike"] + [False] * (len(own) - 1), step


def test_a_start_that_jumps_is_marked_and_one_that_follows_moves():
    spikes = Spikes([0, 0], [0, 0], [0.5, 1.5], n_samples=1, n_neurons=1)

    def loss(result):
        times = result.spikes["output"].times
        return times.sum(), {"output": np.ones(times.size)}

    for v_leak, marked in ((1.3, set()), (1.0, {"output.v_leak", "output.v_threshold"})):  # from v_reset if >= 1
        net = Sequential([Dense([[2.0]]), LIF(tau_mem=2.0, tau_syn=1.0, v_leak=v_leak, v_reset=-0.2)])
        report = check_eventprop(net, spikes, loss, 6.0, precision="high")
        assert {name for name, own in report.entries.items() if own[0].changed} == marked
        assert report.passed
        assert report.max_relative_error <= 1e-13  # rounding


def test_digits_decide_how_far_it_can_be_trusted():
    rng = np.random.default_rng(3)
    arguments = network(rng), drive(rng), squares, 50.0
    numeric = {}
    for digits in (20, 40, 60, 1000):
        report = check_eventprop(
            *arguments, parameters=["cells.tau_mem"], n_entries=1, rng=0, precision="high", digits=digits
        )
        numeric[digits] = report.entries["cells.tau_mem"][0].numeric
    # 20 digits: a step of 3e-8, so truncation of 1e-15 times what the third derivative is larger than the first
    assert numeric[20] == pytest.approx(numeric[60], rel=1e-10)
    assert numeric[40] == numeric[60] == numeric[1000]


def test_a_record_that_does_not_hold_is_an_error(monkeypatch):
    spikes = Spikes([0, 0], [0, 0], [0.0, 1.0], n_samples=1, n_neurons=1)
    net = Sequential([Dense([[9.0]]), LIF(tau_mem=2.0, tau_syn=1.0)])

    def loss(result):
        times = result.spikes["output"].times
        return times.sum(), {"output": np.ones(times.size)}

    def check_with(times):
        def altered(*args, **kwargs):
            result = simulate(*args, **kwargs)
            own = result.spikes["output"]
            times_of = times(own.times)
            zeros = np.zeros(times_of.size, int)
            other = Spikes(zeros, zeros, times_of, n_samples=1, n_neurons=1)
            return Result(result.network, {**result.spikes, "output": other}, result.t_max)

        monkeypatch.setattr(module, "simulate", altered)
        return check_eventprop(net, spikes, loss, 20.0, precision="high")

    assert check_with(lambda times: times + 1e-13).passed
    for times, message in (
        (
            lambda times: times + 1e-7,
            "'output', neuron 0, sample 0: the spike recorded at t = .*, solved again, lies at",
        ),
        (lambda times: times[:-1], "v is above threshold at t = .* without a spike on record"),
    ):
        with pytest.raises(SimulationError, match=message):
            check_with(times)


def test_wrong_arguments_are_named():
    rng = np.random.default_rng(3)
    net, spikes = network(rng), drive(rng)
    single = Sequential([Dense(np.ones((3, 2), np.float32)), LIF(tau_mem=2.0, tau_syn=1.0)])
    for arguments, settings, message in [
        ((net, spikes, squares, 50.0), {"parameters": ["cells.tau"]}, "no 'cells.tau'; did you mean 'cells.tau_mem'"),
        ((net, spikes, squares, 50.0), {"n_entries": 2}, "check_eventprop.rng: 2 of the 12 entries"),
        ((net, spikes, squares, 50.0), {"step": 0.0}, "check_eventprop.step: must be .* > 0"),
        ((net, spikes, squares, 50.0), {"tolerance": -1.0}, "check_eventprop.tolerance: must be .* > 0"),
        ((net, spikes, squares, 50.0), {"precision": "mp"}, "check_eventprop.precision: must be 'auto', 'float64' or"),
        ((net, spikes, squares, 50.0), {"digits": 10}, "check_eventprop.digits: must be an integer >= 20, got 10"),
        ((net, spikes, squares, 50.0), {"n_entries": 0}, "check_eventprop.n_entries: must be an integer >= 1, got 0"),
        ((single, spikes, squares), {}, "input->output.weight is float32"),
        ((net, spikes, "squares", 50.0), {}, "check_eventprop.loss: must be a function of a Result, got str"),
        (
            (net, spikes, lambda result: 0.0, 50.0),
            {},
            "check_eventprop.loss: must return .value, d_times. or, .* got float",
        ),
        ((net, spikes, lambda result: (0.0, {}, {}, {}, {}, {}), 50.0), {}, "check_eventprop.loss: .*, got 6 items"),
        ((net, {"noise": spikes}, squares, 50.0), {}, "no input 'noise'"),
        (("net", spikes, squares), {}, "expected a Sequential or a Network, got str"),
    ]:
        with pytest.raises(ValidationError, match=message):
            check_eventprop(*arguments, **settings)
