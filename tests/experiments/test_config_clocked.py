"""Configurations of clock-driven networks: what they say, and what they may not."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn.currents import Currents
from eventsnn.datasets.base import Split
from eventsnn.errors import ConfigError
from eventsnn.experiments.build_clocked import build_clock, build_network, build_trainer
from eventsnn.experiments.config import dump_config, load_config
from eventsnn.experiments.schema import ClockedConfig, EventDrivenConfig

LATENCY, RATE = "mnist_latency_surrogate", "mnist_rate_surrogate"
READOUT = {"network.output": "readout", "network.decode": "membrane"}
EPROP = READOUT | {"training.method": "eprop", "training.loss": {"name": "membrane_cross_entropy"}}


def test_engine_chooses_the_kind_of_experiment():
    assert isinstance(load_config(LATENCY), ClockedConfig)
    assert isinstance(load_config("xor"), EventDrivenConfig)
    assert isinstance(load_config("xor", {"network.engine": "event_driven"}), EventDrivenConfig)
    assert "engine: clocked" in dump_config(load_config(RATE))


@pytest.mark.parametrize("name", [LATENCY, RATE])
def test_configurations_of_the_notebooks_keep_their_settings(name):
    """Figures from issue and notebooks: a change here is another experiment."""
    config = load_config(name)
    network, training = config.network, config.training
    found = (network.n_steps, network.hidden, training.epochs, training.batch_size, training.learning_rate)
    expected = {LATENCY: (100, (128,), 20, 256, 0.01), RATE: (25, (1000,), 1, 128, 5e-4)}
    assert found == expected[name]
    assert (config.dataset.split, config.dataset.n_valid) == ("shuffled" if name == LATENCY else "published", 0)
    assert network.bias == (name == RATE)


@pytest.mark.parametrize(
    "values",
    [
        {
            "network.neuron": {"name": "synaptic", "alpha": 0.8, "beta": 0.9},
            "training.learn": {"alpha": 1, "beta": 0.1},
        },
        {"network.neuron": {"name": "if", "reset": "zero"}, "training.learn": {"v_threshold": 1.0}},
        {"network.recurrent": {"name": "uniform", "low": -0.1, "high": 0.1}, "training.truncate": 10},
        READOUT | {"training.loss": {"name": "max_voltage", "scale": 2.0}},
        READOUT | {"training.loss": {"name": "membrane_cross_entropy"}, "network.hidden": []},
        READOUT | {"training.loss": {"name": "membrane_cross_entropy"}, "training.method": "eprop"},
        {"training.loss": {"name": "spike_count_cross_entropy", "scale": 0.1}},
        {"training.loss": {"name": "spike_rate_cross_entropy"}, "network.decode": "latency"},
        {
            "training.regularizers": [
                {"name": "spike_rate_l1", "strength": 0.1},
                {"name": "spike_rate_l2", "strength": 1},
            ]
        },
        {"training.surrogate": {"name": "multi_gaussian", "depth": 0.0}},
        {"network.weight_init": [{"name": "torch_linear"}, {"name": "normal", "mean": 0, "std": 1, "scale": "fan_in"}]},
        {"dataset": {"name": "yin_yang"}},
    ],
)
def test_load_config_reads_every_option(tmp_path, values):
    config = load_config(LATENCY, values)
    path = tmp_path / "again.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            LATENCY,
            {"network.engine": "clokced"},
            "network.engine: must be one of event_driven, first_spike, clocked, got 'clokced'; did",
        ),
        (LATENCY, {"network.engine": ["clocked"]}, "network.engine: must be one of"),
        (LATENCY, {"network.engine": "event_driven"}, "network.n_steps: unknown key"),
        ("xor", {"network.n_steps": 5}, "network.n_steps: unknown key"),
        (LATENCY, {"training.silent": {"name": "hinge"}}, "training.silent: unknown key"),
        (LATENCY, {"network.neuron.name": "lif"}, "network.neuron: its name must be one of current_lif, leaky"),
        (LATENCY, {"network.neuron.beta": 0.9}, "network.neuron.beta: unknown key"),
        (LATENCY, {"network.neuron.tau_syn": 0}, "network.neuron.tau_syn: must be > 0"),
        (RATE, {"network.neuron.beta": -0.1}, "network.neuron.beta: must be >= 0"),
        (RATE, {"network.neuron.beta": 1.1}, "network.neuron.beta: must be <= 1"),
        (
            RATE,
            {"network.neuron.reset": "soft"},
            "network.neuron.reset: must be one of zero, subtract, none, got 'soft'",
        ),
        (RATE, {"network.n_steps": 0}, "network.n_steps: must be >= 1"),
        (RATE, {"network.dt": 0.0}, "network.dt: must be > 0"),
        (RATE, {"training.truncate": 0}, "training.truncate: must be >= 1"),
        (RATE, {"training.surrogate.slope": 2}, "training.surrogate.slope: unknown key"),
        (RATE, {"training.surrogate": {"name": "atan"}}, "training.surrogate: its name must be one of"),
        (RATE, {"network.weight_init": {"mean": 0}}, "network.weight_init: its key 'name' is missing"),
        (RATE, {"network.weight_init": [{"name": "torch_linear"}]}, "weight_init has 1 entries for 2 layers"),
        (
            RATE,
            {"network.weight_init": {"name": "uniform", "low": 1, "high": 0}},
            "low .1.0. must not be more than high",
        ),
        (LATENCY, {"network.neuron.decay": "euler", "network.dt": 6e-3}, "neuron.decay euler needs dt .0.006. up to"),
        (LATENCY, {"network.output": "readout"}, "decode rate needs output spikes, but output is readout"),
        (LATENCY, READOUT, "training.loss is 'spike_count_mse', but network.output is 'readout'"),
        (
            LATENCY,
            {"training.loss.correct": 101},
            r"training.loss.correct \(101\) must not be more than network.n_steps",
        ),
        (LATENCY, {"training.loss.wrong": 100}, "training.loss: correct .100.0. must be more than wrong"),
        (
            LATENCY,
            {"training.learn": {"beta": 1}},
            "training.learn.beta is given, but network.neuron current_lif has none",
        ),
        (
            RATE,
            {"training.learn": {"tau_mem": 1}},
            "training.learn.tau_mem is given, but network.neuron leaky has none",
        ),
        (RATE, {"training.learn": {"weights": 0}}, "training.learn leaves nothing to learn"),
        (RATE, {"training.input_dropout": 0.1}, "training.input_dropout leaves out input spikes"),
        (
            RATE,
            {"training.image_shift": 1},
            "training.image_shift moves images of spikes, but dataset.encoding is curr",
        ),
        (LATENCY, {"training.image_shift": 16}, "training.image_shift: must be <= 15"),
        ("yin_yang", {"training.image_shift": 1}, "but dataset yin_yang has no images"),
        (RATE, {"network.hidden": [], "network.recurrent": {"name": "torch_linear"}}, "recurrent needs hidden layers"),
        (
            RATE,
            {"network.hidden": [], "training.regularizers": [{"name": "spike_rate_l1", "strength": 1}]},
            "training.regularizers act on hidden units",
        ),
        (
            LATENCY,
            READOUT | {"network.hidden": [], "training.loss": {"name": "max_voltage"}, "training.learn.v_threshold": 1},
            "no unit of the network has a threshold",
        ),
        (LATENCY, {"training.method": "eprop"}, "method eprop needs one hidden layer and network.output readout"),
        (RATE, EPROP | {"network.hidden": [9, 9]}, "method eprop needs one hidden layer"),
        (RATE, EPROP | {"training.truncate": 5}, "training.truncate must be null with method eprop"),
        (RATE, EPROP | {"training.learn.beta": 1.0}, "method eprop has gradients of the weights only"),
        (RATE, {"dataset": {"name": "yin_yang"}}, "dataset yin_yang gives its times in units of tau_syn"),
        (RATE, {"dataset.encoding": {"name": "spikes"}}, "dataset.encoding: its name must be one of latency, currents"),
        (RATE, {"dataset.encoding.threshold": 0.5}, "dataset.encoding.threshold: unknown key"),
        (RATE, {"dataset.t_early": 0.5}, "dataset.t_early: unknown key"),
        (RATE, {"dataset.test_fraction": 0.5}, "dataset: test_fraction .0.5. needs split: shuffled"),
        (LATENCY, {"dataset.test_fraction": 1.0}, "dataset.test_fraction: must be < 1"),
        ("mnist", {"dataset.test_fraction": 0.5}, "dataset: test_fraction .0.5. needs split: shuffled"),
    ],
)
def test_load_config_refuses_what_does_not_fit_together(name, change, message):
    with pytest.raises(ConfigError, match=message):
        load_config(name, change)


def test_build_trainer_by_eprop():
    config = load_config(RATE, EPROP | {"network.hidden": [6], "network.recurrent": {"name": "torch_linear"}})
    trainer = build_trainer(config, build_network(config, 5, 3))
    spikes = Currents(np.random.default_rng(0).uniform(0.0, 1.0, (8, 5)))
    before = {name: array.copy() for name, array in trainer.network.parameters().items()}
    trainer.fit(Split(spikes, np.arange(8) % 3), None, 1, progress=False)
    assert all((array != before[name]).any() for name, array in trainer.network.parameters().items())
    assert build_clock(config).method == "eprop"
