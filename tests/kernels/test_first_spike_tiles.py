"""First spikes and their gradients in registers: compiled against the plain twins, where references move and times tie.

What they compute is compared with high precision elsewhere (tests/reference, tests/gradients).
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.scripts import result_of

# float64 takes 32 neurons at once, then 8, then what is left; float32 twice as many
SCRIPT = """
import json, sys
import numpy as np
from eventsnn.kernels.constants import InputEvents
from eventsnn.kernels.layer_backward import layer_backward
from eventsnn import LIF, Dense, Sequential
from eventsnn.simulation.layers import LayerRunner

dtype, n, ratio, strength, max_norm = sys.argv[1], int(sys.argv[2]), *(float(x) for x in sys.argv[3:])
rng = np.random.default_rng(n)
weight = (strength * rng.normal(0.1, 0.5, (9, n))).astype(dtype)
network = Sequential([Dense(weight), LIF(tau_mem=ratio, tau_syn=1.0, max_spikes=1)])
lengths = [60, 0, 1, 35]
times = [np.sort(np.round(rng.uniform(0.0, 70.0, k), 1)) for k in lengths]  # some of them at one time
times[3] = np.sort(np.round(rng.uniform(0.0, 2.0, 35), 2))
events = InputEvents(
    np.concatenate(([0], np.cumsum(lengths))), rng.integers(0, 9, sum(lengths)), np.concatenate(times)
)
runner = LayerRunner(network.layers[0], weight, np.inf)
out = runner.forward(events)
record = runner.record
height = np.where(np.isfinite(record.time), rng.normal(size=record.time.shape), 0.0)
found = {"spikes": [out.offsets.tolist(), out.neurons[: out.offsets[-1]].tolist()],
         "times": out.times[: out.offsets[-1]].tolist(), "causal": record.causal_end[height != 0].tolist()}
for name, size in (("without", 0), ("with", sum(lengths))):
    d_weight, d_times = np.ones_like(weight), np.full(size, np.nan)
    clipped = layer_backward(
        runner.constants, weight, events, runner._factors, record, height, max_norm, np.empty((4, n), dtype), d_weight,
        d_times,
    )
    found[name] = [d_weight.astype(float).tolist(), d_times.tolist(), int(clipped)]
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("dtype", "n", "ratio", "strength", "max_norm"),
    [
        ("float64", 5, 2.0, 1.0, np.inf),
        ("float64", 45, 1.0, 2.0, 0.5),
        ("float32", 101, 2.0, 1.0, np.inf),
        ("float32", 64, 3.3, 4.0, 0.5),
    ],
)
def test_compiled_equals_plain(dtype, n, ratio, strength, max_norm):
    arguments = (dtype, n, ratio, strength, max_norm)
    own, plain = result_of(SCRIPT, *arguments), result_of(SCRIPT, *arguments, NUMBA_DISABLE_JIT="1")
    tolerance = {"rtol": 0, "atol": 1e-4 if dtype == "float32" else 1e-11}
    assert 0 < len(own["times"]) < 4 * n
    assert own["spikes"][0] == plain["spikes"][0]
    assert own["causal"] == plain["causal"]
    np.testing.assert_allclose(own["times"], plain["times"], **tolerance)
    for kind in ("without", "with"):
        for found, expected in zip(own[kind][:2], plain[kind][:2], strict=True):
            scale = max(1.0, np.abs(expected).max()) if expected else 1.0
            np.testing.assert_allclose(np.array(found) / scale, np.array(expected) / scale, **tolerance)
        assert own[kind][2] == plain[kind][2]
    assert own["without"][0] == own["with"][0]
    if max_norm < np.inf:
        assert own["with"][2] > 0
