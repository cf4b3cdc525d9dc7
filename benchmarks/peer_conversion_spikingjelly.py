"""Worker: a converted network in SpikingJelly 2.0's ann2snn. Started by bench_conversion.py.

    python benchmarks/peer_conversion_spikingjelly.py FILE.npz BATCH

FILE.npz holds `layers`, one text per layer of a torch `Sequential` ("conv stride padding", "avg size", "relu",
"flatten", "linear"), weight<k> and bias<k> in torch's layout of the k-th, images (n, channels, height, width), labels,
calibration images, and `mode`, the recipe's statistic ("99.9%", "max").

Rate coding as in the project's own example: the same image in every step, outputs summed up. The work {"n_samples",
"n_steps"} answers with seconds; with "right": true it answers with the number of right decisions instead.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from common_worker import serve
from spikingjelly.activation_based import ann2snn, functional
from torch import nn

torch.set_num_threads(1)
data = np.load(sys.argv[1])
BATCH = int(sys.argv[2])


def network() -> nn.Sequential:
    parts: list[nn.Module] = []
    for k, text in enumerate(data["layers"]):
        kind, *numbers = str(text).split()
        if kind in ("conv", "linear"):
            weight = torch.from_numpy(data[f"weight{k}"])
            bias = torch.from_numpy(data[f"bias{k}"]) if f"bias{k}" in data else None
            if kind == "conv":
                stride, padding = map(int, numbers)
                part: nn.Module = nn.Conv2d(
                    weight.shape[1], weight.shape[0], weight.shape[2:], stride, padding, bias=bias is not None
                )
            else:
                part = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
            part.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
        else:
            part = {"relu": nn.ReLU, "flatten": nn.Flatten}[kind]() if not numbers else nn.AvgPool2d(int(numbers[0]))
        parts.append(part)
    return nn.Sequential(*parts).eval()


images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
calibration = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(torch.from_numpy(data["calibration"])), batch_size=100
)
recipe = ann2snn.RateCodingRecipe(dataloader=calibration, mode=str(data["mode"]))
converted = ann2snn.Converter(recipe).convert(network())


def run(n_samples: int, n_steps: int) -> torch.Tensor:
    """Summed outputs."""
    found = []
    with torch.no_grad():
        for low in range(0, n_samples, BATCH):
            batch = images[low : min(low + BATCH, n_samples)]
            functional.reset_net(converted)
            total = converted(batch)
            for _ in range(n_steps - 1):
                total = total + converted(batch)
            found.append(total)
    return torch.cat(found)


def work(n_samples: int, n_steps: int, right: bool = False) -> float:
    start = time.perf_counter()
    outputs = run(n_samples, n_steps)
    if right:
        return float((outputs.argmax(1) == labels[:n_samples]).sum())
    return time.perf_counter() - start


serve({"torch": torch.__version__, "spikingjelly": version("spikingjelly")}, work)
