"""Train the two ReLU networks that ship for MNIST; needs torch, which the library itself does not.

    python benchmarks/train_mnist_ann.py mnist_mlp mnist_cnn --out FOLDER [--seed 0] [--threads 1]

`mnist_mlp`  784-500-10
`mnist_cnn`  32C3-A2-32C3-A2-32C3-A2-10 without padding, batch norm after every convolution (folded when it is written)

Inputs are pixels / 255, without any other normalisation, so that they are currents and rates as they are. Trained on
all 60,000 training images, shifted by up to two pixels; AdamW (its weight decay keeps single activations from growing
far beyond the others, which would cost the converted network its resolution), one cycle of the learning rate, and the
average of the weights over the last steps is what is kept; the products of the CNN are in bfloat16, which is three
times faster on a CPU that has it. The test images are looked at once, at the end.

Writes FOLDER/NAME.npz (`ANN.save`, float16) and prints its accuracy as it is stored and its sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from eventsnn import Currents, ann_from_torch
from eventsnn.conversion import ANN
from eventsnn.datasets import load_mnist

#: name: (epochs, learning rate, weight decay)
RECIPES = {"mnist_mlp": (30, 2e-3, 0.1), "mnist_cnn": (20, 6e-3, 0.05)}
#: share of the average that is left after a step
EMA_DECAY = 0.998
BATCH = 128
SHIFT = 2  # pixels


def build(name: str) -> nn.Sequential:
    """The network of that name."""
    if name == "mnist_mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Dropout(0.2), nn.Linear(500, 10))
    parts: list[nn.Module] = []
    for channels in (1, 32, 32):
        norm = nn.BatchNorm2d(32)
        parts += [nn.Conv2d(channels, 32, 3, bias=False), norm, nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32, 10))


def shifted(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Each image (n, 1, 28, 28) moved by up to SHIFT pixels along both axes."""
    n = len(images)
    padded = functional.pad(images[:, 0], (SHIFT, SHIFT, SHIFT, SHIFT))
    shift = torch.randint(0, 2 * SHIFT + 1, (2, n, 1), generator=rng)
    rows, columns = shift + torch.arange(28)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def train(name: str, x: torch.Tensor, y: torch.Tensor, seed: int) -> nn.Sequential:
    """The trained network, with averaged weights, ready for inference."""
    epochs, rate, decay = RECIPES[name]
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = build(name).to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    n_batches = len(y) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * n_batches, pct_start=0.2, div_factor=10, final_div_factor=100
    )
    network.train()
    for epoch in range(epochs):
        order, start, total = torch.randperm(len(y), generator=rng), time.perf_counter(), 0.0
        for k in range(n_batches):
            chosen = order[k * BATCH : (k + 1) * BATCH]
            images = shifted(x[chosen], rng).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "mnist_cnn"):
                scores = network(images)
            loss = functional.cross_entropy(scores.float(), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += float(loss.detach())
        seconds = time.perf_counter() - start
        print(f"{name}  epoch {epoch + 1}/{epochs}  loss {total / n_batches:.4f}  {seconds:.0f} s", flush=True)
    return average.module.eval()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    data = load_mnist(encode=Currents, n_valid=0)
    assert data.train.values is not None
    assert data.test.values is not None
    x = torch.from_numpy(data.train.values.reshape(-1, 1, 28, 28))
    for name in given.models:
        network = train(name, x, torch.from_numpy(data.train.labels), given.seed)
        file = given.out / f"{name}.npz"
        ann_from_torch(network, (28, 28, 1)).folded().save(file, dtype=np.float16)
        accuracy = ANN.load(file).accuracy(data.test.values, data.test.labels)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"{name}: {100 * accuracy:.2f} % of the test images, {file}, sha256 {sha256}")


if __name__ == "__main__":
    main()
