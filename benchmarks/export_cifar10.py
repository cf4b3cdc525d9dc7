"""Checkpoints of train_cifar10.py as model files of eventsnn; needs torch.

    python benchmarks/export_cifar10.py vgg5 --checkpoint runs/cifar10/vgg5.pt --data FOLDER_OR_FILE [--out data]

Takes the averaged weights, folds batch norm, drops dropout, and writes OUT/MODEL.npz (`ANN.save`, weights in float16).
Weights are rounded to multiples of a power of two, about `--steps` of them to the root mean square of an output's
weights (`round_weights`; 0 leaves them as they are), so that the file compresses. Prints the accuracy on the test
images before folding (torch), after, and as stored, and the file's size and sha256. Data: what `load_cifar10` takes.

A checkpoint is read with weights_only=True: nothing in it is run.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from train_cifar10 import RECIPES, Dropout, accuracy, build

from eventsnn import ann_from_torch
from eventsnn.conversion import ANN, round_weights
from eventsnn.datasets import load_cifar10


def averaged(name: str, checkpoint: Path) -> tuple[nn.Sequential, int]:
    """The network with the averaged weights of a checkpoint, and the epochs that it was trained."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    weights = {key.removeprefix("module."): v for key, v in state["average"].items() if key.startswith("module.")}
    network = build(name, drop_conv=RECIPES[name][3], drop_linear=RECIPES[name][4])
    network.load_state_dict(weights)
    for k, part in enumerate(network):
        if isinstance(part, Dropout):
            network[k] = nn.Identity()
    return network.eval(), state["epoch"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--steps", type=float, default=32.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"{given.model}.npz"
    network, n_epochs = averaged(given.model, given.checkpoint)
    ann = ann_from_torch(network, (32, 32, 3)).folded()
    stored = round_weights(ann, given.steps) if given.steps else ann
    stored.save(file, dtype=np.float16)

    test = load_cifar10("test", path=given.data)
    values = test.values()
    pixels = torch.from_numpy(test.images).permute(0, 3, 1, 2)
    print(f"{given.model}: {n_epochs} epochs, {len(test)} test images of {test.origin}")
    print(f"torch    {accuracy(network, pixels, torch.from_numpy(test.labels)):.2f} %")
    for what, candidate in (("folded", ann), ("stored", ANN.load(file))):
        print(f"{what}   {100 * candidate.accuracy(values, test.labels):.2f} %")
    n_weights = sum(layer.weight.size for layer in ann.layers if hasattr(layer, "weight"))
    size = file.stat().st_size
    print(f"{file}: {size / 1e6:.2f} MB, {8 * size / n_weights:.2f} bits a weight")
    print(f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
