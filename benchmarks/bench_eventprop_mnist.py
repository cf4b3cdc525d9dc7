"""Multi-spike MNIST layer, 784-350, float32, one thread and two: inference samples/s against the floor.

    python benchmarks/bench_eventprop_mnist.py

tau_mem 20 ms, tau_syn 5 ms, no limit on spikes; brighter pixels fire earlier, in 0 to 20 ms. Random weights, scaled so
that the layer emits about 370 spikes a sample. In one run, in turn:

- eventsnn: `simulate`, everything included
- floor: only the two multiply-adds per synaptic event of the input spikes, forward (floor.py)

What was learned
----------------
- With 370 output spikes for 119 input spikes the spikes are the cost, not the synapses: without any, the forward pass
  takes 1.5 times the floor.
- One neuron after the other, every crossing decided by its peak and solved by `spike_time`: 40 times the floor. Solving
  those that end an interval above threshold together, by two steps of Halley's iteration on power series (no library
  function, no branch): 11 times. A loop over the terms of the series instead of the terms written out: 15 times.
- Blocks whose output buffers were too small used to be simulated again from their first sample: twice the time.
"""

from __future__ import annotations

import numpy as np
from common import arguments, finish, medians, print_machine, print_table, significant
from floor import Floor

from eventsnn import LIF, Dense, Sequential, Spikes, simulate
from eventsnn.experiments.build import build_dataset
from eventsnn.experiments.config import load_config
from eventsnn.simulation.parallel import BlockPool

N_SAMPLES, N_HIDDEN, WANTED = 1920, 350, 370.0
T_LATEST = 20e-3


def inputs() -> Spikes:
    """MNIST test images as spikes in 0 .. T_LATEST."""
    config = load_config("mnist", {})
    spikes = build_dataset(config).test.spikes[:N_SAMPLES]
    scale = T_LATEST / spikes.times.max()
    return Spikes(
        spikes.samples, spikes.neurons, spikes.times * scale, n_samples=spikes.n_samples, n_neurons=spikes.n_neurons
    )


def layer_with(spikes: Spikes, wanted: float) -> Sequential:
    """Random weights whose scale is found by bisection on a few samples: `wanted` spikes a sample."""
    unit = np.random.default_rng(0).normal(1.0, 1.0, (spikes.n_neurons, N_HIDDEN))
    neuron, few = LIF(tau_mem=20e-3, tau_syn=5e-3), spikes[:96]
    low, high = 0.0, 1.0
    for _ in range(20):
        scale = 0.5 * (low + high)
        n = simulate(Sequential([Dense(unit * scale), neuron]), few).spikes["output"].n_events / few.n_samples
        low, high = (scale, high) if n < wanted else (low, scale)
    return Sequential([Dense((unit * scale).astype(np.float32)), neuron])


def main() -> None:
    parser = arguments(__doc__, rounds=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
    options = parser.parse_args()
    print_machine()
    spikes = inputs()
    network = layer_with(spikes, WANTED)
    n_output = simulate(network, spikes).spikes["output"].n_events / N_SAMPLES
    floor = Floor(network.weights, [spikes])
    print(
        f"{spikes.n_events / N_SAMPLES:.0f} input and {n_output:.0f} output spikes a sample; {options.rounds} rounds\n"
    )

    pools = {threads: BlockPool(threads) for threads in options.threads}
    candidates = {}
    for threads, pool in pools.items():
        candidates["inference", threads] = lambda threads=threads: simulate(network, spikes, n_threads=threads)
        candidates["floor", threads] = lambda pool=pool: floor.run(pool, with_backward=False)
    seconds = medians(candidates, options.rounds)
    rows, ratios = [], {}
    for threads in options.threads:
        own, least = seconds["inference", threads], seconds["floor", threads]
        ratios[f"inference_{threads}_time_over_floor"] = significant(own / least)
        rows.append([f"inference, {threads} thread{'s' * (threads > 1)}", f"{N_SAMPLES / own:,.0f}",
                     f"{N_SAMPLES / least:,.0f}", f"{own / least:.1f}", f"{own / N_SAMPLES * 1e6:.0f}"])  # fmt: skip
    print_table(["samples/s", "eventsnn", "floor", "time / floor", "us a sample"], rows)
    if {1, 2} <= set(options.threads):
        ratios["inference_two_threads_over_one"] = significant(seconds["inference", 1] / seconds["inference", 2])
        print(f"two threads {ratios['inference_two_threads_over_one']:.2f} times one")
    finish("eventprop_mnist", {"ratios": ratios, "output_spikes": n_output}, options.out)


if __name__ == "__main__":
    main()
