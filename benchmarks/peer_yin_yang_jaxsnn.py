"""Worker: jaxsnn's event-based Yin-Yang network, 5-120-3, as in its examples. Started by bench_yin_yang.py.

As `jaxsnn.examples.event.yinyang_layered_event_prop` (method "eventprop") and `yinyang_analytical` ("analytical"), with
their own parameters but 120 hidden neurons: encoding with 5 (1) copies of each input spike, room for 145 (50)
hidden events, batch 64, Adam. As there, an epoch is one compiled scan over batches. The worker keeps to one core.
"""

from __future__ import annotations

import os
import sys
import time

method = sys.argv[1]
if hasattr(os, "sched_setaffinity"):  # before jax starts its threads
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
os.environ["JAX_PLATFORMS"] = "cpu"

from functools import partial
from importlib.metadata import version

import jax
import jax.numpy as jnp
import optax
from common_worker import serve
from jaxsnn.base.dataset import data_loader, yinyang_dataset
from jaxsnn.event.encode import encode, spatio_temporal_encode, target_temporal_encode
from jaxsnn.event.loss import mse_loss
from jaxsnn.event.modules import LIF, LIFParameters, Linear, Source
from jaxsnn.event.topology import Topology
from jaxsnn.event.training import update
from jaxsnn.event.types import OptState
from jaxsnn.examples.event.utils import loss_wrapper

N_HIDDEN, BATCH, N_SAMPLES = 120, 64, 1280
if method == "eventprop":
    tau_syn, right, wrong, copies, mean, std = 6e-6, 0.8, 1.2, 5, 3.0 / 5, 1.6 / 5
    n_hidden_events, n_output_events = N_HIDDEN + 25, N_HIDDEN + 3
    topology = {"backprop_method": "eventprop"}
else:
    tau_syn, right, wrong, copies, mean, std = 5e-3, 0.9, 1.1, 1, 3.0, 1.6
    n_hidden_events, n_output_events = 50, 53
    topology = {}
neuron = LIFParameters(v_reset=-1000.0, v_th=1.0, tau_syn=tau_syn, tau_mem=2 * tau_syn)

rng_weights, rng_data, rng = jax.random.split(jax.random.PRNGKey(0), 3)
encode_input = partial(spatio_temporal_encode, t_late=2 * tau_syn, duplication=copies, duplicate_neurons=False)
encode_target = partial(
    target_temporal_encode, n_classes=3, correct_target_time=right * tau_syn, wrong_target_time=wrong * tau_syn
)
samples = yinyang_dataset(rng_data, N_SAMPLES, mirror=True, bias_spike=0.0)
encoded = encode(samples, jax.jit(jax.vmap(encode_input)), jax.jit(jax.vmap(encode_target)))
dataset = ({"inp": encoded[0]}, encoded[1])

builder = Topology(t_max=4 * tau_syn, **topology)
builder.add({
    "inp": Source(5),
    "lif1": LIF(N_HIDDEN, n_hidden_events, neuron),
    "lif2": LIF(3, n_output_events, neuron),
    "syn1": Linear(mean=mean, std=std, min_delay=0.0),
    "syn2": Linear(mean=0.5, std=0.8, min_delay=0.0),
})  # fmt: skip
builder.connect([("inp", "syn1"), ("syn1", "lif1"), ("lif1", "syn2"), ("syn2", "lif2")])
start, apply = builder.done()
weights = start(rng_weights)
optimizer = optax.chain(optax.scale(1.0 / tau_syn), optax.clip(0.01), optax.adam(0.005))
loss = partial(loss_wrapper, apply, mse_loss, 2 * tau_syn, "lif2", 3)
state = OptState(optimizer.init(weights), weights, rng)


@jax.jit
def train(state, batches):
    def step(state, batch):
        state, (value, _) = update(optimizer, loss, state, batch)
        return state, value[0]

    return jax.lax.scan(step, state, batches)


@jax.jit
def infer(weights, batches):
    return jax.lax.map(lambda batch: loss(weights, batch)[1][0], batches)


def work(kind: str) -> float:
    """One epoch of N_SAMPLES samples."""
    global state
    rng, order = jax.random.split(state.rng)
    batches = data_loader(dataset, BATCH, rng=order)
    jax.block_until_ready(batches)
    begin = time.perf_counter()
    if kind == "train":
        state, losses = jax.block_until_ready(train(state, batches))
    else:
        jax.block_until_ready(infer(state.params, batches))
    seconds = time.perf_counter() - begin
    state = OptState(state.opt_state, state.params, rng)
    if kind == "train":
        assert bool(jnp.isfinite(losses).all())
    return seconds


serve({"jaxsnn": version("jaxsnn"), "jax": jax.__version__, "method": method, "n_samples": N_SAMPLES}, work)
