"""Worker: current LIF on a time grid, 784-128-10, in dense torch with autograd. Started by bench_surrogate_latency.py.

    python benchmarks/peer_surrogate_latency_torch.py FILE.npz

One step of a layer, x what arrives in it:

    i = exp(-dt / tau_syn) i + x;  u = exp(-dt / tau_mem) v + i;  s = 1 where u > v_threshold;  v = 0 where s, else u

Going back, ds/du is 1 where u >= v_threshold and else 0 (the derivative of a ReLU), and the reset to zero lets nothing
through. A layer sees the spikes of the one before in the same step. Loss: mean squared error of the spike counts,
targets 100 for the right class and 10 for the others; Adam, 0.01, AMSGrad.

As in the notebook, data are sparse events, every batch is made a dense (batch, steps, inputs) tensor, its product with
the weights is one matrix product over all steps, and the steps are a loop in Python. Making it dense is part of the
time. FILE.npz holds samples, neurons, steps (sorted by sample), labels, n_steps, weight0, weight1 and the decays
beta = exp(-dt / tau_mem), alpha = exp(-dt / tau_syn).
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from common_worker import peak_mib, serve

torch.set_num_threads(1)
data = np.load(sys.argv[1])
RIGHT, WRONG, V_THRESHOLD, BATCH = 100.0, 10.0, 1.0, 256
N_STEPS, N_INPUTS = int(data["n_steps"]), len(data["weight0"])
rng = np.random.default_rng(0)
BETA, ALPHA = float(data["beta"]), float(data["alpha"])
labels = torch.from_numpy(data["labels"].astype(np.int64))
N_SAMPLES = len(labels)
start_of = np.searchsorted(data["samples"], np.arange(N_SAMPLES + 1))
neurons, steps = (torch.from_numpy(data[name].astype(np.int64)) for name in ("neurons", "steps"))


class Spike(torch.autograd.Function):
    """The step function of x = u - v_threshold; its derivative is taken to be that of a ReLU."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x >= 0)


def dense(chosen, dtype=torch.float32):
    """The events of these samples as (samples, steps, inputs)."""
    lengths = torch.from_numpy(start_of[chosen + 1] - start_of[chosen])
    ends = lengths.cumsum(0)
    rows = torch.repeat_interleave(torch.arange(len(chosen)), lengths)
    events = torch.arange(int(ends[-1])) + torch.from_numpy(start_of[chosen])[rows] - (ends - lengths)[rows]
    values = torch.zeros(len(chosen), N_STEPS, N_INPUTS, dtype=dtype)
    values[rows, steps[events], neurons[events]] = 1.0
    return values


def layer(x, weight):
    """Spikes (samples, steps, neurons) for those of the layer before."""
    arriving = (x.reshape(-1, x.shape[2]) @ weight).reshape(*x.shape[:2], -1)
    v = torch.zeros_like(arriving[:, 0])
    i = torch.zeros_like(v)
    spikes = []
    for t in range(N_STEPS):
        i = ALPHA * i + arriving[:, t]
        u = BETA * v + i
        s = Spike.apply(u - V_THRESHOLD)
        v = torch.where(s > 0, 0.0, u)
        spikes.append(s)
    return torch.stack(spikes, dim=1)


def spikes_of(chosen, weights):
    """Spikes of the hidden layer and of the output."""
    hidden = layer(dense(chosen, weights[0].dtype), weights[0])
    return hidden, layer(hidden, weights[1])


def counts(chosen, weights):
    return spikes_of(chosen, weights)[1].sum(1)


def mean_squared_error(counts, labels):
    targets = torch.full_like(counts, WRONG).scatter_(1, labels[:, None], RIGHT)
    return torch.nn.functional.mse_loss(counts, targets)


def parameters(dtype=torch.float32):
    return [torch.from_numpy(data[name]).to(dtype).clone().requires_grad_() for name in ("weight0", "weight1")]


def fresh():
    """Parameters at the weights of the file, and their optimiser."""
    own = parameters()
    return own, torch.optim.Adam(own, lr=0.01, amsgrad=True)


weights, optimizer = fresh()


def update(chosen):
    optimizer.zero_grad()
    loss = mean_squared_error(counts(chosen, weights), labels[chosen])
    loss.backward()
    optimizer.step()
    return loss.item()


def train(n_samples, batch):
    order = rng.permutation(N_SAMPLES)[:n_samples]
    for k in range(0, n_samples, batch):
        update(order[k : k + batch])


def infer(n_samples, batch):
    with torch.inference_mode():
        for k in range(0, n_samples, batch):
            counts(np.arange(k, min(k + batch, n_samples)), weights).argmax(1)


def gradients(n_samples, dtype, out):
    """Loss, spikes and gradients of the first samples at the weights of the file, for comparison."""
    own = parameters(getattr(torch, dtype))
    hidden, output = spikes_of(np.arange(n_samples), own)
    loss = mean_squared_error(output.sum(1), labels[:n_samples])
    loss.backward()
    found = {f"weight{k}": weight.grad.numpy() for k, weight in enumerate(own)}
    np.savez(out, loss=loss.item(), hidden=hidden.detach().numpy() > 0, output=output.detach().numpy() > 0, **found)


def peak_of(task):
    """MiB, those of weights and optimiser included."""
    global weights, optimizer

    def all_of_it():
        global weights, optimizer
        weights, optimizer = fresh()
        task()

    weights, optimizer = None, None
    return peak_mib(all_of_it)


def work(kind, n_samples, batch=BATCH, out="", dtype="float32", measure="seconds"):
    tasks = {
        "train": lambda: train(n_samples, batch),
        "inference": lambda: infer(n_samples, batch),
        "gradients": lambda: gradients(n_samples, dtype, out),
    }
    if measure == "peak_mib":
        return peak_of(tasks[kind])
    start = time.perf_counter()
    tasks[kind]()
    return time.perf_counter() - start


serve({"torch": torch.__version__, "n_samples": N_SAMPLES}, work)
