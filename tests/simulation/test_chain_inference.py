"""`run_chain` against `simulate_clocked` on the same network with every convolution written out as a dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import sparse

from eventsnn import (
    IF,
    AvgPool2d,
    Conv2d,
    Currents,
    Dense,
    Leaky,
    MaxPool2d,
    Pooled,
    Sequential,
    Spikes,
    ValidationError,
    simulate_clocked,
)
from eventsnn.simulation import chain_chunk
from eventsnn.simulation.chain_inference import run_chain
from eventsnn.simulation.grid_inputs import BinningWarning

N_STEPS, N_SAMPLES = 16, 6


def written_out(connection):
    indptr, indices, weights, _ = connection.rows()
    matrix = np.zeros((connection.n_pre, connection.n_post))
    matrix[np.repeat(np.arange(connection.n_pre), np.diff(indptr)), indices] = weights
    return Dense(matrix)


def networks(kind):
    """A chain and the same without convolutions."""
    rng = np.random.default_rng(3)
    first = Conv2d(rng.normal(0, 0.4, (3, 3, 2, 8)), (9, 8, 2), padding=1)
    pool = AvgPool2d(first.out_shape, 3, 2, 1) if kind == "overlap" else AvgPool2d(first.out_shape, 2)
    groups = 2 if kind == "groups" else 1
    second = Conv2d(rng.normal(0, 0.3, (3, 2, 8 // groups, 6)), pool.out_shape, (2, 1), (1, 0), groups)
    threshold = rng.uniform(0.5, 1.5, first.n_post) if kind == "per neuron" else 0.8
    reset = "zero" if kind == "hard reset" else "subtract"
    bias = np.tile(rng.normal(0, 0.05, 6), second.n_post // 6)
    unit = Leaky(0.9, reset=reset, reset_at="same_step") if kind == "leaky" else IF(v_threshold=threshold, reset=reset)
    readout = [Dense(rng.normal(0, 0.3, (second.n_post, 5))), IF(v_threshold=np.inf, bias=rng.normal(size=5))]
    neurons = [unit, IF(v_threshold=0.7, bias=bias, reset=reset)]
    chain = [first, neurons[0], Pooled((pool,), second), neurons[1], *readout]
    same = [written_out(first), neurons[0], written_out(chain[2]), neurons[1], *readout]
    return Sequential(chain), Sequential(same)


def inputs(kind):
    rng = np.random.default_rng(4)
    if kind == "constant":
        return Currents(2 * rng.random((N_SAMPLES, 144)))
    drawn = (rng.random((N_SAMPLES, 144, N_STEPS)) < 0.2).astype(float)
    if kind == "per step":
        return Currents(drawn * rng.normal(size=drawn.shape))
    return Spikes.from_sparse(sparse.COO(drawn), 1.0)


@pytest.mark.parametrize("dense_above", [0.0, 0.4, 9.0], ids=["products", "mixed", "events"])
@pytest.mark.parametrize("given", ["constant", "per step", "spikes"])
@pytest.mark.parametrize("kind", ["plain", "groups", "hard reset", "leaky", "per neuron", "overlap"])
def test_run_chain_equals_simulate_clocked(kind, given, dense_above, monkeypatch):
    monkeypatch.setattr(chain_chunk, "DENSE_ABOVE", dense_above)
    network, same = networks(kind)
    found = run_chain(network, inputs(given), n_steps=N_STEPS, keep=("counts", "potentials"))
    expected = simulate_clocked(same, inputs(given), n_steps=N_STEPS)
    for k, name in enumerate(("hidden1", "hidden2")):
        assert np.array_equal(found.counts[name], expected.counts(name))
        assert np.array_equal(found.n_spikes[:, k], expected.counts(name).sum(axis=1))
    assert found.n_spikes.sum() > 100  # the comparison has something to compare
    for s in range(N_SAMPLES):  # sums of tens of terms around 1, in another order
        np.testing.assert_allclose(found.outputs[s], expected.v("output", s), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["max_rate", "first_spike"])
def test_run_chain_gate_follows_its_rule(rule):
    rng = np.random.default_rng(5)
    pool = MaxPool2d((4, 6, 3), 2, rule=rule)
    first = Dense(np.eye(72))
    second = Dense(rng.normal(size=(18, 4)))
    network = Sequential([first, IF(), Pooled((pool,), second), IF(v_threshold=np.inf)])
    drawn = (rng.random((3, 72, N_STEPS)) < 0.3).astype(float)
    found = run_chain(network, Currents(2 * drawn), n_steps=N_STEPS)  # twice the threshold: spikes as drawn, and later
    fired = np.zeros_like(drawn)
    v = np.zeros((3, 72))
    for t in range(N_STEPS):
        v += 2 * drawn[:, :, t]
        fired[:, :, t] = v > 1
        v -= fired[:, :, t]
    expected = np.zeros((3, N_STEPS, 4))
    for s in range(3):
        counts, winners, total = np.zeros((4, 6, 3)), {}, np.zeros(4)
        for t in range(N_STEPS):
            now = fired[s, :, t].reshape(4, 6, 3)
            counts += now
            passed = np.zeros((2, 3, 3))
            for y, x, c in np.ndindex(passed.shape):
                own = [(2 * y + i, 2 * x + j, c) for i in (0, 1) for j in (0, 1)]
                spiking = [place for place in own if now[place]]
                if (y, x, c) not in winners and spiking:
                    winners[y, x, c] = spiking[0]
                if rule == "max_rate" and spiking:
                    best = max(own, key=lambda place: counts[place])  # the first of several
                    if counts[best] > counts[winners[y, x, c]]:
                        winners[y, x, c] = best
                passed[y, x, c] = bool(spiking) and now[winners[y, x, c]]
            total = total + passed.ravel() @ second.weight
            expected[s, t] = total
    np.testing.assert_allclose(found.outputs, expected, rtol=0, atol=1e-12)


def test_run_chain_stops_samples_and_goes_on_with_the_others():
    network, _ = networks("plain")
    whole = run_chain(network, inputs("spikes"), n_steps=N_STEPS, keep="counts")
    limit = np.median(whole.outputs[:, 3:15:4, 0].max(axis=1))  # half of them never reach it
    found = run_chain(
        network, inputs("spikes"), n_steps=N_STEPS, window=4, stop=lambda outputs: outputs[:, -1, 0] > limit
    )
    assert found.n_steps_used.max() == N_STEPS
    assert found.n_steps_used.min() < N_STEPS
    for s, used in enumerate(found.n_steps_used):
        np.testing.assert_allclose(found.outputs[s, :used], whole.outputs[s, :used], rtol=0, atol=1e-12)
        assert np.isnan(found.outputs[s, used:]).all()
        assert found.classes()[s] == whole.classes(int(used))[s]


def test_run_chain_threads_and_chunks_give_the_same_bits():
    network, _ = networks("plain")
    images = Currents(np.random.default_rng(6).random((150, 144)))
    one, two = (run_chain(network, images, n_steps=5, n_threads=n) for n in (1, 2))
    assert np.array_equal(one.outputs, two.outputs)
    some = run_chain(network, images[40:43], n_steps=5)
    np.testing.assert_allclose(some.outputs, one.outputs[40:43], rtol=0, atol=1e-12)


def test_run_chain_float32_first_pools_and_readout_convolution():
    rng = np.random.default_rng(7)
    image = (8, 8, 2)
    conv = Conv2d(rng.normal(0, 0.3, (3, 3, 2, 4)).astype(np.float32), (4, 4, 2), padding=1)
    last = Conv2d(rng.normal(0, 0.3, (4, 4, 4, 3)).astype(np.float32), conv.out_shape)
    x = rng.random((5, 128)).astype(np.float32)
    means = x.reshape(5, 4, 2, 4, 2, 2).mean(axis=(2, 4)).reshape(5, -1)
    maxima = x.reshape(5, 4, 2, 4, 2, 2).max(axis=(2, 4)).reshape(5, -1)
    for pool, pooled in ((AvgPool2d(image, 2), means), (MaxPool2d(image, 2), maxima)):
        network = Sequential([Pooled((pool,), conv), IF(), last, IF(v_threshold=np.inf)])
        found = run_chain(network, Currents(x), n_steps=4)
        expected = run_chain(Sequential([conv, IF(), last, IF(v_threshold=np.inf)]), Currents(pooled), n_steps=4)
        assert found.outputs.dtype == np.float32
        np.testing.assert_allclose(found.outputs, expected.outputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pools", ["two averages", "gate and average", "large window"])
def test_run_chain_takes_any_pools(pools):
    rng = np.random.default_rng(8)
    first = Conv2d(rng.normal(0, 0.4, (3, 3, 1, 2)), (16, 16, 1), padding=1)
    chosen = {
        "two averages": (AvgPool2d((16, 16, 2), 2), AvgPool2d((8, 8, 2), 2)),
        "gate and average": (MaxPool2d((16, 16, 2), 2), AvgPool2d((8, 8, 2), 2)),
        "large window": (AvgPool2d((16, 16, 2), 16),),
    }[pools]
    second = Conv2d(rng.normal(0, 0.5, (1, 1, 2, 3)), chosen[-1].out_shape)
    readout = [Dense(rng.normal(size=(second.n_post, 4))), IF(v_threshold=np.inf)]
    network = Sequential([first, IF(), Pooled(chosen, second), IF(v_threshold=0.1), *readout])
    images = Currents(rng.random((4, 256)))
    found = run_chain(network, images, n_steps=N_STEPS, keep="counts")
    windowed = run_chain(network, images, n_steps=N_STEPS, window=3, stop=lambda outputs: np.zeros(len(outputs), bool))
    expected = simulate_clocked(network, images, n_steps=N_STEPS)
    assert found.counts["hidden2"].sum() > 20
    for name in ("hidden1", "hidden2"):
        assert np.array_equal(found.counts[name], expected.counts(name))
    np.testing.assert_allclose(windowed.outputs, found.outputs, rtol=0, atol=1e-12)


def test_run_chain_spikes_out_of_order_and_twice_in_a_step():
    rng = np.random.default_rng(9)
    n = 3000  # many more than there are inputs in a window
    times = rng.integers(0, N_STEPS, n) + rng.uniform(-0.3, 0.3, n)
    spikes = Spikes(rng.integers(0, 2, n), rng.integers(0, 32, n), np.abs(times), n_samples=2, n_neurons=32)
    network = Sequential([Conv2d(rng.normal(0, 0.2, (3, 3, 2, 4)), (4, 4, 2), padding=1), IF(),
                          Dense(rng.normal(size=(64, 3))), IF(v_threshold=np.inf)])  # fmt: skip
    with pytest.warns(BinningWarning):
        found = run_chain(network, spikes, n_steps=N_STEPS + 1, keep="counts")
    with pytest.warns(BinningWarning):
        expected = simulate_clocked(network, spikes, n_steps=N_STEPS + 1)
    assert np.array_equal(found.counts["hidden"], expected.counts("hidden"))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Dense(np.eye(2)), IF()], "last layer must be a readout"),
        ([Dense(np.eye(2)), Leaky(0.9), Dense(np.eye(2)), IF(v_threshold=np.inf)], "same step"),
        ([Dense(np.eye(2), delay=1.0), IF(), Dense(np.eye(2)), IF(v_threshold=np.inf)], "has a delay"),
        ([Dense(np.eye(2)), IF(v_threshold=np.inf), Dense(np.eye(2)), IF(v_threshold=np.inf)], "never"),
    ],
)
def test_run_chain_refuses_what_it_does_not_know(parts, message):
    with pytest.raises(ValidationError, match=message):
        run_chain(Sequential(parts), Currents(np.ones((1, 2))), n_steps=2)


def test_run_chain_needs_a_step():
    network = Sequential([Dense(np.eye(2)), IF(), Dense(np.eye(2)), IF(v_threshold=np.inf)])
    with pytest.raises(ValidationError, match="n_steps: must be >= 1"):
        run_chain(network, Currents(np.ones((1, 2))), n_steps=0)
    assert run_chain(network, Currents(np.ones((0, 2))), n_steps=3).outputs.shape == (0, 3, 2)
