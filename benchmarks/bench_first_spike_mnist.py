"""First-spike training and inference of MNIST, 784-350-10, float32: samples/s, against the floor and a dense network.

    python benchmarks/bench_first_spike_mnist.py [--peer-python PATH]

All of it on one thread and on two, in one run, in turn:

- eventsnn: the built-in configuration `mnist` (its encoding, initial weights, batch size, loss and optimiser) after one
  epoch on real MNIST, so that as many neurons fire as in use. Training is `Trainer.fit` without a validation set,
  wall-clock, everything included; inference is `Trainer.predict`.
- floor: only the two multiply-adds per synaptic event, over the same spikes of both layers (floor.py); no optimiser.
- dense: the ReLU network 784-350-10 in torch with fused Adam, batch 128, inference in batches of 1000.

What was learned
----------------
- Activity decides the cost, so the network has to be trained first and the number of hidden spikes is printed: between
  two initialisations it differed by a factor of 1.7.
- On a machine where something else runs, torch on two threads falls to a few hundred samples/s, because its threads
  wait for each other in a spin. A ratio with two threads means something only when nothing is said to be busy; with
  `--threads 1` ratios survive more.
- Where the time goes on one thread (us a sample, 45 in all): forward of both layers 21, of which 5 without any spike,
  then 20 ns to find a hidden spike, 8 to solve and record it and 12 to sort it; backward 9; peaks of silent neurons 4;
  factors of the events 2; noise and its sorting 3; Adam 2. What is left is Python and NumPy around the kernels, per
  block of samples.
- Four vectors of neurons at a time through all events, with their coefficients in registers (`kernels/first_spikes`,
  `kernels/rank_two`): the hidden layer's backward 7.4 -> 4.3 us, the output layer's forward 4.8 -> 3.0, the hidden
  layer's forward hardly (what it saves in replaying it loses in mispredicted branches).
- In the forward kernel reference counting was half the time (row views, tuples of arrays passed on) and, between
  kernels, still a tenth: they are now compiled without it. Then the search for flagged neurons (an index that may be
  negative does not vectorise), sorting (buckets: 45 -> 5 ns a spike) and the logarithms (vectorised: 22 -> 3 ns).
- Tried in vain: leaving the registers for every neuron that may have crossed (a third slower: a scalar store that a
  vector load waits for, and a branch that goes wrong every other time); now such events are noted and looked at after.
- The dense network is the hard reference on purpose: a dense product of this shape costs 10 us a sample, and 19 % of
  active inputs save it only four fifths of that.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import Peer, arguments, finish, medians, print_machine, print_table, significant
from floor import Floor

from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config
from eventsnn.simulation import simulate
from eventsnn.simulation.parallel import BlockPool

N_TRAIN, N_TEST, N_FLOOR = 6400, 10_000, 1280


def main() -> None:
    parser = arguments(__doc__, rounds=7, peers=True)
    parser.add_argument("--warm-up-samples", type=int, default=55_000, help="training before measuring, in samples")
    options = parser.parse_args()
    print_machine()

    # noise on the times, but all input spikes, which the floor has too
    settings = {"time_noise": 0.8, "input_dropout": 0.0, "image_shift": 0, "dtype": "float32", "epochs": 10_000}
    config = load_config("mnist", {f"training.{key}": value for key, value in settings.items()})
    dataset = build_dataset(config)
    network = build_network(config, dataset.n_inputs, dataset.n_classes)
    trainer = build_trainer(config, network, threads=2)
    trainer.fit(dataset.train[: options.warm_up_samples], None, 1, progress=False)
    accuracy = trainer.evaluate(dataset.valid).accuracy
    train, test = dataset.train[:N_TRAIN], dataset.test.spikes[:N_TEST]
    sample = simulate(trainer.network, train.spikes[:N_FLOOR]).spikes
    n_hidden = sample["hidden"].n_events / N_FLOOR
    floor = Floor(trainer.network.weights, [sample["input"], sample["hidden"]])
    print(
        f"784-{network.layers[0].n_neurons}-10 after {trainer.history[0].epoch} epoch: validation accuracy "
        f"{100 * accuracy:.1f} %, {sample['input'].n_events / N_FLOOR:.0f} input and {n_hidden:.0f} hidden spikes a "
        f"sample; medians of {options.rounds} rounds\n"
    )

    pools = {threads: BlockPool(threads) for threads in options.threads}
    counts = {}
    candidates = {}

    def add(name, threads, n_samples, work):
        candidates[name, threads] = work
        counts[name, threads] = n_samples

    def fit(threads):
        trainer.n_threads = threads
        trainer.fit(train, None, trainer.epoch + 1, progress=False)

    def predict(threads):
        trainer.n_threads = threads
        trainer.predict(test)

    peer = None
    if not options.no_peer:
        folder = tempfile.TemporaryDirectory()
        file = Path(folder.name) / "mnist.npz"
        np.savez(
            file, train=dataset.train.values[:N_TRAIN], labels=dataset.train.labels[:N_TRAIN],
            test=dataset.test.values[:N_TEST], n_hidden=network.layers[0].n_neurons,
        )  # fmt: skip
        peer = Peer("peer_dense_torch.py", options.peer_python, [str(file)])
    for threads in options.threads:
        pool = pools[threads]
        add("train", threads, N_TRAIN, lambda threads=threads: fit(threads))
        add("inference", threads, N_TEST, lambda threads=threads: predict(threads))
        add("floor train", threads, N_FLOOR, lambda pool=pool: floor.run(pool, with_backward=True))
        add("floor inference", threads, N_FLOOR, lambda pool=pool: floor.run(pool, with_backward=False))
        if peer is not None and peer.missing is None:
            for kind, n in (("train", N_TRAIN), ("inference", N_TEST)):
                add(
                    f"dense {kind}", threads, n,
                    lambda kind=kind, threads=threads, n=n: peer(kind=kind, threads=threads, n_samples=n),
                )  # fmt: skip
    seconds = medians(candidates, options.rounds)
    rate = {key: counts[key] / seconds[key] for key in seconds}
    if peer is not None:
        peer.close()

    rows, ratios, faster = [], {}, {}
    for kind in ("train", "inference"):
        for threads in options.threads:
            own, least = rate[kind, threads], rate[f"floor {kind}", threads]
            dense = rate.get((f"dense {kind}", threads))
            ratios[f"{kind}_{threads}_time_over_floor"] = significant(least / own)
            if dense:
                ratios[f"{kind}_{threads}_speed_over_dense"] = significant(own / dense)
            rows.append([
                f"{kind}, {threads} thread{'s' * (threads > 1)}", f"{own:,.0f}", f"{least:,.0f}", f"{least / own:.2f}",
                f"{dense:,.0f}" if dense else "not measured", f"{own / dense:.2f}" if dense else "",
            ])  # fmt: skip
        if {1, 2} <= set(options.threads):
            ratios[f"{kind}_two_threads_over_one"] = significant(rate[kind, 2] / rate[kind, 1])
            faster[kind] = f"{kind}: two threads {rate[kind, 2] / rate[kind, 1]:.2f} times one"
    print_table(
        ["samples/s", "eventsnn", "floor", "time / floor", "dense torch", "speed / dense"],
        rows,
    )
    per_event = seconds["floor inference", options.threads[0]] * options.threads[0] / floor.n_synaptic_events * 1e9
    print(f"floor: {per_event:.3f} ns per synaptic event forward and thread")
    print("\n".join(faster.values()))
    results = {
        "samples_per_second": {f"{name}, {threads}": significant(value) for (name, threads), value in rate.items()},
        "ratios": ratios,
        "activity": {"input_spikes": sample["input"].n_events / N_FLOOR, "hidden_spikes": n_hidden},
        "validation_accuracy": accuracy,
        "peer": (peer.missing or peer.info) if peer is not None else "left out",
    }
    finish("first_spike_mnist", results, options.out)


if __name__ == "__main__":
    main()
