"""e-prop: equal to the exact gradient where no error goes through recurrent spikes, and to that gradient cut elsewhere.

The cut is no formula of its own: the recurrent spikes of a run are recorded and given as an input to a network without
recurrence, with the recurrent weights as its weights. Backpropagation through time of that network is the oracle: that
of `tests.reference.grid_numpy` (dense, reverse accumulation), and that of `loss_and_grad`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from eventsnn import (
    SGD,
    Adam,
    Arctan,
    BinningWarning,
    Clock,
    Currents,
    Dense,
    FastSigmoid,
    IntegralCrossEntropy,
    Leaky,
    MaxVoltageCrossEntropy,
    MembraneCrossEntropy,
    Network,
    Population,
    Projection,
    Sparse,
    SpikeCountMSE,
    SpikeCountTarget,
    Spikes,
    StraightThrough,
    Trainer,
    Triangular,
    ValidationError,
    loss_and_grad,
    simulate_clocked,
)
from eventsnn.datasets.base import Split
from eventsnn.gradients.eprop import EpropGradient
from eventsnn.gradients.surrogate import ClockedGradient
from eventsnn.simulation import grid_runner
from eventsnn.simulation.grid_inputs import GridInput
from eventsnn.simulation.grid_network import GridNetwork
from tests.reference import grid_numpy as reference
from tests.simulation.grid_cases import DT, KINDS, RESETS, neuron_pair, random_events

N_IN, N, N_OUT, N_STEPS, N_SAMPLES = 12, 9, 3, 30, 4
READOUTS = {"lif": "li"}


class Case:
    """Input `x` -> `a` (recurrent with `lag` steps, or not at all with None) -> `out`; both forms of all of it."""

    def __init__(
        self, seed, kind="leaky", *, reset=("subtract", "next_step"), shared=False, lag=1, readout=None, delay=0,
        skips=False,
    ):  # fmt: skip
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        scale = {"leaky": 0.8, "if": 0.5, "synaptic": 0.4, "lif": 3.0}.get(kind, 0.25)
        self.kind, self.lag, self.delay = kind, lag, delay
        self.neuron, self.population = neuron_pair(kind, N, rng, reset=reset, shared=shared)
        readout = readout or READOUTS.get(kind, kind)
        bias = rng.normal(0.0, 0.1, N_OUT)  # of their own; all else is shared
        self.readout, self.readout_population = neuron_pair(readout, N_OUT, rng, shared=True, reads_out=True)
        if readout != "li":
            self.readout = replace(self.readout, bias=bias)
            self.readout_population = replace(self.readout_population, drive=bias)
        self.weights = {
            ("x", "a"): (scale * rng.normal(0.15, 0.6, (N_IN, N)), delay),
            ("a", "out"): (scale * rng.normal(0.1, 0.6, (N, N_OUT)), delay),
        }
        if skips:
            self.weights["x", "out"] = (scale * rng.normal(0.1, 0.6, (N_IN, N_OUT)), 2)
        if lag is not None:
            self.weights["a", "a"] = (scale * rng.normal(-0.05, 0.5, (N, N)), lag)
        self.spikes, self.dense = random_events(rng, N_SAMPLES, N_IN, N_STEPS, rate=0.15)
        self.labels = rng.integers(0, N_OUT, N_SAMPLES)

    @property
    def network(self):
        return Network(
            {"x": N_IN},
            {"a": Population(self.neuron, N), "out": Population(self.readout, N_OUT)},
            [Projection(pre, post, Dense(w, delay=lag * DT)) for (pre, post), (w, lag) in self.weights.items()],
        )

    @property
    def cut_network(self):
        """The recurrent spikes come from an input `z`; they still arrive `lag` steps later."""
        edges = [("z" if pre == post else pre, post, *rest) for (pre, post), rest in self.weights.items()]
        populations = {"a": Population(self.neuron, N), "out": Population(self.readout, N_OUT)}
        return Network(
            {"x": N_IN} | ({"z": N} if self.lag is not None else {}),
            populations,
            [Projection(pre, post, Dense(w, delay=lag * DT)) for pre, post, w, lag in edges],
        )

    def clock(self, **options):
        options = {"surrogate": Arctan(), "decode": "membrane"} | options
        return Clock(n_steps=N_STEPS, dt=DT, **options)

    def gradients(self, method, clock, loss=None, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BinningWarning)
            return loss_and_grad(
                self.network, self.spikes, self.labels, loss or MembraneCrossEntropy(), method=method, clock=clock,
                **options,
            )  # fmt: skip

    def recorded(self):
        """Recurrent spikes of the run."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BinningWarning)
            return simulate_clocked(self.network, self.spikes, dt=DT, n_steps=N_STEPS).spikes["a"]

    def cut_gradients(self, clock, loss=None):
        """Backpropagation through time of `cut_network`, by eventsnn, under the names of the network."""
        inputs = {"x": self.spikes} | ({"z": self.recorded()} if self.lag is not None else {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BinningWarning)
            value, found = loss_and_grad(
                self.cut_network, inputs, self.labels, loss or MembraneCrossEntropy(), method="surrogate", clock=clock
            )
        return value, {name.replace("z->a", "a->a"): gradient for name, gradient in found.parameters.items()}

    def cut_reference(self, clock):
        """The same by the dense reference."""
        populations = {"a": self.population, "out": self.readout_population}
        full = reference.run(
            populations,
            [reference.Projection(pre, post, w, lag) for (pre, post), (w, lag) in self.weights.items()],
            {"x": self.dense},
        )
        inputs = {"x": self.dense, "z": full.spikes["a"]}
        edges = [
            reference.Projection("z" if pre == post else pre, post, w, lag)
            for (pre, post), (w, lag) in self.weights.items()
        ]
        cut = reference.run(
            populations, edges, inputs, surrogate=clock.surrogate.derivative, detach_reset=clock.detach_reset
        )
        np.testing.assert_array_equal(cut.u["out"], full.u["out"])  # the same run
        losses, d_u = MembraneCrossEntropy().value_and_grad(cut.u["out"], self.labels)
        found = cut.backward(d_u={"out": d_u / N_SAMPLES})
        names = [f"{pre}->{post}.weight" for pre, post in self.weights]
        gradients = dict(zip(names, found.weights, strict=True))
        for name, population in (("a", self.neuron), ("out", self.readout)):
            if hasattr(population, "bias"):
                drive = found.parameters[name, "drive"]
                gradients[f"{name}.bias"] = drive if isinstance(population.bias, np.ndarray) else drive.sum()
        return losses.mean(), gradients


def assert_same(found, expected, names=None, tolerance=1e-12):
    for name in names or found:
        scale = np.abs(expected[name]).max()
        assert scale > 0, f"{name}: nothing to compare"
        # Sums of some 100 products in another order, forward instead of backward: rounding, of the largest entry.
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def direction(gradients):
    return np.concatenate([gradients[name].reshape(-1) for name in ("x->a.weight", "a->a.weight")])


# -- the statement of the paper -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_eprop_is_exact_without_recurrence(reset, detach_reset, shared):
    case = Case(1, "leaky", reset=reset, lag=None, shared=shared)
    clock = case.clock(detach_reset=detach_reset)
    value, found = case.gradients("eprop", clock)
    expected_value, expected = case.gradients("surrogate", clock)
    assert value == expected_value
    assert set(found.parameters) == {"x->a.weight", "a->out.weight", "a.bias", "out.bias"}
    assert_same(found.parameters, expected.parameters)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lag", [None, 1, 3])
def test_eprop_is_backpropagation_cut_at_recurrent_spikes(kind, lag):
    reset = ("zero", "same_step") if kind == "lif" else ("subtract", "next_step")
    case = Case(2, kind, reset=reset, lag=lag)
    value, found = case.gradients("eprop", case.clock())
    expected_value, expected = case.cut_reference(case.clock())
    assert value == pytest.approx(expected_value, rel=1e-13)  # one mean
    assert_same(found.parameters, expected)
    assert set(found.parameters) == set(expected)
    assert_same(found.parameters, case.cut_gradients(case.clock())[1])


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("kind", ["leaky", "current_lif"])
def test_eprop_goes_through_or_around_every_reset(kind, reset, detach_reset):
    case = Case(3, kind, reset=reset)
    clock = case.clock(detach_reset=detach_reset, surrogate=Triangular(height=0.3, width=1.0))
    assert_same(case.gradients("eprop", clock)[1].parameters, case.cut_reference(clock)[1])


def test_eprop_of_neurons_that_never_fire_among_others():
    """A surrogate that does not vanish far below the threshold says nothing about them."""
    case = Case(17, "leaky")
    clock = case.clock(surrogate=StraightThrough(), detach_reset=True)
    assert np.isinf(case.neuron.v_threshold).any()
    assert_same(case.gradients("eprop", clock)[1].parameters, case.cut_reference(clock)[1])


@pytest.mark.parametrize("readout", ["leaky", "synaptic", "li"])
@pytest.mark.parametrize("reset", [("none", "same_step"), ("subtract", "next_step"), ("zero", "same_step")])
@pytest.mark.parametrize("kind", ["leaky", "synaptic"])
def test_eprop_with_shared_factors_delays_and_every_readout(kind, reset, readout):
    case = Case(4, kind, reset=reset, shared=True, readout=readout, delay=2, skips=True)
    clock = case.clock(detach_reset=True, surrogate=FastSigmoid(slope=3.0))
    found, expected = case.gradients("eprop", clock)[1].parameters, case.cut_reference(clock)[1]
    assert_same(found, expected)
    assert "x->out.weight" in found


def test_eprop_is_not_backpropagation_with_recurrence():
    """The error that goes through recurrent spikes is left out, and only that: the readout's gradient is the same."""
    case = Case(5, "leaky")
    eprop = case.gradients("eprop", case.clock())[1].parameters
    full = case.gradients("surrogate", case.clock())[1].parameters
    assert_same(eprop, full, ["a->out.weight", "out.bias"])
    one, other = direction(eprop), direction(full)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert 0.8 < cosine < 0.97  # 0.912: 24 degrees apart, on the same side; other seeds 14 to 34


def test_eprop_is_exact_to_first_order_in_the_recurrent_weights():
    """What it leaves out of the input weights has a recurrent weight as a factor: it goes down with them."""
    angles = []
    for factor in (1e-2, 1e-4):
        case = Case(6, "leaky")
        recurrent, lag = case.weights["a", "a"]
        case.weights["a", "a"] = (factor * recurrent, lag)
        eprop = case.gradients("eprop", case.clock())[1].parameters["x->a.weight"]
        full = case.gradients("surrogate", case.clock())[1].parameters["x->a.weight"]
        angles.append(np.linalg.norm(eprop - full) / np.linalg.norm(full))
    assert angles[0] / angles[1] == pytest.approx(100.0, rel=0.1)  # the spikes are the same, the rest is linear to 1e-2


# -- losses, regularisers, inputs, precisions -------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [MaxVoltageCrossEntropy(), IntegralCrossEntropy(scale=0.1)])
def test_eprop_takes_losses_that_are_known_at_the_end(loss):
    case = Case(7, "synaptic")
    value, found = case.gradients("eprop", case.clock(), loss)
    expected_value, expected = case.cut_gradients(case.clock(), loss)
    assert value == expected_value
    assert_same(found.parameters, expected)


@pytest.mark.parametrize("kind", ["leaky", "synaptic"])
@pytest.mark.parametrize("shared", [False, True])
def test_eprop_regularizers_of_spike_counts(kind, shared):
    """Their derivative goes along the eligibility itself, without the filter of the readout."""
    case = Case(8, kind, lag=None, shared=shared)
    found = {}
    for method in (EpropGradient, ClockedGradient):
        grid = GridNetwork(case.network, DT)
        own = {"x->a.weight": np.zeros((N_IN, N)), "a->out.weight": np.zeros((N, N_OUT))}
        regularizers = [SpikeCountTarget(target=2.0, strength=0.7)]
        clock = case.clock(detach_reset=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BinningWarning)
            events = GridInput("x", case.spikes, N_IN, DT, N_STEPS, np.float64).block(0, N_SAMPLES)
        method(
            grid, IntegralCrossEntropy(scale=0.1), clock, "out", own, N_SAMPLES, regularizers=regularizers
        ).run({"x": events}, N_SAMPLES, case.labels)  # fmt: skip
        found[method] = own
    assert_same(found[EpropGradient], found[ClockedGradient])
    without = case.gradients("eprop", case.clock(detach_reset=True), IntegralCrossEntropy(scale=0.1))[1].parameters
    assert np.abs(found[EpropGradient]["x->a.weight"] / N_SAMPLES - without["x->a.weight"]).max() > 1e-3


@pytest.mark.parametrize("kind", ["leaky", "synaptic", "lif"])
@pytest.mark.parametrize("is_constant", [True, False])
def test_eprop_of_currents(kind, is_constant):
    reset = ("zero", "same_step") if kind == "lif" else ("subtract", "next_step")
    case = Case(9, kind, reset=reset, lag=None, skips=True)
    case.weights = {key: (w, 0) for key, (w, _) in case.weights.items()}
    shape = (N_SAMPLES, N_IN) if is_constant else (N_SAMPLES, N_IN, N_STEPS)
    case.spikes = Currents(np.random.default_rng(0).uniform(0.0, 0.4, shape))
    found = case.gradients("eprop", case.clock())[1].parameters
    assert_same(found, case.gradients("surrogate", case.clock())[1].parameters)


def test_eprop_in_float32_is_close_to_float64():
    case = Case(10, "synaptic")
    exact = case.gradients("eprop", case.clock())[1].parameters
    case.weights = {key: (w.astype(np.float32), lag) for key, (w, lag) in case.weights.items()}
    found = case.gradients("eprop", case.clock())[1].parameters
    assert found["a->a.weight"].dtype == np.float32
    assert_same(found, exact, tolerance=5e-6)  # some 100 roundings of 6e-8; no spike is another


def test_eprop_does_not_depend_on_threads_nor_blocks():
    case = Case(11, "leaky")
    many = 150  # three blocks of samples
    rng = np.random.default_rng(0)
    case.spikes, _ = random_events(rng, many, N_IN, N_STEPS)
    case.labels = rng.integers(0, N_OUT, many)
    found = [case.gradients("eprop", case.clock(), n_threads=k)[1].parameters for k in (1, 2)]
    for name, gradient in found[0].items():
        np.testing.assert_array_equal(gradient, found[1][name])
    expected = case.cut_gradients(case.clock())[1]
    assert_same(found[0], expected)


@pytest.mark.parametrize("is_constant", [False, True])
def test_eprop_does_not_depend_on_chunks(monkeypatch, is_constant):
    case = Case(16, "synaptic", lag=None if is_constant else 1)
    if is_constant:
        case.spikes = Currents(np.random.default_rng(0).uniform(0.0, 0.4, (N_SAMPLES, N_IN)))
    whole = case.gradients("eprop", case.clock())[1].parameters
    monkeypatch.setattr(grid_runner, "_CHUNK_BYTES", 3 * (N + N_OUT) * N_STEPS * 8 * 3)  # three samples, then one
    assert grid_runner.chunk_size(GridNetwork(case.network, DT), N_STEPS, N_SAMPLES, 3) == 3
    assert_same(case.gradients("eprop", case.clock())[1].parameters, whole, tolerance=1e-14)  # another order of sums


def test_eprop_without_a_spike_leaves_the_biases():
    case = Case(12, "leaky")
    case.spikes = Spikes([], [], [], n_samples=N_SAMPLES, n_neurons=N_IN)
    case.neuron = replace(case.neuron, bias=0.0, v_init=0.0)
    found = case.gradients("eprop", case.clock())[1].parameters
    assert not found["x->a.weight"].any()
    assert not found["a->a.weight"].any()
    assert found["a.bias"] != 0
    assert found["out.bias"].any()


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_constant", [False, True])
def test_trainer_takes_the_step_of_eprop(is_constant):
    case = Case(14, "leaky")
    if is_constant:
        case.spikes = Currents(np.random.default_rng(0).uniform(0.0, 0.2, (N_SAMPLES, N_IN)))
    case.labels = np.arange(N_SAMPLES) % N_OUT
    rate = 1e-2
    learn = {"weight": 1.0, "bias": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BinningWarning)
        trainer = Trainer(
            case.network, MembraneCrossEntropy(), SGD(rate), seed=0, learn=learn, clock=case.clock(method="eprop")
        )
        trainer.fit(Split(case.spikes, case.labels), None, 1, progress=False)
    gradients = case.gradients("eprop", case.clock(method="surrogate"))[1].parameters  # its own method counts
    for name, gradient in gradients.items():
        expected = case.network.parameter(name) - rate * gradient
        np.testing.assert_allclose(trainer.network.parameter(name), expected, rtol=0, atol=1e-14, err_msg=name)


def delayed_match(n_samples, rng):
    """Two of three symbols of four channels, 4 steps each with 10 steps of silence between: are they the same?"""
    labels = np.arange(n_samples) % 2
    first = rng.integers(0, 3, n_samples)
    second = np.where(labels == 1, first, (first + rng.integers(1, 3, n_samples)) % 3)
    times = np.concatenate([rng.integers(0, 4, (n_samples, 4)), 14 + rng.integers(0, 4, (n_samples, 4))], axis=1)
    channels = np.concatenate([4 * first[:, None] + np.arange(4), 4 * second[:, None] + np.arange(4)], axis=1)
    samples = np.repeat(np.arange(n_samples), 8)
    return Split(Spikes(samples, channels.ravel(), times.ravel(), n_samples=n_samples, n_neurons=12), labels)


@pytest.mark.slow
def test_eprop_trains_a_recurrent_network():
    """Only the recurrent weights learn, so nothing but e-prop's gradient of them can tell the classes apart."""
    rng = np.random.default_rng(15)
    train, test = delayed_match(512, rng), delayed_match(512, rng)
    unit, readout = Leaky(beta=0.9), Leaky(beta=0.9, v_threshold=np.inf)
    network = Network(
        {"x": 12},
        {"a": Population(unit, 60), "out": Population(readout, 2)},
        [
            Projection("x", "a", Dense(rng.normal(0.0, 0.6, (12, 60)))),
            Projection("a", "a", Dense(rng.normal(0.0, 1.0 / np.sqrt(60), (60, 60)))),
            Projection("a", "out", Dense(rng.normal(0.0, 1.0 / np.sqrt(60), (60, 2)))),
        ],
    )
    clock = Clock(n_steps=24, surrogate=Triangular(), decode="membrane", method="eprop")
    trainer = Trainer(
        network, MaxVoltageCrossEntropy(), Adam(3e-3), seed=0, batch_size=32, learn={"a->a.weight": 1.0}, clock=clock
    )
    before = trainer.evaluate(test)
    trainer.fit(train, None, 20, progress=False)
    after = trainer.evaluate(test)
    np.testing.assert_array_equal(trainer.network.parameter("x->a.weight"), network.parameter("x->a.weight"))
    assert before.accuracy < 0.6
    assert after.accuracy > 0.85


# -- what it does not take --------------------------------------------------------------------------------------------

PLAIN = {
    "neuron": Leaky(beta=0.9), "readout": Leaky(beta=0.9, v_threshold=np.inf), "first": Dense(np.ones((2, 3))),
    "loop": Dense(np.ones((3, 3))), "last": Dense(np.ones((3, 2))), "others": {},
}  # fmt: skip
REFUSED = {
    "a readout that fires": ({"readout": Leaky(beta=0.9)}, "'out' does; give it v_threshold=inf"),
    "several hidden populations": (
        {"others": {"b": Population(Leaky(beta=0.9), 2)}},
        "one hidden .*'a', 'b'",
    ),
    "no hidden population that fires": (
        {"neuron": Leaky(beta=0.9, v_threshold=np.inf), "loop": None, "last": None},
        "one hidden population that fires",
    ),
    "sparse connections": ({"loop": Sparse(np.eye(3))}, "Dense connections with one delay each, but a->a is Sparse"),
    "delays per synapse": ({"loop": Dense(np.ones((3, 3)), delay=np.ones((3, 3)))}, "one delay each, but a->a"),
    "readouts unlike each other": ({"readout": Leaky(beta=[0.9, 0.8], v_threshold=np.inf)}, "have different beta"),
}


def small_network(neuron, readout, first, loop, last, others):
    populations = {"a": Population(neuron, 3)} | others | {"out": Population(readout, 2)}
    edges = [("x", "a", first), ("a", "a", loop), ("a", "out", last)]
    return Network({"x": 2}, populations, [Projection(*edge) for edge in edges if edge[2] is not None])


@pytest.mark.parametrize("case", REFUSED)
def test_eprop_names_what_it_does_not_take(case):
    changes, message = REFUSED[case]
    network, loss = small_network(**(PLAIN | changes)), MembraneCrossEntropy()
    spikes = Spikes([0], [0], [0.0], n_samples=1, n_neurons=2)
    clock = Clock(n_steps=5, decode="membrane", method="eprop")
    with pytest.raises(ValidationError, match=f"loss_and_grad.*{message}"):
        loss_and_grad(network, spikes, [0], loss, method="eprop", clock=clock)
    with pytest.raises(ValidationError, match=f"Trainer.*{message}"):
        Trainer(network, loss, Adam(1e-3), seed=0, clock=clock)
    loss_and_grad(network, spikes, [0], loss, method="surrogate", clock=clock)  # as the message says


def test_eprop_options():
    network, spikes = small_network(**PLAIN), Spikes([0], [0], [0.0], n_samples=1, n_neurons=2)
    loss, clock = MembraneCrossEntropy(), Clock(n_steps=5, decode="membrane")

    def run(**options):
        return loss_and_grad(network, spikes, [0], loss, **({"method": "eprop", "clock": clock} | options))

    run()
    with pytest.raises(ValidationError, match="Clock.method: must be 'surrogate' or 'eprop', got 'rtrl'"):
        Clock(n_steps=5, method="rtrl")
    with pytest.raises(ValidationError, match="loss_and_grad.clock: truncate=2 .* leave it out"):
        run(clock=replace(clock, truncate=2))
    with pytest.raises(ValidationError, match="method='eprop' needs clock"):
        run(clock=None)
    with pytest.raises(ValidationError, match="silent_strength are not for method='eprop'"):
        run(silent_strength=1.0)
    with pytest.raises(ValidationError, match="Trainer.learn: e-prop has no gradient of a.beta"):
        Trainer(network, loss, Adam(1e-3), seed=0, learn={"beta": 1.0}, clock=replace(clock, method="eprop"))
    with pytest.raises(ValidationError, match="looks at spikes, but 'out' never fires"):
        loss_and_grad(network, spikes, [0], SpikeCountMSE(5.0, 0.0), method="eprop", clock=clock)
