"""Cost of a first-spike layer against the number of input spikes, beside a dense product of the same shape.

    python benchmarks/bench_input_sparsity.py --out sparsity.json      # and sparsity.png

784-350-10, float32, one thread. 1 % to 100 % of the input neurons fire once, at random times inside a window of two
tau_syn; weights are drawn such that the sum over the inputs that fire has the same mean and spread for every
percentage, so the hidden layer always has about the same number of spikes and only the input changes.

- inference: `Trainer.predict`; training: `Trainer.fit` with Adam, batch 128, nothing done for silent neurons
- dense: the two matrix products of a forward pass in NumPy (BLAS on one thread), and the three of a training step
  (forward, and the gradients of both weight matrices and of the hidden layer), without optimiser, batch 128

What was learned
----------------
- NumPy's BLAS must be held to one thread before NumPy is loaded: with two, beside another program, the products took 20
  times as long, and the event-driven pass looked better than it is.
- With the silent-neuron hinge on, the time depends on how many neurons its running mean has found silent, and grows
  from round to round; it is off here.
- At 1 % the cost is that of the hidden spikes (about 315 are solved, whatever the input), not of the synapses.
"""

from __future__ import annotations

import common  # limits BLAS to one thread, so before NumPy
import numpy as np

from eventsnn import LIF, Adam, Dense, FirstSpikeCrossEntropy, Sequential, Spikes, Trainer
from eventsnn.datasets import Split
from eventsnn.simulation import simulate

N_INPUTS, N_HIDDEN, N_CLASSES, N_SAMPLES, BATCH = 784, 350, 10, 640, 128
TAU_MEM, TAU_SYN = 10e-3, 5e-3
PERCENTAGES = (1, 2, 5, 10, 20, 35, 50, 75, 100)
MNIST_PERCENTAGE = 19.1


def problem(percentage: float, rng: np.random.Generator) -> tuple[Trainer, Split]:
    """A network at its initial weights, and random input of which `percentage` fires."""
    n_active = max(1, round(N_INPUTS * percentage / 100))
    times = np.full((N_SAMPLES, N_INPUTS), np.inf)
    for row in times:
        row[rng.choice(N_INPUTS, n_active, replace=False)] = rng.uniform(0.15, 2.0, n_active) * TAU_SYN
    neuron = LIF(tau_mem=TAU_MEM, tau_syn=TAU_SYN, max_spikes=1)
    hidden = Dense.normal(N_INPUTS, N_HIDDEN, mean=15.0 / n_active, std=10.0 / np.sqrt(n_active), rng=rng)
    output = Dense.normal(N_HIDDEN, N_CLASSES, mean=0.05, std=0.3, rng=rng)
    network = Sequential([hidden, neuron, output, neuron]).astype(np.float32)
    # the learning rate is tiny so that the activity stays what it was
    trainer = Trainer(network, FirstSpikeCrossEntropy(xi=0.2), Adam(1e-9), seed=0, silent=None, batch_size=BATCH)
    return trainer, Split(Spikes.from_first_times(times), rng.integers(0, N_CLASSES, N_SAMPLES))


def dense_step(values, weights, *, with_backward):
    hidden_weight, output_weight = weights
    for k in range(0, len(values), BATCH):
        x = values[k : k + BATCH]
        hidden = np.maximum(x @ hidden_weight, 0.0)
        output = hidden @ output_weight
        if with_backward:
            hidden.T @ output
            x.T @ ((output @ output_weight.T) * (hidden > 0))


def main() -> None:
    options = common.arguments(__doc__, rounds=5).parse_args()
    common.print_machine()
    rng = np.random.default_rng(0)
    values = rng.random((N_SAMPLES, N_INPUTS), dtype=np.float32)
    weights = [rng.standard_normal(s, dtype=np.float32) for s in ((N_INPUTS, N_HIDDEN), (N_HIDDEN, N_CLASSES))]
    candidates = {
        ("dense inference", 0): lambda: dense_step(values, weights, with_backward=False),
        ("dense training", 0): lambda: dense_step(values, weights, with_backward=True),
    }
    hidden_spikes = {}
    for percentage in PERCENTAGES:
        trainer, split = problem(percentage, rng)
        counts = simulate(trainer.network, split.spikes).spikes["hidden"].n_events
        hidden_spikes[percentage] = counts / N_SAMPLES

        def fit(trainer=trainer, split=split):
            trainer.fit(split, None, trainer.epoch + 1, progress=False)

        candidates["inference", percentage] = lambda t=trainer, s=split: t.predict(s.spikes)
        candidates["training", percentage] = fit
    microseconds = {name: s / N_SAMPLES * 1e6 for name, s in common.medians(candidates, options.rounds).items()}

    dense = {kind: microseconds[f"dense {kind}", 0] for kind in ("inference", "training")}
    print(f"784-350-10, us per sample, one thread, medians of {options.rounds} rounds\n")
    common.print_table(
        ["active inputs", "spikes", "hidden spikes", "inference", "/ dense", "training", "/ dense"],
        [
            [
                f"{p} %", round(N_INPUTS * p / 100), f"{hidden_spikes[p]:.0f}",
                f"{microseconds['inference', p]:.1f}", f"{microseconds['inference', p] / dense['inference']:.2f}",
                f"{microseconds['training', p]:.1f}", f"{microseconds['training', p] / dense['training']:.2f}",
            ]
            for p in PERCENTAGES
        ]
        + [["dense products", "", "", f"{dense['inference']:.1f}", "1", f"{dense['training']:.1f}", "1"]],
    )  # fmt: skip
    if options.out is not None:
        draw(options.out.with_suffix(".png"), microseconds, dense)
    results = {
        "microseconds_per_sample": {f"{kind}, {p} %": common.significant(v) for (kind, p), v in microseconds.items()},
        "hidden_spikes": {f"{p} %": common.significant(n) for p, n in hidden_spikes.items()},
        "ratios": {
            f"{kind}_{p}_over_dense": common.significant(microseconds[kind, p] / dense[kind])
            for kind in dense
            for p in PERCENTAGES
        },
    }
    common.finish("input_sparsity", results, options.out)


def draw(path, microseconds, dense):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for kind, colour in (("inference", "tab:blue"), ("training", "tab:red")):
        mine = [microseconds[kind, p] for p in PERCENTAGES]
        axes.plot(PERCENTAGES, mine, "o-", color=colour, label=f"eventsnn, {kind}")
        axes.axhline(dense[kind], color=colour, linestyle="--", label=f"dense products, {kind}")
    axes.axvline(MNIST_PERCENTAGE, color="0.6", linewidth=1, zorder=0)
    axes.annotate("MNIST", (MNIST_PERCENTAGE, 0.95), xycoords=("data", "axes fraction"), xytext=(3, 0),
                  textcoords="offset points", color="0.4")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="input neurons that fire (%)", ylabel="time per sample (µs)")
    axes.set_title("784-350-10, float32, one thread")
    axes.set_xticks(PERCENTAGES, [str(p) for p in PERCENTAGES])
    low, high = axes.get_ylim()
    ticks = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
    axes.set_yticks([tick for tick in ticks if low <= tick <= high], [str(t) for t in ticks if low <= t <= high])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=150)
    print(f"{path}\n")


if __name__ == "__main__":
    main()
