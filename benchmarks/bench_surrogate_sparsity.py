"""Cost of a clock-driven network against its spikes: a line through the cost of the dense part.

    python benchmarks/bench_surrogate_sparsity.py --out sparsity.json      # and sparsity.png

784-128-10 and 784-128-128, current LIF, 100 steps, float32, one thread, batch 256; spike-count loss. Forward is
`Trainer.predict`, backward is what `Trainer.fit` takes beyond it (loss, optimiser and Python included).

- input: 1 % to 400 % of the inputs fire at random steps (400 %: four times each on average); weights are scaled such
  that hidden neurons fire 5 times a sample, whatever the input
- hidden: the same 15 % of the inputs fire; weights are scaled such that hidden neurons fire in 0.2 % to 40 % of the
  steps, with surrogates that vanish below threshold (the derivative of a ReLU), away from it (triangular, boxcar) or
  nowhere (arctan)

A synaptic event is a spike times the neurons it goes to. Printed are the line's value at no spikes, its slope and the
largest distance of a point from it.

What was learned
----------------
- Input spikes: a line, 26 us forward and 42 backward without spikes, 0.11 and 0.15 ns per synaptic event, no point
  further than 5 us from it, up to four spikes per pixel.
- To few neurons a spike costs by itself and not by its targets. From one spike in twelve neuron-steps on all of a
  sample are taken by step (`kernels/grid_narrow.py`), and the cost does not grow any more: the line bends.
- To 128 neurons a surrogate that vanishes saves most of the backward pass: 42 us instead of 114 (arctan) where 0.2 % of
  hidden neurons fire in a step, but nothing where 40 % do. To ten neurons it saves nothing.
- Weights of all points have to be scaled by bisection: otherwise more input means more hidden spikes, and one line is
  drawn through two causes.
"""

from __future__ import annotations

from types import SimpleNamespace

import common  # limits BLAS to one thread, so before NumPy
import numpy as np

from eventsnn import (
    Adam,
    Arctan,
    Boxcar,
    Clock,
    CurrentLIF,
    Dense,
    ReLUDerivative,
    Sequential,
    SpikeCountMSE,
    Spikes,
    Trainer,
    Triangular,
    simulate_clocked,
)

N_INPUTS, N_HIDDEN, N_STEPS, N_SAMPLES, BATCH = 784, 128, 100, 512, 256
INPUT_PERCENTAGES = (1, 5, 15, 30, 60, 100, 200, 400)
HIDDEN_PERCENTAGES = (0.2, 1, 2, 5, 10, 20, 40)
HIDDEN_SPIKES, OUTPUT_RATE = 5.0, 0.05
SURROGATES = {"ReLU": ReLUDerivative(), "triangular": Triangular(), "boxcar": Boxcar(), "arctan": Arctan()}
UNIT = CurrentLIF(20.0, 5.0)


def inputs(percentage: float, rng: np.random.Generator) -> Spikes:
    """Every sample has the same number of spikes, none at the same place and step."""
    n = round(N_INPUTS * percentage / 100)
    chosen = np.stack([rng.choice(N_INPUTS * N_STEPS, n, replace=False) for _ in range(N_SAMPLES)])
    samples = np.repeat(np.arange(N_SAMPLES), n)
    return Spikes(samples, chosen.ravel() % N_INPUTS, chosen.ravel() // N_INPUTS * 1.0,
                  n_samples=N_SAMPLES, n_neurons=N_INPUTS)  # fmt: skip


def network(spikes: Spikes, n_outputs: int, hidden_rate: float, rng: np.random.Generator) -> Sequential:
    """Weights scaled by bisection, layer by layer: spikes per neuron and step."""
    few, layers = spikes[:32], []
    for n_pre, n_post, wanted in ((N_INPUTS, N_HIDDEN, hidden_rate), (N_HIDDEN, n_outputs, OUTPUT_RATE)):
        unit = rng.normal(0.3, 1.0, (n_pre, n_post))
        low, high = 1e-4, 1e2
        for _ in range(25):
            scale = np.sqrt(low * high)
            own = Sequential([*layers, Dense((unit * scale).astype(np.float32)), UNIT])
            spikes_of = simulate_clocked(own, few, n_steps=N_STEPS).spikes
            rate = spikes_of["output"].n_events / (few.n_samples * n_post * N_STEPS)
            low, high = (scale, high) if rate < wanted else (low, scale)
        layers += [Dense((unit * scale).astype(np.float32)), UNIT]
    return Sequential(layers)


def problem(spikes, n_outputs, hidden_rate, surrogate, rng):
    """Two candidates, forward and both ways, and the synaptic events of a sample."""
    net = network(spikes, n_outputs, hidden_rate, rng)
    # the learning rate is tiny so that the activity stays what it was
    trainer = Trainer(
        net, SpikeCountMSE(50, 5), Adam(1e-9), seed=0, batch_size=BATCH,
        clock=Clock(n_steps=N_STEPS, surrogate=surrogate, detach_reset=True),
    )  # fmt: skip
    split = SimpleNamespace(spikes=spikes, labels=rng.integers(0, n_outputs, N_SAMPLES))
    n_hidden = simulate_clocked(net, spikes, n_steps=N_STEPS).spikes["hidden"].n_events / N_SAMPLES
    works = {
        "forward": lambda: trainer.predict(spikes),
        "both": lambda: trainer.fit(split, None, trainer.epoch + 1, progress=False),
    }
    return works, n_hidden


def main() -> None:
    options = common.arguments(__doc__, rounds=5).parse_args()
    common.print_machine()
    rng = np.random.default_rng(0)
    candidates, at = {}, {}
    for percentage in INPUT_PERCENTAGES:
        works, _ = problem(inputs(percentage, rng), 10, HIDDEN_SPIKES / N_STEPS, ReLUDerivative(), rng)
        for kind, work in works.items():
            candidates["input", 10, "ReLU", percentage, kind] = work
        at["input", 10, "ReLU", percentage] = round(N_INPUTS * percentage / 100) * N_HIDDEN
    same = inputs(15, rng)
    for n_outputs, names in ((10, SURROGATES), (128, ["ReLU", "arctan"])):
        for name in names:
            for percentage in HIDDEN_PERCENTAGES:
                works, n_hidden = problem(same, n_outputs, percentage / 100, SURROGATES[name], rng)
                for kind, work in works.items():
                    candidates["hidden", n_outputs, name, percentage, kind] = work
                at["hidden", n_outputs, name, percentage] = n_hidden * n_outputs
    took = {key: s / N_SAMPLES * 1e6 for key, s in common.medians(candidates, options.rounds).items()}
    series: dict[tuple, list[tuple[float, float, float]]] = {}
    for key, n_events in at.items():
        forward, both = took[*key, "forward"], took[*key, "both"]
        series.setdefault(key[:3], []).append((n_events, forward, both - forward))

    rows, lines = [], {}
    for (where, n_outputs, surrogate), points in series.items():
        n_events, *sides = np.array(points).T
        for kind, us in zip(("forward", "backward"), sides, strict=True):
            slope, start = np.polyfit(n_events, us, 1)
            off = np.abs(us - (start + slope * n_events)).max()
            name = f"{where} spikes to {N_HIDDEN if where == 'input' else n_outputs}, {surrogate}, {kind}"
            lines[name] = {"us_without_spikes": start, "ns_per_synaptic_event": 1e3 * slope, "largest_distance_us": off}
            rows.append([
                name, f"{n_events.min():,.0f} .. {n_events.max():,.0f}", f"{us.min():.1f} .. {us.max():.1f}",
                f"{start:.1f}", f"{1e3 * slope:.3f}", f"{off:.1f}",
            ])  # fmt: skip
    print(f"us a sample, one thread, medians of {options.rounds} rounds\n")
    common.print_table(
        ["", "synaptic events", "time", "line: without spikes", "ns per synaptic event", "largest distance"], rows
    )
    if options.out is not None:
        draw(options.out.with_suffix(".png"), series)
    results = {
        "lines": {name: {k: common.significant(v) for k, v in line.items()} for name, line in lines.items()},
        "points": {", ".join(map(str, key)): points for key, points in series.items()},
    }
    common.finish("surrogate_sparsity", results, options.out)


def draw(path, series) -> None:
    """Input, hidden spikes to 10 neurons by surrogate, and to 128."""
    import matplotlib.pyplot as plt

    titles = {
        ("input", 10): f"input spikes, each to {N_HIDDEN} neurons",
        ("hidden", 10): "hidden spikes, each to 10 neurons",
        ("hidden", 128): "hidden spikes, each to 128 neurons",
    }
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
    for ax, (panel, title) in zip(axes, titles.items(), strict=True):
        own = {key[2]: np.array(points).T for key, points in series.items() if key[:2] == panel}
        curves = [("forward", next(iter(own.values()))[0], next(iter(own.values()))[1])]
        curves += [("backward" if len(own) == 1 else f"backward, {k}", p[0], p[2]) for k, p in own.items()]
        for color, (label, n_events, us) in enumerate(curves):
            slope, start = np.polyfit(n_events, us, 1)
            ends = np.array([0, n_events.max()])
            ax.plot(ends / 1e3, start + slope * ends, color=f"C{color}", linewidth=1)
            label = f"{label}: {start:.0f} µs + {1e3 * slope:.2f} ns per event"
            ax.plot(n_events / 1e3, us, "o", color=f"C{color}", markersize=4, label=label)
        ax.set(title=title, xlabel="synaptic events per sample (thousands)")
        ax.legend(fontsize="small", loc="upper left")
    axes[0].set_ylim(0, 1.4 * axes[0].get_ylim()[1])  # room for the legends
    axes[0].set_ylabel("time per sample (µs)")
    figure.suptitle(f"784-{N_HIDDEN}-10 and 784-{N_HIDDEN}-128, {N_STEPS} steps, float32, one thread")
    figure.savefig(path, dpi=150)
    print(f"{path}\n")


if __name__ == "__main__":
    main()
