"""Parameters of a network by name: read, replaced, refused."""

from __future__ import annotations

import numpy as np
import pytest

from eventsnn import LIF, Dense, Network, Population, Projection, Sparse, ValidationError


def network():
    cell = LIF(tau_mem=20e-3, tau_syn={"fast": 5e-3, "slow": 10e-3}, v_threshold=[1.0, 1.5])
    return Network(
        {"input": 3},
        {"cells": Population(cell, 2)},
        [
            Projection("input", "cells", Dense(np.ones((3, 2)), delay=1e-3), "fast"),
            Projection("cells", "cells", Sparse(np.eye(2), delay=[1e-3, 2e-3]), "slow"),
        ],
    )


NEW = {
    "input->cells.weight": np.full((3, 2), 2.0),
    "input->cells.delay": np.asarray(3e-3),
    "cells->cells.weight": np.array([4.0, 5.0]),
    "cells->cells.delay": np.array([0.0, 6e-3]),
    "cells.tau_mem": np.asarray(30e-3),
    "cells.tau_syn[slow]": np.asarray(12e-3),
    "cells.v_threshold": np.array([2.0, 3.0]),
}


@pytest.mark.parametrize("name", NEW)
def test_with_parameters_replaces_one_and_leaves_the_others(name):
    before = network()
    after = before.with_parameters({name: NEW[name]})
    np.testing.assert_array_equal(after.parameter(name), NEW[name])
    for other in before.parameter_names:
        if other != name:
            np.testing.assert_array_equal(after.parameter(other), before.parameter(other))
    np.testing.assert_array_equal(before.parameter(name), network().parameter(name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cells.tau": 1.0}, "Network.with_parameters: no parameter 'cells.tau'; did you mean 'cells.tau_mem'"),
        ({"cells.tau_mem": [1.0, 2.0]}, r"cells.tau_mem must have shape \(\), got \(2,\)"),
        ({"cells.tau_mem": -1.0}, "LIF.tau_mem: must be > 0"),
        ({"cells->cells.delay": [-1.0, 0.0]}, "cells->cells.delay must be finite and >= 0"),
        ({"input->cells.weight": np.full((3, 2), np.nan)}, "input->cells.weight must be finite"),
    ],
)
def test_with_parameters_refuses_bad_values(values, message):
    with pytest.raises(ValidationError, match=message):
        network().with_parameters(values)


def test_parameter_refuses_unknown_names():
    with pytest.raises(ValidationError, match="Network.parameter: no parameter 'cells.weight'"):
        network().parameter("cells.weight")
