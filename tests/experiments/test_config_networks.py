"""What a configuration of a network with loops, delays and learned time constants may not say."""

from __future__ import annotations

import pytest

from eventsnn.errors import ConfigError
from eventsnn.experiments.config import load_config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.dtype": "float32"}, "training.dtype must be float64 where network.recurrent is given"),
        ({"network.t_max": None}, "network.recurrent needs network.t_max"),
        ({"network.recurrent": None}, "training.learn.delays needs connections with delays"),
        ({"training.learn": {"delay": 1.0}}, "training.learn.delay: unknown key; did you mean 'delays'"),
        ({"network.recurrent.delay": [0.02, 0.0]}, "the first .0.02. must not be more than the second .0.0."),
        ({"training.loss": {"name": "voltage_at", "times": [0.2]}}, "must rise and not exceed network.t_max"),
        ({"training.loss": {"name": "voltage_at", "times": [0.1, 0.05]}}, "must rise and not exceed network.t_max"),
        ({"training.silent": {"name": "bumping"}}, "training.silent bumping is not for networks where"),
        ({"dataset.n_symbols": 1}, "dataset.n_symbols: must be >= 2, got 1"),
    ],
)
def test_load_config_refuses_what_does_not_fit_together(change, message):
    with pytest.raises(ConfigError, match=message):
        load_config("delayed_match", change)
