"""Train the ReLU networks that `eventsnn convert` ships for CIFAR-10; needs torch, which the library itself does not.

    python benchmarks/train_cifar10.py vgg5 --data FOLDER_OR_FILE --out runs/cifar10 [--epochs 30] [--threads 2]

Data: what `eventsnn.datasets.load_cifar10` takes. After every epoch a checkpoint goes to OUT/MODEL.pt; a run that was
stopped goes on from there. `export_cifar10.py` writes the npz file of a finished one.

Inputs are pixels / 255, without any other normalisation, so that they are currents and rates as they are. Augmented by
flips and shifts of up to four pixels; AdamW, one cycle of the learning rate, label smoothing 0.1, and the average of
the weights over the last steps is what is kept. On a CPU that has it, the products are in bfloat16.

`cifar10_cnn`  32C5-A2-64C5-A2-64C3-256-10, batch norm after every convolution
`vgg5`         64C3-A2-128C3-128C3-A2-1024-1024-10 without biases or batch norm, with dropout
`vgg16`        32,32,A,64,64,A,128x3,A,256x3,A,256x3 and 512-512-10 with batch norm: half of VGG16's width and a
               narrower head, so that it can be trained on two cores
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

#: name: (epochs, learning rate, weight decay, dropout after convolutions, after linear layers)
RECIPES = {
    "cifar10_cnn": (12, 4e-3, 0.02, 0.0, 0.3),
    "vgg5": (24, 1.2e-3, 0.1, 0.1, 0.4),
    "vgg16": (20, 3e-3, 0.05, 0.0, 0.3),
}
#: share of the average that is left after a step
EMA_DECAY = 0.998


class Dropout(nn.Module):
    """Dropout whose mask compares random bytes: torch's own took 40 % of a training step on two cores."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self._n_dropped = round(256 * p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zero where the byte is below 256 p, the rest scaled up."""
        if not self.training:
            return x
        seeds = np.random.SFC64(int(torch.randint(2**62, ())))
        mask = torch.frombuffer(bytearray(np.random.Generator(seeds).bytes(x.numel())), dtype=torch.uint8)
        keep = (mask >= self._n_dropped).to(x.dtype).mul_(256 / (256 - self._n_dropped))
        return x * keep.as_strided(x.shape, x.stride())


def convolution(n_in: int, n_out: int, width: int, *, norm: bool, drop: float) -> list[nn.Module]:
    """Convolution that keeps the size of the image, [batch norm,] ReLU, dropout."""
    conv = nn.Conv2d(n_in, n_out, width, padding=width // 2, bias=False)
    parts: list[nn.Module] = [conv, nn.BatchNorm2d(n_out)] if norm else [conv]
    return [*parts, nn.ReLU(), *([Dropout(drop)] if drop else [])]


def build(name: str, *, drop_conv: float, drop_linear: float) -> nn.Sequential:
    """The network of that name."""
    if name == "cifar10_cnn":
        plan: list[Any] = [(32, 5), "A", (64, 5), "A", (64, 3)]
        linear, norm, side = [256], True, 8
    elif name == "vgg5":
        plan = [(64, 3), "A", (128, 3), (128, 3), "A"]
        linear, norm, side = [1024, 1024], False, 8
    else:
        widths = [32, 32, "A", 64, 64, "A", 128, 128, 128, "A", 256, 256, 256, "A", 256, 256, 256]
        plan = [entry if entry == "A" else (entry, 3) for entry in widths]
        linear, norm, side = [512, 512], True, 2
    parts: list[nn.Module] = []
    channels = 3
    for entry in plan:
        if entry == "A":
            parts.append(nn.AvgPool2d(2))
        else:
            parts += convolution(channels, entry[0], entry[1], norm=norm, drop=drop_conv)
            channels = entry[0]
    parts.append(nn.Flatten())
    n = channels * side * side
    has_bias = name != "vgg5"
    for size in linear:
        parts += [nn.Linear(n, size, bias=has_bias), nn.ReLU(), Dropout(drop_linear)]
        n = size
    parts.append(nn.Linear(n, 10, bias=has_bias))
    network = nn.Sequential(*parts)
    for part in network:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    nn.init.normal_(network[-1].weight, 0.0, n**-0.5)
    first = network[0]
    if not norm:  # without biases and means to subtract, filters that see contrasts only start better
        with torch.no_grad():
            first.weight -= first.weight.mean(dim=(1, 2, 3), keepdim=True)
            first.weight *= 2
    return network.to(memory_format=torch.channels_last)


def augmented(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Flipped and shifted by up to four pixels, (n, 3, 32, 32)."""
    n = len(images)
    padded = functional.pad(images, (4, 4, 4, 4))
    shift = torch.randint(0, 9, (2, n), generator=rng)
    flip = torch.rand(n, generator=rng) < 0.5
    rows = shift[0][:, None] + torch.arange(32)
    columns = shift[1][:, None] + torch.where(flip[:, None], torch.arange(31, -1, -1), torch.arange(32))
    picked = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)  # channels last


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers, in percent."""
    network.eval()
    right = 0
    with torch.no_grad():
        for low in range(0, len(labels), 500):
            found = network(images[low : low + 500].float() / 255).argmax(1)
            right += int((found == labels[low : low + 500]).sum())
    return 100.0 * right / len(labels)


def load(path: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images uint8 (n, 3, 32, 32) channels last and labels, training and test."""
    file = Path(path)
    if file.suffix == ".npz":
        with np.load(file) as found:
            arrays = [found[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    else:
        from eventsnn.datasets import load_cifar10

        train, test = (load_cifar10(split, path=path) for split in ("train", "test"))
        arrays = [train.images, train.labels, test.images, test.labels]
    images = [torch.from_numpy(np.ascontiguousarray(arrays[k])).permute(0, 3, 1, 2) for k in (0, 2)]
    labels = [torch.from_numpy(arrays[k].astype(np.int64)) for k in (1, 3)]
    return images[0], labels[0], images[1], labels[1]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    epochs, rate, decay, drop_conv, drop_linear = RECIPES[given.model]
    epochs, rate = given.epochs or epochs, given.rate or rate
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"{given.model}.pt"
    x, y, x_test, y_test = load(given.data)
    network = build(given.model, drop_conv=drop_conv, drop_linear=drop_linear)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=True)
    n_batches = len(y) // given.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * n_batches, pct_start=0.2, div_factor=10, final_div_factor=100
    )
    first = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = True
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
        print(f"goes on after epoch {first}")
    for epoch in range(first, epochs):
        rng = torch.Generator().manual_seed(1000 * given.seed + epoch)
        order, start, total = torch.randperm(len(y), generator=rng), time.perf_counter(), 0.0
        network.train()
        for k in range(n_batches):
            chosen = order[k * given.batch : (k + 1) * given.batch]
            images = augmented(x[chosen], rng).float() / 255
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = network(images)
            loss = functional.cross_entropy(scores.float(), y[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += float(loss.detach())
        test = accuracy(average, x_test, y_test)
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch + 1}/{epochs}  loss {total / n_batches:.4f}  test {test:.2f} %  {seconds:.0f} s", flush=True
        )
        state = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1, "test": test}
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)


if __name__ == "__main__":
    main()
