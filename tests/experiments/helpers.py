"""Small runs, and comparing them bit by bit."""

import json

import numpy as np

from eventsnn.experiments.config import load_config
from eventsnn.training.checkpoint import list_savepoints, read_savepoint

TIMINGS = ("seconds", "samples_per_second")


def small_config(**overrides):
    """XOR with 40 samples: an epoch takes milliseconds."""
    values = {"dataset.n_train": 40, "dataset.n_valid": 20, "dataset.n_test": 20, "training.epochs": 4}
    values |= {"network.hidden": [8], "training.threads": 1, "training.savepoint_every": 1}
    return load_config("xor", values | {key.replace("__", "."): value for key, value in overrides.items()})


GRID_SIZES = {
    "dataset.n_train": 48, "dataset.n_valid": 16, "dataset.n_test": 32, "network.hidden": [12],
    "training.batch_size": 20, "training.epochs": 3, "training.threads": 1, "training.savepoint_every": 1,
}  # fmt: skip
GRID_OPTIONS = {
    "mnist_latency_surrogate": {
        "network.n_steps": 12,
        "network.weight_init": {"name": "normal", "mean": 0.0, "std": 0.4},  # so that some units fire so early
        "training.loss": {"name": "spike_count_mse", "correct": 8, "wrong": 1},
    },
    "mnist_rate_surrogate": {"network.n_steps": 6},
}


def small_grid_config(name, **overrides):
    """A built-in configuration of a clock-driven network with 48 samples, 12 hidden units and few steps."""
    values = GRID_SIZES | GRID_OPTIONS[name] | {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(name, values)


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def without_timings(history):
    return [{key: value for key, value in entry.items() if key not in TIMINGS} for entry in history]


def bits(value):
    """A nested state as comparable bytes, timings left out."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items() if key not in TIMINGS}
    if isinstance(value, list):
        return [bits(item) for item in value]
    return repr(value)


def assert_same_bits(run_a, run_b, epochs=None):
    """The savepoints of these epochs (default: all of both) and the metrics agree in every bit but the timings."""
    if epochs is None:
        epochs = list_savepoints(run_a / "savepoints")
        assert epochs == list_savepoints(run_b / "savepoints")
    assert epochs
    for epoch in epochs:
        one, other = (read_savepoint(run / "savepoints" / f"epoch_{epoch}") for run in (run_a, run_b))
        assert bits(one) == bits(other), epoch
    one, other = metrics_of(run_a), metrics_of(run_b)
    assert without_timings(one.pop("epochs")) == without_timings(other.pop("epochs"))
    assert one == other
