"""Converted networks, float32: images/s and accuracy against SpikingJelly 2.0's ann2snn, on the same weights.

python benchmarks/bench_conversion.py [--peer-python PATH] [--models mnist_mlp mnist_cnn] [--data CIFAR10]

Both convert by the 99.9th percentile of a layer's activations on the same calibration images, give the same pixels in
every step and reset by subtraction. Ours starts with half a threshold, `convert`'s default; the peer has no such
option. `--weights FOLDER` takes other weights than those that ship, as export_cifar10.py writes them; the images of
CIFAR-10 come from `--data`, as `load_cifar10` takes it.

The last table is the cost of a synaptic event of the whole run, beside the same number of additions alone: weight rows
as long as the widest convolution's, drawn at random from as many, 64 to a sum.

What was learned
----------------
- MNIST MLP, 64 steps: 24 times SpikingJelly on one thread (21 on a busy machine); 16 steps: 14 times. MNIST CNN: 4.9
  and 2.9 times, CIFAR-10 CNN at 64 steps 2.9 times, all before sums of weight rows stayed in registers. VGG5 since
  then 10 times; with random weights, which fire more than trained ones, 1.8 before.
- A spike that scatters its patch costs 0.31 to 0.36 ns per synapse, gathering the events of every window 0.05 to 0.07,
  0.03 to 0.05 if one pixel takes sixteen steps before the next: its busiest inputs' weights are then at hand.
- Listing the spikes was half of the MLP's time as long as it went by words of eight flags; masks of 64 halved the rest.
- Multiplying everything out pays where more than about half of the inputs spike: 0.021 ns per product and 0.008 to
  lay out the windows, beside 0.06 per event.
"""

from __future__ import annotations

from common import Peer, arguments, finish, medians, print_machine, print_table, significant, timed  # isort: skip

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from eventsnn import ANN, convert, load_ann
from eventsnn._shipped import data_path
from eventsnn.conversion import AvgPool, Convolution, Flatten, Linear, ReLU
from eventsnn.datasets import load_cifar10
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.weight_rows import add_rows

#: images of a timed round, ours and the peer's; of the accuracy; batch of the peer, the fastest of those tried
SIZES = {
    "mnist_mlp": (2000, 1000, 10_000, 1000),
    "mnist_cnn": (100, 50, 1000, 50),
    "cifar10_cnn": (50, 20, 500, 20),
    "vgg5": (20, 10, 200, 10),
    "vgg16": (10, 10, 100, 10),
}


@kernel
def sum_rows(rows, weight, out):
    """The additions alone: `rows` (n, n_together) of the weights."""
    for r in range(rows.shape[0]):
        add_rows(weight, rows[r], 0, rows.shape[1], 0, 0, out)


def described(ann: ANN) -> dict[str, Any]:
    """The folded network in torch's layouts, for the worker."""
    found: dict[str, Any] = {}
    texts = []
    shapes = [ann.input_shape, *ann.shapes]
    for k, layer in enumerate(ann.layers):
        if isinstance(layer, Convolution):
            texts.append(f"conv {np.ravel(layer.stride)[0]} {np.ravel(layer.padding)[0]}")
            found[f"weight{k}"] = layer.weight.transpose(3, 2, 0, 1)
        elif isinstance(layer, Linear):
            texts.append("linear")
            weight = layer.weight
            before = shapes[k - 1] if k and isinstance(ann.layers[k - 1], Flatten) else (1,)
            if len(before) == 3:  # torch flattens channels first
                weight = weight.reshape(*before, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
            found[f"weight{k}"] = weight.T
        elif isinstance(layer, AvgPool):
            texts.append(f"avg {np.ravel(layer.size)[0]}")
        else:
            texts.append({ReLU: "relu", Flatten: "flatten"}[type(layer)])
        if getattr(layer, "bias", None) is not None:
            found[f"bias{k}"] = layer.bias
    found = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in found.items()}
    return found | {"layers": np.array(texts)}


def data_of(name: str, path: str | None) -> tuple[Any, ...]:
    """Test images (n, height, width, channels) in 0 .. 1, their labels, and calibration images, all in random order."""
    if name.startswith("mnist"):
        with np.load(data_path("mnist.npz")) as file:
            pixels = file["x"][..., None].astype(np.float32) / 255
            train, test, labels = pixels[:60_000], pixels[60_000:], file["y"][60_000:].astype(np.int64)
    else:
        sets = [load_cifar10(split, path=path) for split in ("train", "test")]
        train, test = (own.images.astype(np.float32) / 255 for own in sets)
        labels = sets[1].labels
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(train))[:500]
    order = rng.permutation(len(test))  # some copies of CIFAR-10 are in the order of the classes
    return test[order], labels[order], train[chosen]


def network_of(name: str, weights: Path | None) -> ANN:
    """The trained network that ships or lies in a folder, folded, float32."""
    return load_ann(name if weights is None else weights / f"{name}.npz").folded().astype(np.float32)


def compare(name: str, given: Any) -> dict[str, Any]:
    """One network."""
    ann = network_of(name, given.weights)
    images, labels, calibration = data_of(name, given.data)
    spiking = convert(ann, calibration, channel_wise=False)
    n_own, n_peer, n_right, batch = SIZES[name]
    ann_right = 100 * ann.accuracy(images[:n_right], labels[:n_right])
    result: dict[str, Any] = {"ann_accuracy": ann_right}
    peer = None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz"
        if not given.no_peer:
            planes = {"images": images[:n_right], "calibration": calibration}
            arrays = {key: np.ascontiguousarray(array.transpose(0, 3, 1, 2)) for key, array in planes.items()}
            np.savez(file, labels=labels[:n_right], mode="99.9%", **arrays, **described(ann))
            peer = Peer("peer_conversion_spikingjelly.py", given.peer_python, [str(file), str(batch)])
            peer = None if peer.missing else peer
        rows = []
        for n_steps in given.steps:
            run = spiking.run(images[:n_right], n_steps, progress=False)
            right = {"eventsnn": 100 * float((run.classes() == labels[:n_right]).mean())}
            own = images[:n_own]
            candidates: dict[str, Any] = {"eventsnn": lambda own=own, t=n_steps: spiking.run(own, t, progress=False)}
            if peer is not None:
                right["peer"] = 100 * peer(n_samples=n_right, n_steps=n_steps, right=True) / n_right
                candidates["peer"] = lambda t=n_steps: peer(n_samples=n_peer, n_steps=t)
            seconds = medians(candidates, given.rounds)
            speed = {"eventsnn": n_own / seconds["eventsnn"]}
            if peer is not None:
                speed["peer"] = n_peer / seconds["peer"]
            events = float(run.n_synaptic_events.sum(axis=1).mean())
            row = {"n_steps": n_steps, "images_per_s": speed, "accuracy": right, "synaptic_events": events}
            result[f"T={n_steps}"] = row
            ratio = f"{speed['eventsnn'] / speed['peer']:.1f}" if "peer" in speed else "-"
            nothing = float("nan")
            rates = [f"{speed['eventsnn']:,.0f}", f"{speed.get('peer', nothing):,.0f}", ratio]
            shares = [f"{right['eventsnn']:.2f}", f"{right.get('peer', nothing):.2f}"]
            rows.append([
                n_steps, *rates, *shares, f"{events / 1e6:.2f}", f"{1e9 / speed['eventsnn'] / events:.3f}",
            ])  # fmt: skip
        if peer is not None:
            peer.close()
    print(f"{name}: {n_right} test images, ANN {ann_right:.2f} %\n")
    header = ["T", "images/s", "SpikingJelly", "ratio", "right %", "SpikingJelly", "million additions", "ns each"]
    print_table(header, rows)
    return result


def floor(n_columns: int, n_rows: int, rounds: int) -> float:
    """Seconds per addition of weight rows alone."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    rows, out = rng.integers(0, n_rows, (2000, 64)), np.zeros(n_columns, np.float32)
    sum_rows(rows, weight, out)
    return float(np.median([timed(lambda: sum_rows(rows, weight, out)) for _ in range(rounds)]) / rows.size / n_columns)


def main() -> None:
    parser = arguments(__doc__, rounds=5, peers=True)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["mnist_mlp", "mnist_cnn"])
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64, 100])
    parser.add_argument("--data", metavar="PATH", help="CIFAR-10, as load_cifar10 takes it")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="where MODEL.npz lies; else what ships")
    given = parser.parse_args()
    print_machine()
    results = {name: compare(name, given) for name in given.models}
    floors = {f"{c} x {r}": floor(c, r, 9) for c, r in ((10, 500), (32, 288), (64, 800), (128, 576), (128, 1152))}
    rows = [[shape, f"{1e9 * seconds:.3f}"] for shape, seconds in floors.items()]
    print_table(["additions alone: columns x rows of the weights", "ns each"], rows)
    results["floor_ns"] = {shape: significant(1e9 * seconds) for shape, seconds in floors.items()}
    finish("conversion", results, given.out)


if __name__ == "__main__":
    main()
