"""Gradients of learned delays of every form, map and sharing, as the trainer takes them, in high precision.

The exact side moves a raw value by 1e-25, puts it through its map in 100 digits, and simulates with the reference.
"""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf, workdps

from eventsnn import (
    LIF,
    ClippedDelay,
    DelayL2,
    Dense,
    FirstSpikeMSE,
    LearnedDelay,
    Network,
    Population,
    Projection,
    Sequential,
    ShiftedDelay,
    SigmoidDelay,
    Spikes,
)
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool
from eventsnn.training.model_choice import model_of
from tests.reference.network_mpmath import simulate_reference

#: of a derivative in a direction, relative to the sum of the absolute values that it is made of
TOLERANCE = 1e-10
STEP = mpf(10) ** -25
T_MAX = 8.0
LABELS = np.array([1])
LOSS = FirstSpikeMSE(t_correct=2.5, t_wrong=4.0, t_silent=20.0)
PRICE = DelayL2(0.05)
#: no two time constants of a pair are equal
TAU_MEM, TAU_SYN, LOOP_TAU = {"hidden": 2.0, "second": 1.3, "output": 1.7}, 1.0, 1.6
SIZES = {"input": 4, "hidden": 4, "second": 4, "output": 2}
MAPS = {
    "sigmoid": SigmoidDelay(), "shifted sigmoid": SigmoidDelay(1.5, 0.3), "clip": ClippedDelay(),
    "shift": ShiftedDelay(),
}  # fmt: skip
#: mean and standard deviation
WEIGHTS = {("hidden", "hidden"): (-0.2, 0.5), ("hidden", "output"): (0.7, 0.3)}
FORMS = {"axonal": (1, 0), "dendritic": (0, 1), "synaptic": (1, 1)}
#: tau_mem of the chains by turn: no closed form, the two that have one, nearly one of them and shorter than tau_syn
CHAIN_TAUS = [(2.3, 1.3, 1.7), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.6, 1.0 + 1e-9, 3.0)]
#: every form once, at places that change with the map
CASES = [(name, share, n) for n, name in enumerate(MAPS) for share in (1, 2)]
IDS = [f"{name}-shared by {share}" for name, share, _ in CASES]


def unit_of(pair):
    return LOOP_TAU if pair[0] == pair[1] else TAU_SYN


class Case:
    """Weights, raw values and how delays are learned, by pair of populations; one sample."""

    def __init__(self, pairs, forms, positivity, share, max_spikes, seed, tau_mem=TAU_MEM):
        rng, self.tau_mem = np.random.default_rng(seed), tau_mem
        self.weights, self.learned, self.raws, self.max_spikes = {}, {}, {}, max_spikes
        for pair, form in zip(pairs, forms, strict=True):
            shape = SIZES[pair[0]], SIZES[pair[1]]
            mean, std = WEIGHTS.get(pair, (3.0, 1.5))
            self.weights[pair] = rng.normal(mean, std, shape)
            along = FORMS[form]
            shares = [share if used else 1 for used in along]
            self.learned[pair] = LearnedDelay(positivity=positivity, shared_pre=shares[0], shared_post=shares[1])
            sizes = [n // own if used else 1 for n, own, used in zip(shape, shares, along, strict=True)]
            self.raws[pair] = rng.uniform(0.1, 1.0, sizes)
        self.spikes = Spikes(np.zeros(5, int), [0, 1, 2, 3, 0], rng.uniform(0.0, 2.0, 5), n_samples=1, n_neurons=4)
        self.direction = {pair: np.round(rng.normal(size=raw.shape), 3) for pair, raw in self.raws.items()}

    def connection(self, pair):
        return Dense(self.weights[pair], self.learned[pair].delay_of(self.raws[pair], unit_of(pair)))

    def exact_values(self, raws):
        """Delays in units of tau_syn, from raw values in all digits."""
        found = {}
        for pair, raw in raws.items():
            own = self.learned[pair].positivity
            is_sigmoid = isinstance(own, SigmoidDelay)
            found[pair] = (
                own.shift + own.scale / (1 + np.vectorize(mp.exp, otypes=[object])(-raw)) if is_sigmoid else raw
            )
        return found

    def exact_loss(self, shift):
        """The loss and the price, all raw values moved by `shift` times the direction."""
        delays = self.exact_values(
            {
                pair: np.vectorize(mpf, otypes=[object])(raw) + shift * self.direction[pair]
                for pair, raw in self.raws.items()
            }
        )
        squares = [x**2 for own in delays.values() for x in own.flat]
        times = self.exact_output({
            pair: [
                (j, k, float(weight[j, k]), mpf(unit_of(pair)) * own[j % own.shape[0], k % own.shape[1]])
                for j, k in np.ndindex(weight.shape)
            ]
            for (pair, weight), own in zip(self.weights.items(), delays.values(), strict=True)
        })  # fmt: skip
        targets = [LOSS.t_correct if k == LABELS[0] else LOSS.t_wrong for k in range(2)]
        of_times = [(time / mpf(TAU_SYN) - mpf(target)) ** 2 / 2 for time, target in zip(times, targets, strict=True)]
        return mp.fsum(of_times) + mpf(PRICE.strength) * mp.fsum(squares) / len(squares)

    def exact_output(self, synapses):
        """First spike times of the output."""
        common = {"v_threshold": 1.0, "v_reset": 0.0, "v_leak": 0.0, "t_refrac": 0.0, "i_bias": 0.0}
        receptors = {"drive": TAU_SYN, "loop": LOOP_TAU}
        outcome = simulate_reference({
            "populations": [
                {"name": name, "n": SIZES[name], "tau_mem": self.tau_mem[name], "tau_syn": receptors,
                 "max_spikes": self.max_spikes} | common for name in dict.fromkeys(target for _, target in synapses)
            ],
            "inputs": [{"name": "input", "n": 4}],
            "projections": [
                {"source": pair[0], "target": pair[1], "receptor": "loop" if pair[0] == pair[1] else "drive",
                 "synapses": own} for pair, own in synapses.items()
            ],
            "spikes": {"input": list(zip(self.spikes.neurons.tolist(), self.spikes.times.tolist(), strict=True))},
            "t_max": T_MAX,
        }).spikes["output"]  # fmt: skip
        return [min(time for time, k in outcome if k == neuron) for neuron in range(2)]

    def compare(self, model, names):
        """The gradient in the direction; names: of the delays in the model, by pair."""
        for pair, name in names.items():
            np.testing.assert_allclose(model.arrays[name], self.raws[pair], rtol=1e-14)  # there and back
            model.arrays[name][...] = self.raws[pair]
        gradients = {name: np.zeros((1, array.size)) for name, array in model.arrays.items()}
        block = model.block({name: own[0].reshape(model.arrays[name].shape) for name, own in gradients.items()})
        model.refresh([block])
        outcome = block.run(input_events(self.spikes), LABELS, LOSS)
        with BlockPool(1) as pool:
            model.finish([outcome], gradients, pool)
        terms = [gradients[name][0] * self.direction[pair].ravel() for pair, name in names.items()]
        for own in terms:
            assert (own != 0.0).mean() > 0.6  # few neurons are silent
        with workdps(100):
            below, above = self.exact_loss(-STEP), self.exact_loss(STEP)
            exact = float((above - below) / (2 * STEP))
        assert outcome.losses.sum() == pytest.approx(float(below), rel=1e-12)
        terms = np.concatenate(terms)
        assert abs(terms.sum() - exact) <= TOLERANCE * np.abs(terms).sum()


@pytest.mark.parametrize(("name", "share", "turn"), CASES, ids=IDS)
def test_of_a_network_by_eventprop(name, share, turn):
    pairs = [("input", "hidden"), ("hidden", "hidden"), ("hidden", "output")]
    forms = np.roll(list(FORMS), turn).tolist()
    case = Case(pairs, forms, MAPS[name], share, None, seed=0)
    hidden = LIF(TAU_MEM["hidden"], {"drive": TAU_SYN, "loop": LOOP_TAU})
    receptors = ["drive", "loop", None]
    network = Network(
        {"input": 4},
        {"hidden": Population(hidden, 4), "output": Population(LIF(TAU_MEM["output"], TAU_SYN), 2)},
        [Projection(*pair, case.connection(pair), key) for pair, key in zip(pairs, receptors, strict=True)],
    )
    names = {pair: f"{pair[0]}->{pair[1]}.delay" for pair in pairs}
    learn = {own: case.learned[pair] for pair, own in names.items()}
    case.compare(model_of(network, LOSS, T_MAX, learn=learn, regularizers=[PRICE]), names)


@pytest.mark.parametrize(("name", "share", "turn"), CASES, ids=IDS)
@pytest.mark.parametrize("as_network", [False, True], ids=["first spike", "eventprop"])
def test_of_a_chain_whose_neurons_fire_once(name, share, turn, as_network):
    """In closed form, and as a network by EventProp."""
    pairs = [("input", "hidden"), ("hidden", "second"), ("second", "output")]
    forms = np.roll(list(FORMS), turn).tolist()
    case = Case(pairs, forms, MAPS[name], share, 1, 4, dict(zip(TAU_MEM, CHAIN_TAUS[turn], strict=True)))
    parts = [(case.connection(pair), LIF(case.tau_mem[pair[1]], TAU_SYN, max_spikes=1)) for pair in pairs]
    network = Sequential([part for both in parts for part in both], [target for _, target in pairs])
    names = {pair: f"{pair[1]}.delay" for pair in pairs}
    if as_network:
        network, names = network.as_network(), {pair: f"{pair[0]}->{pair[1]}.delay" for pair in pairs}
    learn = {own: case.learned[pair] for pair, own in names.items()}
    case.compare(model_of(network, LOSS, np.inf, learn=learn, regularizers=[PRICE]), names)
