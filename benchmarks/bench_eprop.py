"""e-prop against backpropagation through time: cost of a gradient, angle between them, and what each learns.

    python benchmarks/bench_eprop.py [--rounds N] [--seeds N] [--epochs N]

Cost and angle: 100 inputs that fire in one step of 20, recurrent hidden units, 10 leaky readouts, 100 steps, 64
samples, random weights, cross-entropy on the potentials in every step, float64, one thread. "around the reset": all
synapses of a presynaptic neuron share one trace of the potential; "through": each has one of its own.

Learning: `delayed_match` with a pause of 20 ms, twice the time constant of the 60 leaky hidden units, and spikes at
random in all channels (5 per second), on a grid of 1 ms: what is left of the first symbol drowns in them unless the
recurrent weights keep it. Cross-entropy on the highest potential, Adam with a rate that falls to 0 as a cosine, of two
rates the one with the better mean accuracy on the validation data.

e-prop costs more than the gradient that it approximates: there is a trace per synapse, and backpropagation through time
has a number per neuron. What e-prop saves is the way back, and the memory of all steps, which this engine has anyway.
"""

from __future__ import annotations

import warnings

import numpy as np
from common import arguments, finish, medians, print_machine, print_table

from eventsnn import (
    Adam,
    BinningWarning,
    Clock,
    CosineDecay,
    Dense,
    Leaky,
    MaxVoltageCrossEntropy,
    MembraneCrossEntropy,
    Network,
    Population,
    Projection,
    Spikes,
    Synaptic,
    Trainer,
    Triangular,
    loss_and_grad,
)
from eventsnn.datasets import load_delayed_match
from eventsnn.datasets.base import Split

#: name: hidden unit, detach_reset
UNITS = {
    "leaky, around the reset": (Leaky(beta=0.95), True),
    "leaky, through the reset": (Leaky(beta=0.95), False),
    "synaptic, through the reset": (Synaptic(alpha=0.8, beta=0.95), False),
}
#: name: Clock.method, whether there is recurrence, what is learned
VARIANTS = {
    "no recurrence": ("surrogate", False, {"weight": 1.0}),
    "recurrence as drawn": ("surrogate", True, {"input->hidden.weight": 1.0, "hidden->output.weight": 1.0}),
    "all weights, backpropagation": ("surrogate", True, {"weight": 1.0}),
    "all weights, e-prop": ("eprop", True, {"weight": 1.0}),
}
RATES = (3e-3, 1e-2)
N_STEPS = 48


def network_of(rng, n_inputs, n_hidden, n_outputs, unit, *, recurrent=True, gain=1.0):
    """Weights of variance 1/n_pre, those of the inputs times gain^2."""

    def dense(n_pre, n_post, factor=1.0):
        return Dense(factor * rng.normal(size=(n_pre, n_post)) / np.sqrt(n_pre))

    edges = [
        Projection("input", "hidden", dense(n_inputs, n_hidden, gain)),
        Projection("hidden", "output", dense(n_hidden, n_outputs)),
    ]
    loop = Projection("hidden", "hidden", dense(n_hidden, n_hidden))
    readout = Leaky(beta=0.9, v_threshold=np.inf)
    populations = {"hidden": Population(unit, n_hidden), "output": Population(readout, n_outputs)}
    return Network({"input": n_inputs}, populations, edges + [loop] * recurrent)


def angle_of(one, other):
    """Between the gradients of the weights of hidden neurons, in degrees."""
    names = ("input->hidden.weight", "hidden->hidden.weight")
    a, b = (np.concatenate([found.parameters[name].ravel() for name in names]) for found in (one, other))
    return float(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def cost(n_hidden, unit, is_detached, rounds):
    """Milliseconds per sample of both methods, and the angle."""
    rng = np.random.default_rng(0)
    n_samples, n_inputs, n_steps = 64, 100, 100
    network = network_of(rng, n_inputs, n_hidden, 10, unit, gain=2.0)
    samples, steps, neurons = np.nonzero(rng.random((n_samples, n_steps, n_inputs)) < 0.05)
    spikes = Spikes(samples, neurons, steps.astype(float), n_samples=n_samples, n_neurons=n_inputs)
    labels = rng.integers(0, 10, n_samples)
    clock = Clock(n_steps=n_steps, surrogate=Triangular(), decode="membrane", detach_reset=is_detached)
    found = {}

    def work(method):
        _, found[method] = loss_and_grad(network, spikes, labels, MembraneCrossEntropy(), method=method, clock=clock)

    seconds = medians({method: lambda method=method: work(method) for method in ("surrogate", "eprop")}, rounds)
    per_sample = {method: 1e3 * took / n_samples for method, took in seconds.items()}
    return per_sample["surrogate"], per_sample["eprop"], angle_of(found["eprop"], found["surrogate"])


def with_noise(split, rng):
    """Spike times at whole milliseconds, and others at random."""
    own = split.spikes
    samples, steps, neurons = np.nonzero(rng.random((own.n_samples, N_STEPS, own.n_neurons)) < 0.005)
    times = np.concatenate([np.rint(own.times * 1e3), steps]) * 1e-3
    spikes = Spikes(
        np.concatenate([own.samples, samples]), np.concatenate([own.neurons, neurons]), times,
        n_samples=own.n_samples, n_neurons=own.n_neurons,
    )  # fmt: skip
    return Split(spikes, split.labels)


def learn(variant, rate, seed, epochs, data):
    """The trained trainer."""
    method, recurrent, learned = VARIANTS[variant]
    network = network_of(
        np.random.default_rng([1, seed]), 20, 60, 2, Leaky.from_tau(10e-3, dt=1e-3), recurrent=recurrent, gain=1.5
    )
    clock = Clock(dt=1e-3, n_steps=N_STEPS, surrogate=Triangular(), decode="membrane", method=method)
    trainer = Trainer(
        network, MaxVoltageCrossEntropy(), Adam(rate), seed=seed, batch_size=64, learn=learned, clock=clock,
        schedule=CosineDecay(epochs),
    )  # fmt: skip
    trainer.fit(data["train"], None, epochs, progress=False)
    return trainer


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--seeds", type=int, default=5, help="runs of every variant (default 5)")
    parser.add_argument("--epochs", type=int, default=40, help="of every run (default 40)")
    options = parser.parse_args()
    warnings.simplefilter("ignore", BinningWarning)  # jitter: two spikes of a channel may share a step
    print_machine()
    costs, rows = {}, []
    for name, (unit, is_detached) in UNITS.items():
        for n_hidden in (100, 400):
            back, forward, angle = cost(n_hidden, unit, is_detached, options.rounds)
            costs[f"{name}, {n_hidden}"] = {"surrogate_ms": back, "eprop_ms": forward, "angle_degrees": angle}
            rows.append([name, n_hidden, f"{back:.3f}", f"{forward:.3f}", f"{forward / back:.1f}", f"{angle:.0f}"])
    print_table(["unit", "hidden", "back [ms/sample]", "e-prop", "ratio", "angle [deg]"], rows)

    given, rng = load_delayed_match(pause=4.0, n_train=2000), np.random.default_rng(0)
    data = {name: with_noise(getattr(given, name), rng) for name in ("train", "valid", "test")}
    accuracies, rows = {}, []
    for variant in VARIANTS:
        seeds = range(options.seeds)
        runs = {rate: [learn(variant, rate, seed, options.epochs, data) for seed in seeds] for rate in RATES}
        rate = max(RATES, key=lambda rate: np.mean([run.evaluate(data["valid"]).accuracy for run in runs[rate]]))
        found = [100 * run.evaluate(data["test"]).accuracy for run in runs[rate]]
        accuracies[variant] = {"learning_rate": rate, "test_accuracy": found}
        rows.append([variant, rate, f"{np.mean(found):.1f}", f"{min(found):.1f} .. {max(found):.1f}"])
        print(*rows[-1], sep="   ", flush=True)
    print()
    print_table(["variant", "learning rate", "test accuracy [%]", "range"], rows)
    finish("eprop", {"cost": costs, "delayed_match": accuracies, "epochs": options.epochs}, options.out)


if __name__ == "__main__":
    main()
