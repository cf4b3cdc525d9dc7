"""Training of any network: exact gradients of weights, delays and time constants; the same bits always; memory."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import (
    LI,
    LIF,
    Adam,
    Dense,
    FirstSpikeCrossEntropy,
    ImageShift,
    MarginPenalty,
    Network,
    Population,
    Projection,
    Sequential,
    SilentHinge,
    Sparse,
    SpikeCountCrossEntropy,
    SpikeCountTarget,
    SpikeCountUpperBound,
    Spikes,
    Trainer,
    ValidationError,
    WeightBumping,
    check_gradients,
    simulate,
)
from eventsnn.datasets import load_delayed_match
from eventsnn.gradients.chain import ChainGradient
from eventsnn.gradients.graph_gradient import GraphGradient
from eventsnn.simulation.layers import input_events
from eventsnn.training.voltage_losses import IntegralCrossEntropy, MaxVoltageCrossEntropy, VoltageCrossEntropy

TAU_MEM, TAU_SYN, T_MAX = 20e-3, 5e-3, 60e-3
AT = VoltageCrossEntropy(times=[20e-3, 41e-3], scale=2.0)
READOUT = LI(tau_mem=TAU_MEM, tau_syn=TAU_SYN)


def network(*, n_hidden=12, output=READOUT, sparse=False, seed=0):
    """Input to hidden to output, hidden to itself with axonal delays, input to output."""
    rng = np.random.default_rng(seed)
    cell = LIF(tau_mem=rng.uniform(15e-3, 25e-3, n_hidden), tau_syn={"fast": TAU_SYN, "slow": 10e-3})
    loop = rng.normal(0.0, 0.5, (n_hidden, n_hidden))
    if sparse:
        loop = Sparse(loop * (rng.random(loop.shape) < 0.5), delay=5e-3)
    else:
        loop = Dense(loop, delay=rng.uniform(1e-3, 15e-3, (n_hidden, 1)))
    return Network(
        {"input": 4},
        {"hidden": Population(cell, n_hidden), "output": Population(output, 2)},
        [
            Projection("input", "hidden", Dense(rng.normal(1.5, 2.0, (4, n_hidden))), receptor="fast"),
            Projection("hidden", "hidden", loop, receptor="slow"),
            Projection("hidden", "output", Dense(rng.normal(0.0, 0.3, (n_hidden, 2)), delay=2e-3)),
            Projection("input", "output", Dense(rng.normal(1.0, 0.3, (4, 2)))),
        ],
    )


def data(n_samples=5, n_events=30, seed=1):
    rng = np.random.default_rng(seed)
    spikes = Spikes(
        rng.integers(0, n_samples, n_events), rng.integers(0, 4, n_events), rng.uniform(0.0, 20e-3, n_events),
        n_samples=n_samples, n_neurons=4,
    )  # fmt: skip
    return spikes, rng.integers(0, 2, n_samples)


def loss_of(net, loss, spikes, labels, gradients=None):
    graph = GraphGradient(net, loss, "output", T_MAX, gradients or {})
    return float(graph.run(input_events(spikes), labels, loss).losses.sum())


CASES = {
    "samples": (network(), AT),
    "maximum": (network(), MaxVoltageCrossEntropy(scale=2.0)),
    "integral": (network(), IntegralCrossEntropy(scale=2.0 / T_MAX)),
    "sparse": (network(sparse=True), AT),
    "first spikes": (network(output=LIF(TAU_MEM, TAU_SYN, v_threshold=0.5)), FirstSpikeCrossEntropy(xi=0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_loss(case):
    """Against central differences with the simulation; steps that change a number of spikes are left out."""
    net, loss = CASES[case]
    spikes, labels = data()
    names = [name for name in net.parameter_names if name.rpartition(".")[2].partition("[")[0] in
             ("weight", "delay", "tau_mem", "tau_syn") and not name.startswith("output.")]  # fmt: skip
    gradients = {name: np.zeros(net.parameter(name).shape) for name in names}
    loss_of(net, loss, spikes, labels, gradients)
    counts = {name: own.counts() for name, own in simulate(net, spikes, T_MAX).spikes.items()}
    assert counts["hidden"].sum() > 30
    rng = np.random.default_rng(2)
    compared = 0
    for name in names:
        value = net.parameter(name)
        if name.endswith(".delay") and not value.any():
            continue  # at 0 there is a derivative on one side only
        scale = np.abs(gradients[name]).max()
        for index in rng.permutation(np.argwhere(np.ones(value.shape)))[:8]:
            index, h = tuple(index), 1e-6 * np.abs(value).max()
            sides, same = [], True
            for step in (h, -h):
                moved = value.copy()
                moved[index] += step
                other = net.with_parameters({name: moved})
                sides.append(loss_of(other, loss, spikes, labels))
                found = simulate(other, spikes, T_MAX).spikes
                same &= all((found[n].counts() == counts[n]).all() for n in counts)
            if same:
                compared += 1
                # rounding of the loss, 1e-16, over the step; truncation is far below
                assert gradients[name][index] == pytest.approx(
                    (sides[0] - sides[1]) / (2 * h), rel=1e-5, abs=1e-5 * scale
                )
    assert compared >= 25


@pytest.mark.parametrize("case", CASES)
def test_check_gradients_by_eventprop_passes(case):
    net, loss = CASES[case]
    spikes, labels = data()
    report = check_gradients(
        net, spikes, labels, loss, method="eventprop", t_max=T_MAX, n_entries=4, rng=0, tolerance=1e-4, verbose=False
    )  # the differences at t_refrac = 0 are one-sided: up to 4e-5 here; all others are below 1e-5
    assert max(error for name, error in report.max_errors().items() if not name.endswith("t_refrac")) < 1e-5
    assert report.passed, str(report)
    assert {"hidden.v_threshold", "hidden->hidden.delay", "input.times"} <= set(report.entries)
    assert report.n_entries - report.n_changed >= 30
    with pytest.raises(ValidationError, match="check_gradients.parameters: no 'hidden.tau'; did you mean"):
        check_gradients(net, spikes, labels, loss, method="eventprop", t_max=T_MAX, parameters=["hidden.tau"])


def test_check_gradients_by_eventprop_refuses_what_it_cannot_do():
    spikes, labels = data()
    for settings, message in [
        ({"precision": "high"}, "precision='high' and silent_strength are for method='first_spike'"),
        ({"method": "first_spike"}, "t_max and output are for method='eventprop'"),
        ({"method": "adjoint"}, "unknown method 'adjoint'"),
        ({"t_max": np.inf}, "loss_and_grad.t_max: hidden could fire for ever"),
    ]:
        with pytest.raises(ValidationError, match=message):
            check_gradients(network(), spikes, labels, AT, **({"method": "eventprop", "t_max": T_MAX} | settings))
    spiking = network(output=LIF(TAU_MEM, TAU_SYN))
    with pytest.raises(ValidationError, match="the gradient of spike counts is a surrogate"):
        check_gradients(spiking, spikes, labels, SpikeCountCrossEntropy(), method="eventprop", t_max=T_MAX)


def test_a_chain_has_the_gradient_of_its_layers():
    rng = np.random.default_rng(0)
    lif = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN)
    chain = Sequential([Dense(rng.normal(2.0, 2.0, (4, 15))), lif, Dense(rng.normal(0.0, 0.5, (15, 2))), READOUT])
    spikes, labels = data()
    layers = [np.zeros_like(w) for w in chain.weights]
    outcome = ChainGradient(chain, layers, AT, T_MAX).run(input_events(spikes), labels, AT)
    graph = {name: np.zeros_like(w) for name, w in chain.as_network().parameters().items()}
    value = loss_of(chain.as_network(), AT, spikes, labels, graph)
    assert value == pytest.approx(outcome.losses.sum(), rel=1e-12)
    for own, other in zip(layers, graph.values(), strict=True):
        # both exact up to rounding, which 1/(dv/dt) of nearly grazing spikes amplifies
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-11 * np.abs(own).max())


def trainer(net=None, **settings):
    settings = {"seed": 1, "silent": None, "batch_size": 32, "min_slope": 0.1, "t_max": T_MAX} | settings
    return Trainer(net or network(), AT, Adam(1e-2), **settings)


class Split:
    def __init__(self, n_samples, seed=3):
        self.spikes, self.labels = data(n_samples, 6 * n_samples, seed)


LEARN = {"weight": 1.0, "hidden->hidden.delay": 20.0, "tau_mem": 2.0, "hidden.tau_syn[slow]": 1.0}


def test_the_same_bits_for_any_number_of_threads_and_after_a_savepoint():
    train, weights = Split(70), []
    noise = {"time_noise": 1e-4, "input_dropout": 0.1, "image_shift": ImageShift((2, 2), 1)}
    for n_threads in (1, 2):
        own = trainer(learn=LEARN, n_threads=n_threads, **noise)
        own.fit(train, None, 2, progress=False)
        weights.append(own.state_dict()["weights"])
    stopped = trainer(learn=LEARN, **noise)
    stopped.fit(train, None, 1, progress=False)
    resumed = trainer(learn=LEARN, **noise)
    resumed.load_state_dict(stopped.state_dict())
    resumed.fit(train, None, 2, progress=False)
    weights.append(resumed.state_dict()["weights"])
    for other in weights[1:]:
        for name, array in weights[0].items():
            np.testing.assert_array_equal(array, other[name])


def test_what_is_learned_changes_and_nothing_else():
    before = network()
    own = trainer(before, learn=LEARN | {"input->hidden.weight": 0.0})
    own.fit(Split(40), None, 2, progress=False)
    changed = {
        name
        for name in before.parameter_names
        if not np.array_equal(before.parameter(name), own.network.parameter(name))
    }
    assert changed == {
        "hidden->hidden.weight", "hidden->output.weight", "input->output.weight", "hidden->hidden.delay",
        "hidden->output.delay", "hidden.tau_mem", "hidden.tau_syn[slow]",
    } - {"hidden->output.delay"}  # fmt: skip
    assert (own.network.parameter("hidden->hidden.delay") >= 0.0).all()


def test_delays_stop_at_zero():
    net = network()
    own = trainer(net, learn={"delay": 1e4})  # steps of 100 tau_syn: every one that falls ends at 0
    own.fit(Split(40), None, 1, progress=False)
    delays = own.network.parameter("hidden->hidden.delay")
    assert (delays == 0.0).any()
    assert (delays >= 0.0).all()


@pytest.mark.slow
def test_delayed_match_is_learned_with_recurrence_and_not_without():
    task = load_delayed_match(n_train=600, n_test=400)
    accuracies = {}
    for recurrent in (True, False):
        rng = np.random.default_rng(0)
        cell = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN)
        loop = Dense(rng.normal(0.0, 0.4, (60, 60)), delay=rng.uniform(0.0, 20e-3, (60, 1)))
        net = Network(
            {"input": 20},
            {"hidden": Population(cell, 60), "output": Population(READOUT, 2)},
            [Projection("input", "hidden", Dense(rng.normal(1.0, 1.0, (20, 60))))]
            + ([Projection("hidden", "hidden", loop)] if recurrent else [])
            + [Projection("hidden", "output", Dense(rng.normal(0.0, 0.1, (60, 2))))],
        )
        loss = VoltageCrossEntropy(times=np.linspace(118e-3, 140e-3, 8), scale=5.0)
        learn = {"weight": 1.0} | ({"delay": 30.0} if recurrent else {})
        own = Trainer(
            net, loss, Adam(1e-2), seed=0, silent=None, batch_size=50, min_slope=0.1, t_max=140e-3, learn=learn
        )
        own.fit(task.train, None, 10, progress=False)
        accuracies[recurrent] = own.evaluate(task.test).accuracy
    assert accuracies[True] >= 0.97  # 1.0 when it was written
    assert accuracies[False] <= 0.65  # 0.5 is chance; what is left of the first symbol after 5 tau_mem is 0.7 %


def test_what_does_not_fit_is_named():
    per_synapse = network().with_parameters({})
    two_inputs = Network(
        {"a": 1, "b": 1}, {"output": Population(READOUT, 2)}, [Projection("a", "output", Dense([[1.0, 1.0]]))]
    )
    unread = Network({"input": 4}, {"hidden": Population(LIF(TAU_MEM, TAU_SYN), 2), "output": Population(READOUT, 2)},
                     [Projection("input", "hidden", Dense(np.ones((4, 2))))])  # fmt: skip
    sparse = Network({"input": 4}, {"output": Population(READOUT, 2)},
                     [Projection("input", "output", Sparse(np.ones((4, 2))))])  # fmt: skip
    for net, settings, message in [
        (two_inputs, {}, "Trainer: needs a network with one input"),
        (unread, {}, "output 'output': no projection leads to it"),
        (sparse, {}, "its projection input->output must be Dense"),
        (network(), {"output": "hiden"}, "Trainer.output: no population 'hiden'; did you mean 'hidden'"),
        (network(), {"output": "hidden"}, "so the loss must be on first spike times or spike counts"),
        (network(), {"t_max": np.inf}, "Trainer.t_max: hidden could fire for ever"),
        (network(), {"learn": {"weigth": 1.0}}, "Trainer.learn: no parameter 'weigth'; did you mean 'weight'"),
        (network(), {"learn": {"hidden.v_leak": 1.0}}, "hidden.v_leak cannot be learned"),
        (network(), {"learn": {"output.tau_mem": 1.0}}, "the time constants of readouts are not learned"),
        (network(), {"learn": {"weight": -1.0}}, "Trainer.learn\\['weight'\\]: must be a finite number and >= 0"),
        (network(), {"learn": {"weight": 0.0}}, "leaves nothing to learn"),
        (network(), {"learn": ["weight"]}, "must be a dict of learning rates"),
        (network(), {"max_dw_norm": 1.0}, "Trainer.max_dw_norm: only for chains"),
        (network(), {"silent": WeightBumping()}, "WeightBumping is for a Sequential"),
        (object(), {}, "Trainer: needs a Sequential or a Network"),
    ]:
        with pytest.raises(ValidationError, match=message):
            trainer(net, **settings)
    assert per_synapse.parameter_names == network().parameter_names
    with pytest.raises(ValidationError, match="n_neurons=3, but the network has 4 input channels"):
        trainer().predict(Spikes([], [], [], n_samples=1, n_neurons=3))


TERMS = {
    "hinge on hidden": {"hidden_hinge": [(np.ones(12, dtype=bool), 0.3)]},
    "margins": {"regularizers": [MarginPenalty(gain=0.3, slope=1.0, strength=0.1)]},
}


@pytest.mark.parametrize("case", TERMS)
def test_the_gradient_is_that_of_the_loss_and_its_terms(case):
    """Weights are so small that many neurons are silent; as above otherwise."""
    net = network()
    small = {name: 0.5 * net.parameter(name) for name in ("input->hidden.weight", "hidden->hidden.weight")}
    net = net.with_parameters(small)
    spikes, labels = data(n_events=40)
    settings = dict(TERMS[case])
    regularizers = settings.pop("regularizers", [])
    counts = simulate(net, spikes, T_MAX).spikes["hidden"].counts()
    assert (counts == 0).sum() > 10
    assert (counts > 0).sum() > 10

    def loss_and_terms(net, gradients=None):
        graph = GraphGradient(net, AT, "output", T_MAX, gradients or {}, regularizers=regularizers)
        return float(graph.run(input_events(spikes), labels, AT, **settings).losses.sum())

    names = ["input->hidden.weight", "hidden->hidden.weight", "hidden->hidden.delay", "hidden.tau_mem"]
    gradients = {name: np.zeros(net.parameter(name).shape) for name in names}
    value = loss_and_terms(net, gradients)
    assert value > 1.01 * loss_of(net, AT, spikes, labels)
    rng = np.random.default_rng(0)
    for name in names:
        before, scale = net.parameter(name), np.abs(gradients[name]).max()
        for index in rng.permutation(np.argwhere(np.ones(before.shape)))[:8]:
            index, h = tuple(index), 1e-6 * np.abs(before).max()
            sides = []
            for step in (h, -h):
                moved = before.copy()
                moved[index] += step
                sides.append(loss_and_terms(net.with_parameters({name: moved})))
            assert gradients[name][index] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5, abs=2e-5 * scale)


def test_silent_neurons_come_back_by_the_default_hinge():
    net = network()
    net = net.with_parameters({"input->hidden.weight": 0.05 * np.abs(net.parameter("input->hidden.weight"))})
    own = trainer(net, silent=SilentHinge(strength=0.1))
    history = own.fit(Split(60), None, 40, progress=False)
    assert history[0].silent_hidden == 1.0
    assert history[-1].silent_hidden < 0.8


def test_spike_counts_are_learned_within_bounds():
    """Two classes by which half of the inputs fires; hidden neurons that fire too often are held back."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    samples = np.repeat(np.arange(60), 8)
    neurons = np.repeat(labels, 8) * 2 + rng.integers(0, 2, 480)
    split = Split(1)
    split.spikes = Spikes(samples, neurons, rng.uniform(0.0, 20e-3, 480), n_samples=60, n_neurons=4)
    split.labels = labels
    net = network(output=LIF(TAU_MEM, TAU_SYN))
    rates = {}
    for bound in (None, 0.5):
        regularizers = [] if bound is None else [SpikeCountUpperBound(bound, 0.5)]
        own = Trainer(
            net, SpikeCountCrossEntropy(), Adam(1e-2), seed=0, batch_size=20, min_slope=0.1, t_max=T_MAX,
            regularizers=regularizers,
        )  # fmt: skip
        own.fit(split, None, 15, progress=False)
        rates[bound] = simulate(own.network, split.spikes, T_MAX).spikes["hidden"].counts().mean()
        if bound is None:
            assert own.evaluate(split).accuracy >= 0.9
            assert own.predict(split.spikes).outputs.shape == (60, 2)
    assert rates[0.5] < 0.8 * rates[None]


def test_terms_that_do_not_fit_are_named():
    chain = Sequential([Dense(np.ones((4, 2))), LIF(TAU_MEM, TAU_SYN)])
    for net, loss, settings, message in [
        (network(), AT, {"regularizers": [SpikeCountTarget(1.0, 1.0)]}, "with terms that belong to single samples"),
        (network(), AT, {"regularizers": ["l2"]}, "Trainer.regularizers: must be MarginPenalty"),
        (chain, FirstSpikeCrossEntropy(xi=0.5), {"regularizers": [MarginPenalty()]}, "not for a Sequential"),
        (chain, SpikeCountCrossEntropy(), {}, "losses on spike counts are not for a Sequential"),
        (network(), SpikeCountCrossEntropy(), {}, "so the loss must be on potentials"),
    ]:
        with pytest.raises(ValidationError, match=message):
            Trainer(net, loss, Adam(1e-2), seed=0, t_max=T_MAX, **settings)


def test_a_readout_of_the_input_alone_is_trained():
    net = Network(
        {"input": 4}, {"output": Population(READOUT, 2)}, [Projection("input", "output", Dense(np.ones((4, 2))))]
    )
    before = net.parameter("input->output.weight")
    own = trainer(net)
    history = own.fit(Split(60), None, 5, progress=False)
    assert history[-1].train_loss < history[0].train_loss
    assert not np.array_equal(own.network.parameter("input->output.weight"), before)


def test_weights_in_float32_are_learned_in_float64():
    net = network().with_parameters({"input->hidden.weight": np.ones((4, 12), np.float32)})
    assert net.parameter("input->hidden.weight").dtype == np.float32
    own = trainer(net)
    assert own.network.parameter("input->hidden.weight").dtype == np.float64
