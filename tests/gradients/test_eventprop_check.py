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
    Spikes,
    ValidationError,
    VanRossum,
    VoltageGradient,
    check_eventprop,
)


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


def squares(result):
    """Spike times and two potentials of the readout."""
    times = result.spikes["cells"].times
    at = np.array([28.0, 44.0])
    v = np.array([result.v("out", [t], s, [n]).item() for s, n, t in zip([0, 1], [1, 0], at, strict=True)])
    probes = VoltageGradient(np.array([0, 1]), np.array([1, 0]), at, 2.0 * v)
    return (0.01 * times**2).sum() + (v**2).sum(), {"cells": 0.02 * times}, {"out": probes}


def test_all_parameters_of_a_network_pass():
    rng = np.random.default_rng(3)
    report = check_eventprop(network(rng), drive(rng), squares, 50.0, n_entries=3, rng=0)
    assert set(report.entries) == {
        *(f"{p}.{key}" for p in ("drive->cells", "cells->cells", "cells->out") for key in ("weight", "delay")),
        *(f"cells.{key}" for key in ("tau_mem", "tau_syn[fast]", "tau_syn[slow]", "v_threshold", "v_reset", "v_leak")),
        *(f"cells.{key}" for key in ("i_bias", "t_refrac")),
        *(f"out.{key}" for key in ("tau_mem", "tau_syn", "v_leak", "i_bias")),
        "drive.times",
    }  # fmt: skip
    assert len(report.entries["cells.tau_mem"]) == 3
    assert [e.index for e in report.entries["cells.t_refrac"]] == [()]  # shared: one entry
    assert report.passed, str(report)
    assert report.n_changed < report.n_entries / 4


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


def test_a_wrong_derivative_fails():
    rng = np.random.default_rng(3)

    def wrong(result):
        value, d_times, d_v = squares(result)
        return value, {"cells": 1.01 * d_times["cells"]}, d_v

    report = check_eventprop(network(rng), drive(rng), wrong, 50.0, parameters=["drive->cells.weight"])
    assert not report.passed
    assert "FAILED" in str(report)


def test_a_spike_that_appears_is_marked():
    net = Sequential([Dense([[4.0 + 1e-7]]), LIF(tau_mem=2.0, tau_syn=1.0)])  # its peak is at the threshold
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=1)

    def loss(result):
        times = result.spikes["output"].times
        return times.sum(), {"output": np.ones(times.size)}

    report = check_eventprop(net, spikes, loss, parameters=["input->output.weight"])
    assert report.n_changed == 1
    assert not report.passed  # nothing was compared
    assert "spikes changed" in str(report)


def test_wrong_arguments_are_named():
    rng = np.random.default_rng(3)
    net, spikes = network(rng), drive(rng)
    single = Sequential([Dense(np.ones((3, 2), np.float32)), LIF(tau_mem=2.0, tau_syn=1.0)])
    for arguments, settings, message in [
        ((net, spikes, squares, 50.0), {"parameters": ["cells.tau"]}, "no 'cells.tau'; did you mean 'cells.tau_mem'"),
        ((net, spikes, squares, 50.0), {"n_entries": 2}, "check_eventprop.rng: 2 of the 12 entries"),
        ((net, spikes, squares, 50.0), {"step": 0.0}, "check_eventprop.step: must be .* > 0"),
        ((single, spikes, squares), {}, "input->output.weight is float32"),
        ((net, spikes, "squares", 50.0), {}, "check_eventprop.loss: must be a function of a Result, got str"),
        ((net, {"noise": spikes}, squares, 50.0), {}, "no input 'noise'"),
        (("net", spikes, squares), {}, "expected a Sequential or a Network, got str"),
    ]:
        with pytest.raises(ValidationError, match=message):
            check_eventprop(*arguments, **settings)
