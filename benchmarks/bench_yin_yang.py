"""First-spike training and inference of Yin-Yang, 5-120-3, float32: samples/s, against the floor and jaxsnn.

    python benchmarks/bench_yin_yang.py [--peer-python PATH]

- eventsnn: the built-in configuration `yin_yang` (4 inputs and a bias) with 120 hidden neurons, after 20 epochs;
  `Trainer.fit` without a validation set and `Trainer.predict`, wall-clock, on one thread and two
- floor: only the two multiply-adds per synaptic event (floor.py)
- jaxsnn 0.3.0: its event-based Yin-Yang examples, "eventprop" and "analytical", with 120 hidden neurons, on one core

What was learned
----------------
- 5 inputs are next to nothing: nearly every hidden neuron fires, and solving those spikes and the 120 x 3 events of the
  output layer cost more than the floor of the accumulation can show. Here the floor is a bound, not an aim.
- jaxsnn's examples run one compiled scan per epoch, so its data loader and Python cost nothing in these figures; its
  event-prop example has room for every hidden spike, its analytical one for 50 events only.
"""

from __future__ import annotations

from common import Peer, arguments, finish, medians, print_machine, print_table, significant
from floor import Floor

from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config
from eventsnn.simulation import simulate
from eventsnn.simulation.parallel import BlockPool

METHODS = ("eventprop", "analytical")
WARM_UP_EPOCHS = 20
#: samples/s on another machine (Xeon with AVX-512, one core, November 2026), for when jaxsnn is not installed
RECORDED = "recorded elsewhere, one core: training 3,320 (event-prop, 120 hidden), 2,930 (analytical, 100 hidden)"


def main() -> None:
    options = arguments(__doc__, rounds=7, peers=True).parse_args()
    print_machine()
    config = load_config("yin_yang", {"training.dtype": "float32", "training.epochs": 100_000, "network.hidden": [120]})
    dataset = build_dataset(config)
    trainer = build_trainer(config, build_network(config, dataset.n_inputs, dataset.n_classes), threads=1)
    trainer.fit(dataset.train, None, WARM_UP_EPOCHS, progress=False)
    accuracy = trainer.evaluate(dataset.test).accuracy
    spikes = simulate(trainer.network, dataset.train.spikes).spikes
    floor = Floor(trainer.network.weights, [spikes["input"], spikes["hidden"]])
    n_train, n_test = len(dataset.train), len(dataset.test)
    n_hidden = spikes["hidden"].n_events / n_train
    print(
        f"{trainer.network!r} after {WARM_UP_EPOCHS} epochs: test accuracy {100 * accuracy:.1f} %, "
        f"{n_hidden:.0f} hidden spikes a sample; medians of {options.rounds} rounds\n"
    )

    def fit(threads):
        trainer.n_threads = threads
        trainer.fit(dataset.train, None, trainer.epoch + 1, progress=False)

    def predict(threads):
        trainer.n_threads = threads
        for _ in range(5):
            trainer.predict(dataset.test.spikes)

    candidates, counts = {}, {}
    pools = {threads: BlockPool(threads) for threads in options.threads}
    for threads, pool in pools.items():
        candidates["train", threads] = lambda threads=threads: fit(threads)
        candidates["inference", threads] = lambda threads=threads: predict(threads)
        candidates["floor train", threads] = lambda pool=pool: floor.run(pool, with_backward=True)
        candidates["floor inference", threads] = lambda pool=pool: floor.run(pool, with_backward=False)
        counts |= {("train", threads): n_train, ("inference", threads): 5 * n_test}
        counts |= {("floor train", threads): n_train, ("floor inference", threads): n_train}
    peers = {}
    if not options.no_peer:
        peers = {method: Peer("peer_yin_yang_jaxsnn.py", options.peer_python, [method]) for method in METHODS}
    for method, peer in peers.items():
        if peer.missing is None:
            for kind in ("train", "inference"):
                candidates[f"{method} {kind}", 1] = lambda peer=peer, kind=kind: peer(kind=kind)
                counts[f"{method} {kind}", 1] = peer.info["n_samples"]
    seconds = medians(candidates, options.rounds)
    for peer in peers.values():
        peer.close()
    rate = {name: counts[name] / took for name, took in seconds.items()}

    rows, ratios, faster = [], {}, {}
    for kind in ("train", "inference"):
        for threads in options.threads:
            own, least = rate[kind, threads], rate[f"floor {kind}", threads]
            row = [f"{kind}, {threads} thread{'s' * (threads > 1)}", f"{own:,.0f}", f"{least:,.0f}"]
            ratios[f"{kind}_{threads}_time_over_floor"] = significant(least / own)
            for method in METHODS:
                other = rate.get((f"{method} {kind}", threads))
                row += [f"{other:,.0f}" if other else "-", f"{own / other:.1f}" if other else "-"]
                if other:
                    ratios[f"{kind}_{threads}_speed_over_jaxsnn_{method}"] = significant(own / other)
            rows.append(row)
        if {1, 2} <= set(options.threads):
            ratios[f"{kind}_two_threads_over_one"] = significant(rate[kind, 2] / rate[kind, 1])
            faster[kind] = f"{kind}: two threads {rate[kind, 2] / rate[kind, 1]:.2f} times one"
    header = ["samples/s", "eventsnn", "floor"]
    for method in METHODS:
        header += [f"jaxsnn {method}", "speed / it"]
    print_table(header, rows)
    print("\n".join(faster.values()))
    measured = [method for method, peer in peers.items() if peer.missing is None]
    if len(measured) < len(METHODS):
        print(f"jaxsnn {', '.join(set(METHODS) - set(measured))}: not measured here; {RECORDED}")
    results = {
        "samples_per_second": {f"{name}, {threads}": significant(value) for (name, threads), value in rate.items()},
        "ratios": ratios,
        "activity": {"hidden_spikes": n_hidden},
        "test_accuracy": accuracy,
        "peer": {method: peer.missing or peer.info for method, peer in peers.items()} or "left out",
    }
    finish("yin_yang", results, options.out)


if __name__ == "__main__":
    main()
