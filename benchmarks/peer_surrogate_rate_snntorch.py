"""Worker: leaky units on a time grid, 784-1000-10, in snnTorch 1.0. Started by bench_surrogate_rate.py.

    python benchmarks/peer_surrogate_rate_snntorch.py FILE.npz

The network of snnTorch's tutorial on training: `snn.Leaky(beta=0.95)` after each `Linear` (reset by subtraction one
step later, arctan surrogate), the same image in each of 25 steps, cross-entropy of the output membrane summed over the
steps, Adam with learning rate 5e-4 and betas 0.9 and 0.999, batch 128. As there, the first product is taken anew in
each step. The work "first_losses" writes those before the first n_samples updates from torch's own initialisation.

FILE.npz holds values (samples, 784) in 0 .. 1, labels, n_steps, weight0, bias0, weight1, bias1 (weights as inputs x
outputs). In float64 the surrogate is written out here, because snnTorch's returns float32 spikes.
"""

from __future__ import annotations

import math
import sys
import time
from importlib.metadata import version

import numpy as np
import snntorch
import torch
from common_worker import peak_mib, serve

torch.set_num_threads(1)
data = np.load(sys.argv[1])
BATCH, DECAY, SLOPE = 128, 0.95, 2.0  # SLOPE: alpha of snnTorch's arctan
N_STEPS = int(data["n_steps"])
values, labels = torch.from_numpy(data["values"]), torch.from_numpy(data["labels"].astype(np.int64))
N_SAMPLES = len(labels)
cross_entropy = torch.nn.CrossEntropyLoss()


class Arctan(torch.autograd.Function):
    """snnTorch's default surrogate in the precision of its argument."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (SLOPE / 2) / (1 + (math.pi * SLOPE / 2 * x) ** 2)


class Network(torch.nn.Module):
    keeps_hidden = False

    def __init__(self, dtype=torch.float32):
        super().__init__()
        options = {} if dtype == torch.float32 else {"spike_grad": Arctan.apply}
        decay = torch.tensor(DECAY, dtype=dtype)
        self.hidden, self.output = (torch.nn.Linear(*data[name].shape, dtype=dtype) for name in ("weight0", "weight1"))
        self.leaky_hidden, self.leaky_output = (snntorch.Leaky(beta=decay, **options) for _ in range(2))

    def load(self):
        """The weights of the file instead of random ones."""
        with torch.no_grad():
            for layer, k in ((self.hidden, 0), (self.output, 1)):
                layer.weight.copy_(torch.from_numpy(data[f"weight{k}"].T))
                layer.bias.copy_(torch.from_numpy(data[f"bias{k}"]))
        return self

    def forward(self, x):
        """Spikes of the hidden layer, spikes and potentials of the output, all (steps, samples, neurons)."""
        v_hidden, v_output = self.leaky_hidden.init_leaky(), self.leaky_output.init_leaky()
        steps = []
        for _ in range(N_STEPS):
            hidden, v_hidden = self.leaky_hidden(self.hidden(x), v_hidden)
            output, v_output = self.leaky_output(self.output(hidden), v_output)
            steps.append((hidden if self.keeps_hidden else None, output, v_output))
        hidden, output, potentials = zip(*steps, strict=True)
        return torch.stack(hidden) if self.keeps_hidden else None, torch.stack(output), torch.stack(potentials)


def loss_of(potentials, labels):
    loss = torch.zeros((), dtype=potentials.dtype)
    for v in potentials:
        loss = loss + cross_entropy(v, labels)
    return loss


def adam(network):
    return torch.optim.Adam(network.parameters(), lr=5e-4, betas=(0.9, 0.999))


def update(network, optimizer, chosen):
    potentials = network(values[chosen])[2]
    loss = loss_of(potentials, labels[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def first_losses(n_updates, out):
    """Losses before the first updates of a fresh network."""
    torch.manual_seed(0)
    fresh = Network()
    optimizer = adam(fresh)
    order = torch.randperm(N_SAMPLES)
    batches = order.split(BATCH)[:n_updates]
    np.savez(out, losses=[update(fresh, optimizer, chosen) for chosen in batches])


def fresh():
    """The network at the weights of the file, and its optimiser."""
    own = Network().load()
    return own, adam(own)


network, optimizer = fresh()


def train(n_samples, batch):
    for chosen in torch.randperm(N_SAMPLES)[:n_samples].split(batch):
        update(network, optimizer, chosen)


def infer(n_samples, batch):
    with torch.inference_mode():
        for chosen in torch.arange(n_samples).split(batch):
            network(values[chosen])[1].sum(0).argmax(1)


def gradients(n_samples, dtype, out):
    """Loss, spikes and gradients of the first samples at the weights of the file, for comparison."""
    own = Network(getattr(torch, dtype)).load()
    own.keeps_hidden = True
    hidden, output, potentials = own(values[:n_samples].to(getattr(torch, dtype)))
    loss = loss_of(potentials, labels[:n_samples])
    loss.backward()
    found = {name: spikes.detach().numpy().swapaxes(0, 1) > 0 for name, spikes in
             (("hidden", hidden), ("output", output))}  # fmt: skip
    for k, layer in enumerate((own.hidden, own.output)):
        found |= {f"weight{k}": layer.weight.grad.numpy().T, f"bias{k}": layer.bias.grad.numpy()}
    np.savez(out, loss=loss.item(), **found)


def peak_of(task):
    """MiB, those of weights and optimiser included."""
    global network, optimizer

    def all_of_it():
        global network, optimizer
        network, optimizer = fresh()
        task()

    network, optimizer = None, None
    return peak_mib(all_of_it)


def work(kind, n_samples, batch=BATCH, out="", dtype="float32", measure="seconds"):
    tasks = {
        "train": lambda: train(n_samples, batch),
        "inference": lambda: infer(n_samples, batch),
        "gradients": lambda: gradients(n_samples, dtype, out),
        "first_losses": lambda: first_losses(n_samples, out),
    }
    if measure == "peak_mib":
        return peak_of(tasks[kind])
    start = time.perf_counter()
    tasks[kind]()
    return time.perf_counter() - start


serve({"torch": torch.__version__, "snntorch": version("snntorch"), "n_samples": N_SAMPLES}, work)
