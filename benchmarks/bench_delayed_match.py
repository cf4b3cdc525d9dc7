"""What recurrence, delays and time constants are worth in a memory task: test accuracy of `delayed_match`.

    python benchmarks/bench_delayed_match.py [--seeds N] [--epochs N]

The built-in configuration `delayed_match` (two symbols, 100 ms apart; are they the same? Chance is 50 %), and the same
with parts of the network taken away, held fixed or learned. Where time constants or delays are learned there are fewer
hidden neurons, so that no more numbers are learned than without. One run for each seed; mean, least and most.

`eventsnn train delayed_match` is the last one, with 60 hidden neurons and fewer epochs.
"""

from __future__ import annotations

import numpy as np
from common import arguments, finish, print_machine, print_table

from eventsnn.experiments.build import build_dataset, build_network, build_trainer
from eventsnn.experiments.config import load_config

LOOP = {"mean": 0.0, "std": 0.4}
DELAYED = LOOP | {"delay": [0.0, 20e-3]}
#: name: hidden neurons, recurrent connections, what is learned besides the weights
VARIANTS = {
    "no recurrence": (60, None, {}),
    "no recurrence, time constants learned": (57, None, {"tau_mem": 2.0}),
    "recurrence, no delays": (60, LOOP, {}),
    "recurrence, no delays, time constants learned": (59, LOOP, {"tau_mem": 2.0}),
    "recurrence, fixed delays of 0 to 20 ms": (60, DELAYED, {}),
    "recurrence, delays learned": (59, DELAYED, {"delays": 30.0}),
}


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--seeds", type=int, default=3, help="runs of every network (default 3)")
    parser.add_argument("--epochs", type=int, default=30, help="of every run (default 30)")
    options = parser.parse_args()
    print_machine()
    rows, found = [], {}
    for name, (n_hidden, recurrent, learn) in VARIANTS.items():
        accuracies, size, seconds = [], 0, 0.0
        for seed in range(options.seeds):
            overrides = {
                "network.hidden": [n_hidden], "network.recurrent": recurrent,
                "training.learn": {"weights": 1.0} | learn,
                "training.seed": seed, "training.epochs": options.epochs,
            }  # fmt: skip
            config = load_config("delayed_match", overrides)
            dataset = build_dataset(config)
            trainer = build_trainer(config, build_network(config, dataset.n_inputs, dataset.n_classes))
            history = trainer.fit(dataset.train, None, config.training.epochs, progress=False)
            seconds += sum(epoch.seconds for epoch in history)
            accuracies.append(100 * trainer.evaluate(dataset.test).accuracy)
            size = sum(array.size for array in trainer.state_dict()["weights"].values())
        mean, low, high = np.mean(accuracies), min(accuracies), max(accuracies)
        found[name] = accuracies
        rows.append([name, size, f"{mean:.1f}", f"{low:.1f} .. {high:.1f}", f"{seconds / options.seeds:.0f}"])
        print(*rows[-1], sep="   ", flush=True)
    print()
    print_table(["network", "learned numbers", "test accuracy [%]", "range", "s per run"], rows)
    finish("delayed_match", {"test_accuracy": found, "epochs": options.epochs}, options.out)


if __name__ == "__main__":
    main()
