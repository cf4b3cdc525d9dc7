"""Train the ReLU networks that `eventsnn convert` ships for CIFAR-10; needs torch, which the library itself does not.

    python benchmarks/train_cifar10.py vgg5 --data FOLDER_OR_FILE --out runs/cifar10 [--epochs 30] [--threads 2]
    python benchmarks/train_cifar10.py vgg5 --data FOLDER_OR_FILE --start data/vgg5.npz

Data: what `eventsnn.datasets.load_cifar10` takes. After every epoch a checkpoint goes to OUT/MODEL.pt; a run that was
stopped goes on from there. `--start` begins another cycle from the weights of a shipped network, behind which batch
norm is put back in (`start_from`). `export_cifar10.py` writes the npz file of a finished one.

Inputs are pixels / 255, without any other normalisation, so that they are currents and rates as they are. Augmented by
flips, shifts of up to four pixels and, by `--cutout`, a grey square; one cycle of the learning rate, label smoothing
0.1, and the average of the weights over the last steps is what is kept. Convolutions learn by Muon, the rest by AdamW
(Muon would take as long as the rest of a step for the widest linear layer of `vgg5`). On a CPU that has it, the
products are in bfloat16.

The weights that ship were trained in several cycles, each but the first with `--start`: `vgg5` 24 epochs (AdamW for
all, with dropout 0.1 behind convolutions: 83.6 % of the test images), then 20 (86.9 %); `vgg16` 20 (AdamW, 86.8 %), 16
(`--batch 256`, 88.2 %) and 28 (`--batch 256 --cutout 12 --seed 2`, 89.8 %). An epoch takes about two minutes on two
cores of an AMD EPYC (Zen 4).

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
    "vgg5": (24, 1.2e-3, 0.1, 0.0, 0.4),
    "vgg16": (20, 3e-3, 0.05, 0.0, 0.3),
}
#: learning rate of Muon over that of AdamW (both per root mean square of an update)
MUON_RATE = 2.0
#: what `--cutout` fills squares with, about the mean of all pixels
GREY = 120
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


def start_from(network: nn.Sequential, file: Path, images: torch.Tensor) -> None:
    """Give it the weights of a file of `export_cifar10.py`; `images` are for the means and variances of batch norm.

    Batch norm is folded there. Put back in, a convolution's filters get one length (which batch norm does not see),
    and scale and shift are those with which it computes what the file's convolution and bias did.
    """
    from eventsnn.conversion import ANN, Convolution, Linear

    stored = iter([layer for layer in ANN.load(file).layers if isinstance(layer, Convolution | Linear)])
    h = images.float() / 255
    planes = h.shape[1:]
    network.eval()
    with torch.no_grad():
        for k, part in enumerate(network):
            if isinstance(part, nn.Conv2d):
                layer = next(stored)
                part.weight.copy_(torch.from_numpy(np.array(layer.weight, np.float32)).permute(3, 2, 0, 1))
            elif isinstance(part, nn.BatchNorm2d):
                conv = network[k - 1]
                length = conv.weight.flatten(1).norm(dim=1)
                scale = 2**0.5 / length  # the length that the initialisation has
                conv.weight *= scale[:, None, None, None]
                h = h * scale[:, None, None]
                part.running_mean.copy_(h.mean((0, 2, 3)))
                part.running_var.copy_(h.var((0, 2, 3)))
                part.weight.copy_((part.running_var + part.eps).sqrt() / scale)
                part.bias.copy_(torch.from_numpy(np.array(layer.bias, np.float32)) + part.running_mean / scale)
            elif isinstance(part, nn.Linear):
                layer = next(stored)
                weight = torch.from_numpy(np.array(layer.weight, np.float32)).T
                if isinstance(network[k - 1], nn.Flatten):  # the file's pixels are channel-last
                    channels, rows, columns = planes
                    weight = weight.reshape(-1, rows, columns, channels).permute(0, 3, 1, 2).flatten(1)
                part.weight.copy_(weight)
                if part.bias is not None:
                    part.bias.copy_(torch.from_numpy(np.array(layer.bias, np.float32)))
            planes, h = h.shape[1:], part(h)


class Optimizers:
    """Muon for the convolutions, AdamW for the rest, both on one cycle of the learning rate."""

    def __init__(self, network: nn.Module, rate: float, decay: float, n_steps: int) -> None:
        weights = [part.weight for part in network.modules() if isinstance(part, nn.Conv2d)]
        # Muon takes matrices: views of the same memory, which is channel-last
        self._filters = [(w, nn.Parameter(w.data.permute(0, 2, 3, 1).flatten(1))) for w in weights]
        assert all(w.data_ptr() == view.data_ptr() for w, view in self._filters)
        rest = [p for p in network.parameters() if all(p is not w for w in weights)]
        groups = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ]
        views = [view for _, view in self._filters]
        self._parts = [
            torch.optim.AdamW(groups, fused=True),
            torch.optim.Muon(views, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        ]
        self._schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                part,
                peak,
                total_steps=n_steps,
                pct_start=0.2,
                div_factor=10,
                final_div_factor=100,
                cycle_momentum=False,
            )
            for part, peak in zip(self._parts, (rate, MUON_RATE * rate), strict=True)
        ]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad()
        for weight, _ in self._filters:
            weight.grad = None

    def step(self) -> None:
        """One update, and the next learning rate."""
        for weight, view in self._filters:
            view.grad = weight.grad.permute(0, 2, 3, 1).flatten(1)
        for part in self._parts + self._schedules:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of both and of their schedules."""
        return [part.state_dict() for part in self._parts + self._schedules]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Go on from there."""
        for part, state in zip(self._parts + self._schedules, states, strict=True):
            part.load_state_dict(state)
        for group in self._parts[0].param_groups:
            group["fused"] = True


def augmented(images: torch.Tensor, rng: torch.Generator, cutout: int) -> torch.Tensor:
    """Flipped and shifted by up to four pixels, and a square of that side made grey, (n, 3, 32, 32)."""
    n = len(images)
    padded = functional.pad(images, (4, 4, 4, 4))
    shift = torch.randint(0, 9, (2, n), generator=rng)
    flip = torch.rand(n, generator=rng) < 0.5
    rows = shift[0][:, None] + torch.arange(32)
    columns = shift[1][:, None] + torch.where(flip[:, None], torch.arange(31, -1, -1), torch.arange(32))
    picked = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if cutout:
        centre = torch.randint(0, 32, (2, n, 1), generator=rng)
        place = torch.arange(32) - centre + cutout // 2
        rows, columns = (place >= 0) & (place < cutout)
        picked[rows[:, :, None] & columns[:, None, :]] = GREY
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
    parser.add_argument("--start", type=Path, help="a network that eventsnn ships, to begin with its weights")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--cutout", type=int, default=0, help="side of a grey square in every image")
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
    if given.start and not file.exists():
        start_from(network, given.start, x[:: len(x) // 2000])
        print(f"starts from {given.start}, test {accuracy(network, x_test, y_test):.2f} %", flush=True)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    n_batches = len(y) // given.batch
    optimizer = Optimizers(network, rate, decay, epochs * n_batches)
    first = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
        print(f"goes on after epoch {first}")
    for epoch in range(first, epochs):
        rng = torch.Generator().manual_seed(1000 * given.seed + epoch)
        order, start, total = torch.randperm(len(y), generator=rng), time.perf_counter(), 0.0
        network.train()
        for k in range(n_batches):
            chosen = order[k * given.batch : (k + 1) * given.batch]
            images = augmented(x[chosen], rng, given.cutout).float() / 255
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = network(images)
            loss = functional.cross_entropy(scores.float(), y[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            average.update_parameters(network)
            total += float(loss.detach())
        test = accuracy(average, x_test, y_test)
        seconds = time.perf_counter() - start
        print(
            f"epoch {epoch + 1}/{epochs}  loss {total / n_batches:.4f}  test {test:.2f} %  {seconds:.0f} s", flush=True
        )
        state = {"network": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"epoch": epoch + 1, "test": test}
        torch.save(state, file.with_suffix(".tmp"))
        file.with_suffix(".tmp").replace(file)


if __name__ == "__main__":
    main()
