"""Runs on a time grid: built as the configuration says, continued with the same bits, tested and pictured."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest

from eventsnn import CurrentLIF, Leaky, Network, Sequential
from eventsnn.currents import Currents
from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.run import continue_run, evaluate, inference, train
from eventsnn.simulation.grid_inputs import BinningWarning
from tests.experiments.helpers import assert_same_bits, metrics_of, small_grid_config

QUIET = {"progress": False, "plots": False}
READOUT = {"network__output": "readout", "network__decode": "membrane"}
latency = partial(small_grid_config, "mnist_latency_surrogate")
rate = partial(small_grid_config, "mnist_rate_surrogate")


# -- what is built ------------------------------------------------------------------------------------------------


def test_build_dataset_of_latency_puts_bright_pixels_first():
    data = build_dataset(latency(network__n_steps=100, network__dt=2.0))
    values = data.train.values.astype(np.float64)
    expected = np.where(values >= 0.25, np.rint((1.0 - values) * 100) * 2.0, np.inf)
    np.testing.assert_array_equal(data.train.spikes.first_times(), expected)


def test_build_dataset_of_currents_holds_the_pixels():
    data = build_dataset(rate())
    assert isinstance(data.train.spikes, Currents)
    np.testing.assert_array_equal(data.test.spikes.values, data.test.values)


def test_build_network_draws_weights_and_biases_as_torch_does():
    network = build_network(rate(network__hidden=[400], training__dtype="float64"), 784, 10)
    assert isinstance(network, Sequential)
    for layer, n_pre in zip(network.layers, (784, 400), strict=True):
        bound = n_pre**-0.5
        for drawn in (layer.connection.weight, layer.neuron.bias):
            assert np.abs(drawn).max() < bound
            # the mean of n uniform draws has a standard error of bound / sqrt(3 n); five of them
            assert abs(drawn.mean()) < 5 * bound / np.sqrt(3 * drawn.size)
        assert np.abs(layer.connection.weight).max() > 0.99 * bound
        assert layer.neuron.bias.shape == (layer.n_neurons,)
        assert isinstance(layer.neuron, Leaky)
        assert (layer.neuron.beta, layer.neuron.reset, layer.neuron.reset_at) == (0.95, "subtract", "next_step")


def test_build_network_takes_the_initialisation_of_each_layer():
    inits = [
        {"name": "uniform", "low": 1.0, "high": 2.0},
        {"name": "normal", "mean": 3.0, "std": 0.0, "scale": "fan_in"},
    ]
    hidden, output = build_network(latency(network__weight_init=inits), 784, 10).weights
    assert ((hidden >= 1.0) & (hidden < 2.0)).all()
    assert (output == np.float32(3.0 / 12)).all()


def test_build_network_gives_what_is_learned_to_every_unit():
    network = build_network(latency(training__learn={"tau_mem": 0.5, "v_threshold": 0.1}), 784, 10)
    neuron = network.layers[0].neuron
    assert isinstance(neuron, CurrentLIF)
    assert neuron.tau_mem.tolist() == [20e-3] * 12
    assert neuron.v_threshold.tolist() == [1.0] * 12
    assert neuron.tau_syn == 5e-3


def test_build_network_of_a_readout_never_fires():
    config = latency(**READOUT, training__loss={"name": "max_voltage"}, training__learn={"v_threshold": 1.0})
    network = build_network(config, 784, 10)
    assert [layer.can_spike for layer in network.layers] == [True, False]


def test_build_network_with_loops():
    network = build_network(latency(network__recurrent={"name": "normal", "mean": 0, "std": 1}), 784, 10)
    assert isinstance(network, Network)
    assert network.projection_names == ("input->hidden", "hidden->output", "hidden->hidden")


def test_build_trainer_takes_clock_and_rates():
    config = rate(
        training__learn={"weights": 0.5, "beta": 0.25},
        training__truncate=3,
        training__surrogate={"name": "boxcar", "width": 0.5},
    )
    trainer = build_trainer(config, build_network(config, 784, 10))
    clock = trainer.clock
    assert (clock.n_steps, clock.dt, clock.detach_reset, clock.truncate, clock.decode) == (6, 1.0, True, 3, "rate")
    assert (clock.surrogate.name, clock.surrogate.width) == ("boxcar", 0.5)
    assert set(trainer.state_dict()["weights"]) == {
        f"{layer}.{kind}" for layer in ("hidden", "output") for kind in ("weight", "bias", "beta")
    }


# -- runs ---------------------------------------------------------------------------------------------------------

ALL_LEARNED = {"weights": 1.0, "alpha": 0.1, "beta": 0.1, "v_threshold": 0.1}
SYNAPTIC = {"name": "synaptic", "alpha": 0.5, "beta": 0.9, "reset": "zero"}


@pytest.mark.parametrize(
    "config",
    [
        latency(),
        latency(
            training__input_dropout=0.2,
            training__image_shift=1,
            training__schedule={"name": "cosine"},
            network__decode="latency",
        ),
        latency(network__neuron=SYNAPTIC, training__learn=ALL_LEARNED, network__bias=True),
        latency(training__learn={"tau_mem": 1.0, "tau_syn": 1.0}, training__truncate=4, training__detach_reset=False),
        latency(
            network__recurrent={"name": "torch_linear"},
            training__loss={"name": "spike_count_cross_entropy"},
            training__regularizers=[{"name": "spike_rate_l1", "strength": 0.1}],
            training__dtype="float64",
        ),
        latency(**READOUT, training__loss={"name": "max_voltage"}, training__surrogate={"name": "triangular"}),
        latency(**READOUT, training__loss={"name": "mean_voltage", "scale": 4.0}, network__hidden=[6, 5]),
        rate(),
        rate(training__loss={"name": "spike_rate_cross_entropy"}, network__neuron={"name": "if"}),
        rate(network__hidden=[], training__optimizer={"name": "sgd", "momentum": 0.5}),
    ],
    ids=lambda config: config.name,
)
def test_continue_run_gives_the_same_bits(config, tmp_path):
    whole = train(config, tmp_path, **QUIET).path
    again = shutil.copytree(whole, tmp_path / "again")
    continue_run(again, 1, threads=2, **QUIET)
    assert_same_bits(whole, again)
    first, last = (metrics_of(whole)["epochs"][k]["train_loss"] for k in (0, -1))
    assert first != last


def test_train_learns(tmp_path):
    """64 images by heart: 20 epochs bring the loss below a third."""
    config = rate(dataset__n_train=64, dataset__n_valid=0, training__learning_rate=0.02)
    history = train(config, tmp_path, epochs=20, **QUIET).history
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 3
    assert history[-1]["train_accuracy"] > 0.9


@pytest.mark.parametrize("config", [latency(), rate(**READOUT)], ids=["silent outputs are counted", "readout"])
def test_inference_gives_the_result_of_training(config, tmp_path, capsys):
    path = train(config, tmp_path, **QUIET).path
    result, metrics = inference(path), metrics_of(path)
    assert (result.test_accuracy, result.test_loss) == (metrics["test_accuracy"], metrics["test_loss"])
    assert ("without an output spike" in capsys.readouterr().out) == (config.network.decode == "rate")


PICTURES = {
    "curve", "confusion_matrix", "weight_histograms", "weight_matrices", "receptive_fields", "raster", "traces",
    "parameters", "summary",
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [latency(), rate(), rate(**READOUT), latency(network__recurrent={"name": "torch_linear"})],
    ids=["spikes", "currents", "readout", "recurrent"],
)
def test_evaluate_draws_every_picture(config, tmp_path):
    path = train(config, tmp_path, epochs=1, **QUIET).path
    expected = PICTURES - ({"receptive_fields"} if config.network.recurrent else set())  # those are for chains
    assert {picture.stem for picture in evaluate(path, progress=False)} == expected


def test_train_takes_other_data_sets_and_says_that_times_move(tmp_path):
    dataset = {"name": "yin_yang", "n_train": 40, "n_valid": 10, "n_test": 10}
    with pytest.warns(BinningWarning, match=r"are no multiple of dt=0.001"):
        result = train(latency(dataset=dataset), tmp_path, epochs=1, **QUIET)
    assert result.epoch == 1
