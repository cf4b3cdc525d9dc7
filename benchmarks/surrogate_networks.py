"""What the benchmarks of clock-driven networks share: two networks on MNIST, the comparison with a peer, memory.

Everything goes through one .npz, which the peer reads too: the input as events (latency) or pixels (rate), labels,
weights. Spikes and gradients are compared on the same samples at the same weights; speed in turns, in one run; peak
memory in a fresh process for each figure, because what was used before would hide it.

As a program this file is the worker that measures our own memory: `surrogate_networks.py latency|rate FILE.npz`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from common import Peer, arguments, finish, medians, print_machine, print_table, significant
from common_worker import peak_mib, serve

from eventsnn import (
    Adam,
    Arctan,
    Clock,
    CurrentLIF,
    Currents,
    Dense,
    Leaky,
    MembraneCrossEntropy,
    ReLUDerivative,
    Sequential,
    SpikeCountMSE,
    Spikes,
    Trainer,
    loss_and_grad,
    simulate_clocked,
)
from eventsnn.datasets import load_mnist

#: samples in the file for the peer; of one measurement, ours and the peer's; of the comparison of gradients
N_FILE, N_OWN, N_PEER, N_GRADIENTS = 4096, 5120, 512, 64
#: a peer's peak differs by a factor of two from process to process
N_PROCESSES = 5


class Experiment(ABC):
    """One network and its data; `arrays` is what the file holds."""

    peer: str
    batch: int
    clock: Clock
    loss: object
    optimizer: Adam
    parameters: tuple[str, ...]  # names in the file, in the order of Trainer's

    @abstractmethod
    def arrays(self, n_samples: int, rng: np.random.Generator) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def network(self, arrays, dtype) -> Sequential: ...

    @abstractmethod
    def inputs(self, arrays, n_samples: int) -> Spikes | Currents: ...

    def trainer(self, arrays, *, batch: int | None = None, threads: int = 1) -> Trainer:
        return Trainer(
            self.network(arrays, np.float32), self.loss, self.optimizer, seed=0, clock=self.clock,
            batch_size=batch or self.batch, n_threads=threads,
        )  # fmt: skip

    def split(self, arrays, n_samples: int) -> SimpleNamespace:
        return SimpleNamespace(spikes=self.inputs(arrays, n_samples), labels=arrays["labels"][:n_samples])

    def head(self, arrays, n_samples: int) -> dict[str, np.ndarray]:
        """The arrays of the first samples."""
        n = int(np.searchsorted(arrays["samples"], n_samples)) if "samples" in arrays else n_samples
        own = {"labels": n_samples} | dict.fromkeys(("samples", "neurons", "steps", "values"), n)
        return {name: value[: own[name]] if name in own else value for name, value in arrays.items()}

    def trained(self, arrays, trainer: Trainer) -> dict[str, np.ndarray]:
        """The arrays with the present parameters of a trainer."""
        found = dict(arrays)
        for k, layer in enumerate(trainer.network.layers):
            found[f"weight{k}"] = np.array(trainer.network.weights[k], np.float32)
            if f"bias{k}" in found:
                found[f"bias{k}"] = np.array(layer.neuron.bias, np.float32)
        return found

    def gradients(self, arrays, dtype):
        """Loss, spikes and gradients of the first samples, under the names of the file."""
        network, inputs = self.network(arrays, dtype), self.inputs(arrays, N_GRADIENTS)
        loss, found = loss_and_grad(
            network, inputs, arrays["labels"][:N_GRADIENTS], self.loss, method="surrogate", clock=self.clock
        )
        result = simulate_clocked(network, inputs, dt=self.clock.dt, n_steps=self.clock.n_steps)
        own = {name: dense(result.spikes[name], self.clock) for name in ("hidden", "output")}
        for name in self.parameters:
            layer, kind = ("hidden", "output")[int(name[-1])], name[:-1]
            own[name] = found.parameters[f"{layer}.{kind}"]
        return {"loss": loss, **own}


class Latency(Experiment):
    """784-128-10, 100 steps of 1 ms: bright pixels fire early, dark ones not at all; loss on spike counts."""

    peer, batch = "peer_surrogate_latency_torch.py", 256
    clock = Clock(n_steps=100, surrogate=ReLUDerivative(), detach_reset=True)
    loss, optimizer = SpikeCountMSE(100, 10, reduction="mean"), Adam(0.01, amsgrad=True)
    parameters = ("weight0", "weight1")
    tau_mem, tau_syn = 20.0, 5.0

    def arrays(self, n_samples, rng):
        """Pixels of at least a quarter, x = pixel / 256, fire in the step nearest to 100 (1 - x)."""
        values, labels = mnist(n_samples)
        x = np.rint(values * 255) / 256
        samples, neurons = np.nonzero(x >= 0.25)
        steps = np.rint((1 - x[samples, neurons]) * self.clock.n_steps).astype(np.int64)
        return {
            "samples": samples, "neurons": neurons, "steps": steps, "labels": labels,
            "n_steps": np.array(self.clock.n_steps),
            "beta": np.array(np.exp(-self.clock.dt / self.tau_mem)),
            "alpha": np.array(np.exp(-self.clock.dt / self.tau_syn)),
            "weight0": rng.normal(0.0, 0.1, (784, 128)).astype(np.float32),
            "weight1": rng.normal(0.0, 0.1, (128, 10)).astype(np.float32),
        }  # fmt: skip

    def network(self, arrays, dtype):
        unit = CurrentLIF(self.tau_mem, self.tau_syn)
        return Sequential([x for k in (0, 1) for x in (Dense(arrays[f"weight{k}"].astype(dtype, copy=False)), unit)])

    def inputs(self, arrays, n_samples):
        own = self.head(arrays, n_samples)
        return Spikes(
            own["samples"], own["neurons"], own["steps"] * self.clock.dt, n_samples=n_samples, n_neurons=784
        )  # fmt: skip


class Rate(Experiment):
    """784-1000-10, 25 steps of the same image; cross-entropy on the membrane, summed over the steps."""

    peer, batch = "peer_surrogate_rate_snntorch.py", 128
    clock = Clock(n_steps=25, surrogate=Arctan(2.0), detach_reset=True)
    loss, optimizer = MembraneCrossEntropy(), Adam(5e-4, beta1=0.9, beta2=0.999)
    parameters = ("weight0", "bias0", "weight1", "bias1")

    def arrays(self, n_samples, rng):
        """Pixels in 0 .. 1; weights and biases uniform within 1 / sqrt(inputs), which is torch's default."""
        values, labels = mnist(n_samples)
        found = {"values": values, "labels": labels, "n_steps": np.array(self.clock.n_steps)}
        for k, (n, m) in enumerate(((784, 1000), (1000, 10))):
            bound = 1 / np.sqrt(n)
            found[f"weight{k}"] = rng.uniform(-bound, bound, (n, m)).astype(np.float32)
            found[f"bias{k}"] = rng.uniform(-bound, bound, m).astype(np.float32)
        return found

    def network(self, arrays, dtype):
        parts = []
        for k in (0, 1):
            parts += [
                Dense(arrays[f"weight{k}"].astype(dtype, copy=False)),
                Leaky(0.95, bias=arrays[f"bias{k}"].astype(float)),
            ]
        return Sequential(parts)

    def inputs(self, arrays, n_samples):
        return Currents(arrays["values"][:n_samples])


EXPERIMENTS = {"latency": Latency(), "rate": Rate()}


def mnist(n_samples):
    """The first images as float32 in 0 .. 1, and labels."""
    train = load_mnist(n_train=n_samples, n_valid=0).train
    assert train.values is not None
    return train.values.astype(np.float32), train.labels


def dense(spikes, clock):
    """(samples, steps, neurons), true where there is a spike."""
    found = np.zeros((spikes.n_samples, clock.n_steps, spikes.n_neurons), bool)
    found[spikes.samples, np.rint(spikes.times / clock.dt).astype(int), spikes.neurons] = True
    return found


def compare(name: str, docstring: str, warm_up_epochs: list[int]) -> None:
    """The benchmark: same spikes, same gradients, speed and memory, ours and the peer's."""
    parser = arguments(docstring, rounds=5, peers=True)
    parser.add_argument(
        "--warm-up-epochs", type=int, nargs="+", default=warm_up_epochs,
        help=f"measure after so many epochs (default {' '.join(map(str, warm_up_epochs))}); the peer after the first",
    )  # fmt: skip
    options = parser.parse_args()
    print_machine()
    experiment = EXPERIMENTS[name]
    arrays = experiment.arrays(60_000, np.random.default_rng(0))
    trainer, split = experiment.trainer(arrays, threads=max(options.threads)), experiment.split(arrays, 60_000)
    stages = {}
    for epochs in sorted(options.warm_up_epochs):
        trainer.fit(split, None, epochs, progress=False)
        stages[epochs] = experiment.trained(experiment.head(arrays, N_OWN), trainer)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz"
        first = experiment.head(stages[min(stages)], N_FILE)
        np.savez(file, **first)
        peer = None if options.no_peer else Peer(experiment.peer, options.peer_python, [str(file)])
        if peer is not None and peer.missing is not None:
            peer = None
        results = {"peer": peer.info if peer else "left out", "speed": speed(experiment, stages, peer, options)}
        if peer is not None:
            results["agreement"] = agreement(experiment, first, peer, Path(folder))
            peer.close()
        results["peak_mib"] = memory(name, file, options, with_peer=peer is not None)
    finish(f"surrogate_{name}", results, options.out)


def agreement(experiment, arrays, peer, folder):
    """Spikes that differ in any step, and largest difference of a gradient relative to the largest of its parameter."""
    rows, found = [], {}
    for dtype in ("float64", "float32"):
        out = folder / f"{dtype}.npz"
        peer(kind="gradients", n_samples=N_GRADIENTS, dtype=dtype, out=str(out))
        theirs, own = np.load(out), experiment.gradients(arrays, np.dtype(dtype))
        unlike = {name: int((own[name] != theirs[name]).sum()) for name in ("hidden", "output")}
        errors = {
            name: float(np.abs(own[name] - theirs[name]).max() / np.abs(theirs[name]).max())
            for name in experiment.parameters
        }
        loss = float(abs(own["loss"] / theirs["loss"] - 1))
        n = {name: int(own[name].sum()) for name in unlike}
        rows.append(
            [dtype, *(f"{unlike[k]} of {n[k]:,}" for k in unlike), f"{loss:.1e}", f"{max(errors.values()):.1e}"]
        )
        found[dtype] = {"spikes": n, "spikes_that_differ": unlike, "loss": loss, "gradients": errors}
    print(f"same weights, the same {N_GRADIENTS} samples: differences to the peer\n")
    print_table(["", "hidden spikes", "output spikes", "loss", "gradient, worst"], rows)
    return found


def speed(experiment, stages, peer, options):
    """Samples/s of training and inference; ours is `Trainer.fit` without validation, and `Trainer.predict`."""
    candidates, n_samples, activity = {}, {}, {}
    for epochs, arrays in stages.items():
        trainer, split = experiment.trainer(arrays), experiment.split(arrays, N_OWN)
        few = experiment.inputs(arrays, N_PEER)
        spikes = simulate_clocked(trainer.network, few, dt=experiment.clock.dt, n_steps=experiment.clock.n_steps).spikes
        activity[epochs] = {k: significant(own.n_events / N_PEER) for k, own in spikes.items()}

        def fit(threads, trainer=trainer, split=split):
            trainer.n_threads = threads
            trainer.fit(split, None, trainer.epoch + 1, progress=False)

        def predict(threads, trainer=trainer, split=split):
            trainer.n_threads = threads
            trainer.predict(split.spikes)

        for threads in options.threads:
            candidates["training", epochs, threads] = lambda t=threads, fit=fit: fit(t)
            candidates["inference", epochs, threads] = lambda t=threads, predict=predict: predict(t)
    n_samples = dict.fromkeys(candidates, N_OWN)
    if peer is not None:
        for kind in ("train", "inference"):
            candidates["peer", kind] = lambda kind=kind: peer(kind=kind, n_samples=N_PEER)
            n_samples["peer", kind] = N_PEER
    rate = {key: n_samples[key] / seconds for key, seconds in medians(candidates, options.rounds).items()}
    rows, ratios = [], {}
    for kind, word in (("training", "train"), ("inference", "inference")):
        theirs = rate.get(("peer", word))
        for epochs in stages:
            for threads in options.threads:
                own = rate[kind, epochs, threads]
                row = [f"{kind}, after epoch {epochs}, {threads} thread{'s' * (threads > 1)}", f"{own:,.0f}"]
                rows.append([*row, f"{theirs:,.0f}" if theirs else "-", f"{own / theirs:.1f}" if theirs else "-"])
                if theirs:
                    ratios[f"{kind}_epoch_{epochs}_threads_{threads}_over_peer"] = significant(own / theirs)
    spikes = "; ".join(
        f"after epoch {epochs} " + ", ".join(f"{n:g} {name}" for name, n in own.items())
        for epochs, own in activity.items()
    )
    print(f"{type(experiment).__doc__}\nspikes a sample: {spikes}; medians of {options.rounds} rounds\n")
    print_table(["samples/s", "eventsnn", "peer, 1 thread", "ratio"], rows)
    return {
        "samples_per_second": {", ".join(map(str, key)): significant(value) for key, value in rate.items()},
        "ratios": ratios, "spikes": activity,
    }  # fmt: skip


def memory(name, file, options, *, with_peer):
    """Peak above the data, weights and optimiser included; medians of fresh processes that have run two samples."""
    experiment, found, rows = EXPERIMENTS[name], {}, []
    small, large = experiment.batch, 8 * experiment.batch
    for kind in ("train", "inference"):
        for batch in (small, large):
            found[kind, batch] = _peak("surrogate_networks.py", None, [name, str(file)], kind, large, batch)
        if with_peer:
            found[kind, "peer"] = _peak(experiment.peer, options.peer_python, [str(file)], kind, small, small)
        peak = [found.get((kind, key), float("nan")) for key in (small, large, "peer")]
        rows.append([kind, *(f"{value:.1f}" for value in peak), f"{peak[2] / peak[0]:.1f}"])
    print_table(["peak MiB above data", f"batch {small}", f"batch {large}", f"peer, batch {small}", "ratio"], rows)
    return {", ".join(map(str, key)): significant(value) for key, value in found.items()}


def _peak(script, python, arguments, kind, n_samples, batch):
    peaks = []
    for _ in range(N_PROCESSES):
        worker = Peer(script, python, arguments)
        worker(kind=kind, n_samples=2, batch=2)
        peaks.append(worker(kind=kind, n_samples=n_samples, batch=batch, measure="peak_mib"))
        worker.close()
    return statistics.median(peaks)


def worker() -> None:
    """Our side of `memory`: as in the peer's figure, weights and optimiser are part of what is measured."""
    experiment, arrays = EXPERIMENTS[sys.argv[1]], dict(np.load(sys.argv[2]))

    def work(kind, n_samples, batch, measure="seconds"):
        split = experiment.split(arrays, n_samples)

        def task():
            trainer = experiment.trainer(arrays, batch=batch)
            if kind == "train":
                trainer.fit(split, None, 1, progress=False)
            else:
                trainer.predict(split.spikes)

        if measure == "peak_mib":
            return peak_mib(task)
        start = time.perf_counter()
        task()
        return time.perf_counter() - start

    serve({}, work)


if __name__ == "__main__":
    worker()
