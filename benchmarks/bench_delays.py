"""First-spike training with learned delays on Yin-Yang, 4-30-3: samples/s, against the floor; accuracy per second.

    python benchmarks/bench_delays.py [--accuracy EPOCHS]

The built-in configurations yin_yang_W30 (weights), yin_yang_WA30 (and axonal delays) and yin_yang_WS30 (and synaptic
delays, one per synapse), float32, one thread, in one run, in turn, each after 20 epochs of training; `Trainer.fit`
without a validation set, everything included. fastAndDeep trains W30 with 14,800 samples/s, measured once with its main
branch (torch on one core, another machine of this kind); it is on no package index, so it is no part of the run.

- floor: what nobody can leave out. W30 and WA30: two multiply-adds per synaptic event, forward and backward (floor.py).
  WS30: in addition every neuron's arrivals are sorted, for 33 neurons a sample.
- `--accuracy 300` trains every network for so many epochs and prints the test accuracy after some seconds of training.

What was learned
----------------
- Without delays 4.5 us a sample, of which 3 are kernels; synaptic delays began at 16.5 us. Of these the forward pass of
  the hidden layer was 7: 240 ns a neuron for four arrivals, most of it the exact decision and the spike time. Deciding
  by plain arithmetic (the value at the end of an interval, the highest peak) and solving the spikes of a sample
  together brought it to 4; all neurons at once, without sorting (kernels/delayed_few.py), to 2.7.
- Exponentials: none per arrival. exp((t + d)/tau) = exp(t/tau) exp(d/tau), and the second factor is a table per batch.
- Backward, rows of three neurons are too short for vectors: neuron by neuron is 1.5 times as fast (2.3 -> 1.5 us).
- All neurons at once, again: the arrivals of a vector of neurons in order by a sorting network, in registers
  (kernels/delayed_few.py), instead of m^2 comparisons of rows: the hidden layer 2.1 -> 1.3 us, of which 0.4 is the
  network and everything up to the decision.
- Of WS30's 8 us a third is Python around the kernels (twice as many arrays to update, the maps of the delays), which
  busy neighbours slow down less.
- Tried in vain: ranks by counting instead of insertion for few arrivals (branch-free, but slower).
"""

from __future__ import annotations

import time

import numpy as np
from common import arguments, finish, medians, print_machine, print_table, significant
from floor import Floor
from numba import njit

from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config
from eventsnn.simulation import simulate
from eventsnn.simulation.parallel import BlockPool

NAMES = ("W30", "WA30", "WS30")
WARM_UP, EPOCHS, N_FLOOR = 20, 4, 5000
FAST_AND_DEEP = 14_800


@njit(nogil=True, error_model="numpy")
def sort_arrivals(offsets, neurons, times, delay, keys):
    """All arrivals of all neurons in order, by insertion; delay (n_post, n_pre)."""
    total = 0.0
    for s in range(offsets.size - 1):
        for n in range(delay.shape[0]):
            m = 0
            for k in range(offsets[s], offsets[s + 1]):
                a = times[k] + delay[n, neurons[k]]
                free = m
                while free > 0 and keys[free - 1] > a:
                    keys[free] = keys[free - 1]
                    free -= 1
                keys[free] = a
                m += 1
            if m:
                total += keys[m // 2]
    return total


def trainer_of(name, epochs):
    config = load_config(f"yin_yang_{name}", {"training.epochs": epochs})
    dataset = build_dataset(config)
    network = build_network(config, dataset.n_inputs, dataset.n_classes)
    return dataset, build_trainer(config, network, threads=1)


def speed(options):
    candidates, trainers = {}, {}
    pool = BlockPool(1)
    for name in NAMES:
        dataset, trainer = trainer_of(name, 100_000)
        trainer.fit(dataset.train, None, WARM_UP, progress=False)
        trainers[name] = trainer
        found = simulate(trainer.network, dataset.train.spikes[:N_FLOOR]).spikes
        floor = Floor(trainer.network.weights, [found["input"], found["hidden"]])
        arrivals = [
            (spikes.offsets, spikes.neurons, spikes.times, np.ascontiguousarray(
                np.broadcast_to(layer.connection.delay, layer.connection.weight.shape).T), np.empty(64))
            for spikes, layer in zip((found["input"], found["hidden"]), trainer.network.layers, strict=True)
        ]  # fmt: skip

        def fit(trainer=trainer, dataset=dataset):
            trainer.fit(dataset.train, None, trainer.epoch + EPOCHS, progress=False)

        def least(name=name, floor=floor, arrivals=arrivals):
            floor.run(pool, with_backward=True)
            if name == "WS30":
                for layer in arrivals:
                    sort_arrivals(*layer)

        candidates["train", name], candidates["floor", name] = fit, least
    seconds = medians(candidates, options.rounds)
    rate = {name: EPOCHS * len(dataset.train) / seconds["train", name] for name in NAMES}
    floors = {name: N_FLOOR / seconds["floor", name] for name in NAMES}
    rows = [
        [
            name, f"{rate[name]:,.0f}", f"{rate[name] / rate['W30']:.2f}", f"{floors[name] / rate[name]:.1f}",
            f"{rate[name] / FAST_AND_DEEP:.1f}", f"{300 * len(dataset.train) / rate[name]:.0f}",
        ]
        for name in NAMES
    ]  # fmt: skip
    print_table(["", "samples/s", "speed / W30", "time / floor", "speed / fastAndDeep", "s for 300 epochs"], rows)
    return {"samples_per_second": {k: significant(v) for k, v in rate.items()},
            "over_W30": {k: significant(v / rate["W30"]) for k, v in rate.items()},
            "time_over_floor": {k: significant(floors[k] / rate[k]) for k in NAMES}}  # fmt: skip


def accuracy(epochs):
    """Test accuracy against seconds of training, tests and their time left out."""
    rows, found = [], {}
    for name in NAMES:
        dataset, trainer = trainer_of(name, epochs)
        seconds, course = 0.0, []
        for stop in range(10, epochs + 1, 10):
            start = time.perf_counter()
            trainer.fit(dataset.train, None, stop, progress=False)
            seconds += time.perf_counter() - start
            course.append((seconds, trainer.evaluate(dataset.test).accuracy))
        at = [next((100 * right for took, right in course if took >= limit), None) for limit in (1, 2, 5, 10)]
        cells = [f"{value:.1f}" if value is not None else "" for value in at]
        rows.append([name, *cells, f"{100 * course[-1][1]:.1f}", f"{seconds:.1f}"])
        found[name] = [(significant(took), right) for took, right in course]
    print_table(["test accuracy after", "1 s", "2 s", "5 s", "10 s", "the end", "s in all"], rows)
    return found


def main() -> None:
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("--accuracy", type=int, metavar="EPOCHS", help="also train for so many epochs")
    options = parser.parse_args()
    print_machine()
    results = speed(options)
    if options.accuracy:
        results["accuracy"] = accuracy(options.accuracy)
    finish("delays", results, options.out)


if __name__ == "__main__":
    main()
