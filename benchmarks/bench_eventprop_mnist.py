"""Multi-spike MNIST, float32, one thread and two: training and inference samples/s against the floor, by activity.

    python benchmarks/bench_eventprop_mnist.py

tau_mem 20 ms, tau_syn 5 ms, no limit on spikes; brighter pixels fire earlier, in 0 to 20 ms. In one run, in turn:

- training: the built-in configuration `mnist_eventprop` (784-350-10, leaky outputs, maximum-voltage cross-entropy,
  Adam, dropout) after one epoch: `Trainer.fit` without a validation set, wall-clock, everything included
- inference: `Trainer.predict` of the same network
- layer: `simulate` of 784-350 alone with random weights, scaled so that it emits about 370 spikes a sample, and (part
  `activity`) a quarter to twice as many
- floor: only the two multiply-adds per synaptic event of the same input and hidden spikes (floor.py), forward, or
  forward and backward

What was learned
----------------
- With 370 output spikes for 119 input spikes the spikes are the cost, not the synapses: without any, the forward pass
  takes 1.5 times the floor.
- One neuron after the other, every crossing decided by its peak and solved by `spike_time`: 40 times the floor. Solving
  those that end an interval above threshold together, by two steps of Halley's iteration on power series (no library
  function, no branch): 11 times. A loop over the terms of the series instead of the terms written out: 15 times.
- Blocks whose output buffers were too small used to be simulated again from their first sample: twice the time.
- Where the time of a training step goes (CPU us a sample at 590 hidden spikes, one by one, beside other jobs):
  hidden forward 70; its EventProp 12; highest potentials of silent neurons 11, hinge backward 8; readout forward 7 and
  backward 6; factors of the events 5; losses, Adam, dropout, Python and NumPy per block 12.
- The peaks of silent neurons took 45 one neuron after the other (7 ns for every neuron and input, 53 neurons a sample).
  The sweep of the readout over sixteen of them costs 25 ns for four events; a third of the 11 is now looking closer at
  36 lanes a sample. Most highest peaks are kinks, which need no exponential.
- LLVM vectorises a loop of sixteen steps only if it need not test at run time whether rows overlap: rows at constant
  distances in one array. Otherwise it deems the tests too dear and runs one by one: two and a half times as long.
- Ten neurons rise through threshold in a typical interval, so filling their last vector saved 7 of 85. Closing the
  sample (85 neurons with a decision each, 75 late spikes) was a third of the forward pass: a peak's height in closed
  form instead of its time, and no attempt at the short solution where the parabola already says it is far, saved 8.
- Tried in vain: full vectors for the classification of flagged neurons too; a second exponential less in the factors
  of the events gained 0.3 (the loop that follows the reference time costs more than the exponentials).
"""

from __future__ import annotations

import numpy as np
from common import arguments, finish, medians, print_machine, print_table, significant
from floor import Floor

from eventsnn import LIF, Dense, Sequential, Spikes, simulate
from eventsnn.datasets import Dataset
from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config
from eventsnn.simulation.delayed_layers import make_runners
from eventsnn.simulation.layers import input_events
from eventsnn.simulation.parallel import BlockPool
from eventsnn.training.trainer import Trainer

N_SAMPLES, N_HIDDEN, WANTED, BLOCK = 1920, 350, 370.0, 96
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


def trained() -> tuple[Trainer, Dataset]:
    """`mnist_eventprop` after one epoch."""
    config = load_config("mnist_eventprop", {"training.epochs": 10_000})
    dataset = build_dataset(config)
    trainer = build_trainer(config, build_network(config, dataset.n_inputs, dataset.n_classes), threads=2)
    trainer.fit(dataset.train, None, 1, progress=False)
    return trainer, dataset


def main() -> None:
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)")
    parser.add_argument("--part", nargs="+", choices=("speed", "activity"), default=["speed", "activity"])
    options = parser.parse_args()
    print_machine()
    results = {}
    if "speed" in options.part:
        results["speed"] = speed(options)
    if "activity" in options.part:
        results["activity"] = activity(options)
    finish("eventprop_mnist", results, options.out)


def speed(options) -> dict[str, object]:
    """Training and inference of the built-in configuration, and the layer alone."""
    trainer, dataset = trained()
    train, test = dataset.train[:N_SAMPLES], dataset.test.spikes[:N_SAMPLES]
    sample = simulate(trainer.network, train.spikes, trainer.t_max).spikes
    n_input, n_hidden = (sample[name].n_events / N_SAMPLES for name in ("input", "hidden"))
    whole = Floor(trainer.network.weights, [sample["input"], sample["hidden"]])
    spikes = inputs()
    layer = layer_with(spikes, WANTED)
    n_output = simulate(layer, spikes).spikes["output"].n_events / N_SAMPLES
    floor = Floor(layer.weights, [spikes])
    print(
        f"784-350-10 after one epoch: {n_input:.0f} input and {n_hidden:.0f} hidden spikes a sample; the layer alone: "
        f"{n_output:.0f} output spikes; medians of {options.rounds} rounds\n"
    )

    def fit(threads):
        trainer.n_threads = threads
        trainer.fit(train, None, trainer.epoch + 1, progress=False)

    def predict(threads):
        trainer.n_threads = threads
        trainer.predict(test)

    pools = {threads: BlockPool(threads) for threads in options.threads}
    candidates = {}
    for threads, pool in pools.items():
        candidates["training", threads] = lambda threads=threads: fit(threads)
        candidates["training floor", threads] = lambda pool=pool: whole.run(pool, with_backward=True)
        candidates["inference", threads] = lambda threads=threads: predict(threads)
        candidates["inference floor", threads] = lambda pool=pool: whole.run(pool, with_backward=False)
        candidates["layer", threads] = lambda threads=threads: simulate(layer, spikes, n_threads=threads)
        candidates["layer floor", threads] = lambda pool=pool: floor.run(pool, with_backward=False)
    seconds = medians(candidates, options.rounds)
    rows, ratios = [], {}
    for kind in ("training", "inference", "layer"):
        for threads in options.threads:
            own, least = seconds[kind, threads], seconds[f"{kind} floor", threads]
            ratios[f"{kind}_{threads}_time_over_floor"] = significant(own / least)
            rows.append([
                f"{kind}, {threads} thread{'s' * (threads > 1)}", f"{N_SAMPLES / own:,.0f}",
                f"{N_SAMPLES / least:,.0f}", f"{own / least:.1f}", f"{own / N_SAMPLES * 1e6:.0f}",
            ])  # fmt: skip
        if {1, 2} <= set(options.threads):
            ratios[f"{kind}_two_threads_over_one"] = significant(seconds[kind, 1] / seconds[kind, 2])
    print_table(["samples/s", "eventsnn", "floor", "time / floor", "us a sample"], rows)
    if {1, 2} <= set(options.threads):
        print(", ".join(f"{k}: two threads {ratios[f'{k}_two_threads_over_one']:.2f} times one" for k in
                        ("training", "inference", "layer")) + "\n")  # fmt: skip
    per_event = record_bytes(trainer, train.spikes[:BLOCK])
    print(f"record of the forward pass: {per_event:.0f} bytes per hidden spike\n")
    return {"ratios": ratios, "hidden_spikes": n_hidden, "output_spikes": n_output, "bytes_per_event": per_event}


def record_bytes(trainer: Trainer, spikes: Spikes) -> float:
    """Bytes that the backward pass keeps of every hidden spike of a block: time, neuron and trace."""
    runner = make_runners(trainer.network, trainer.t_max, keep_trace=True)[0]
    out = runner.forward(input_events(spikes))
    trace = runner._trace[:3, : out.times.size]
    return (out.times.nbytes + out.neurons.nbytes + trace.nbytes) / out.times.size


def activity(options) -> dict[str, object]:
    """Time of the layer, forward and backward, against its number of output spikes."""
    spikes = inputs()[:BLOCK]
    rows, found = [], {}
    for share in (0.0, 0.25, 0.5, 1.0, 2.0):
        layer = layer_with(spikes, share * WANTED) if share else layer_with(spikes, 0.01)
        runner = make_runners(layer, keep_trace=True)[0]
        events = input_events(spikes)
        out = runner.forward(events)
        n, d_out = out.times.size / BLOCK, np.ones(out.times.size)
        d_weight = np.zeros_like(layer.weights[0])
        seconds = medians(
            {
                "forward": lambda runner=runner, events=events: runner.forward(events),
                "backward": lambda runner=runner, d=d_out, w=d_weight: runner.backward_spikes(
                    d, w, want_times=False, min_slope=0.1
                ),
            },
            10 * options.rounds,
        )
        us = {name: value / BLOCK * 1e6 for name, value in seconds.items()}
        found[f"{n:.0f}"] = {name: significant(value) for name, value in us.items()}
        rows.append([f"{n:.0f}", f"{us['forward']:.1f}", f"{us['backward']:.1f}"])
    print_table(["output spikes a sample", "forward us", "backward us"], rows)
    return found


if __name__ == "__main__":
    main()
