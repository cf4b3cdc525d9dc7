"""Accuracy of a converted network by method and number of steps, soft beside hard reset, for docs/conversion.md.

python benchmarks/bench_conversion_methods.py MODEL [--images 1000] [--steps 8 16 32 64 100] [--data CIFAR10]

Every row is one network and one run: the readout after t steps is a prefix of it. All are converted with the same 500
training images and tested on the same test images, drawn at random. `ms` is the time of an image over all steps on the
threads given, for orientation only: nothing else is measured in turn.

What was learned
----------------
- Behind convolutions a scale per channel halves the steps that are needed, or better, at 1.3 to 1.6 times the spikes.
- Hard reset loses what is above the threshold in every layer. Three layers hide that (MNIST MLP), VGG5 hardly shows it
  from 32 steps on, and of VGG16's right answers fewer than half remain however many the steps.
- SpikeNorm's thresholds, the largest input of any single step, are so high that deep layers hardly spike at first; then
  they need a third of the spikes.
- Calibrating biases gains a few tenths of a percent where few steps have left some; of VGG16 it takes minutes, as every
  layer is calibrated behind all those before it.
"""

from __future__ import annotations

from common import finish, print_machine, print_table  # isort: skip

import argparse
import time
from pathlib import Path
from typing import Any

from bench_conversion import SIZES, data_of, network_of

from eventsnn import convert

#: reset, what is printed, options of `convert`; calibrations and SpikeNorm run as many steps as `--calibration-steps`
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("soft", "percentile 99.9", {}),
    ("soft", "percentile 99.9, potentials calibrated", {"calibrate": "potential"}),
    ("soft", "percentile 99.9, biases calibrated", {"calibrate": "bias"}),
    ("soft", "percentile 99.9, one scale per layer", {"channel_wise": False}),
    ("soft", "maximum", {"method": "max"}),
    ("soft", "SpikeNorm, one scale per layer", {"method": "spike_norm", "channel_wise": False}),
    ("hard", "percentile 99.9", {"reset": "zero"}),
    ("hard", "percentile 99.9, one scale per layer", {"reset": "zero", "channel_wise": False}),
    ("hard", "SpikeNorm, one scale per layer", {"reset": "zero", "method": "spike_norm", "channel_wise": False}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32, 64, 100])
    parser.add_argument("--calibration-steps", type=int, default=64)
    parser.add_argument("--methods", type=int, nargs="+", default=list(range(len(METHODS))), help="rows, from 0")
    parser.add_argument("--data", metavar="PATH", help="CIFAR-10, as load_cifar10 takes it")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="where MODEL.npz lies; else what ships")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the JSON line to this file, too")
    given = parser.parse_args()
    print_machine()
    ann = network_of(given.model, given.weights)
    images, labels, calibration = data_of(given.model, given.data)
    images, labels = images[: given.images], labels[: given.images]
    right = 100 * ann.accuracy(images, labels)
    print(f"{given.model}: {len(images)} test images, ANN {right:.2f} %", flush=True)
    rows, results = [], {}
    for k in given.methods:
        reset, what, options = METHODS[k]
        options = {"n_steps": given.calibration_steps, "n_threads": given.threads, "progress": False, **options}
        spiking = convert(ann, calibration, **options)
        spiking.run(images[:1], 1, progress=False)  # the kernels are compiled
        start = time.perf_counter()
        run = spiking.run(images, max(given.steps), n_threads=given.threads, progress=False)
        took = 1e3 * (time.perf_counter() - start) / len(images)
        found = [100 * float((run.classes(t) == labels).mean()) for t in given.steps]
        spikes = float(run.n_spikes.sum(axis=1).mean())
        results[f"{reset}, {what}"] = {"accuracy": dict(zip(given.steps, found, strict=True)), "spikes": spikes}
        rows.append([f"{reset}, {what}", *(f"{share:.2f}" for share in found), f"{spikes:,.0f}", f"{took:.1f}"])
        print(f"  {rows[-1]}", flush=True)
    print()
    print_table(["reset, scales", *(f"T = {t}" for t in given.steps), "spikes", "ms"], rows)
    finish(f"conversion methods {given.model}", {"ann": right, "methods": results}, given.out)


if __name__ == "__main__":
    main()
