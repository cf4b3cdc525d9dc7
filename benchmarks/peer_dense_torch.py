"""Worker: the dense ReLU network 784-350-10 in torch, cross-entropy, fused Adam. Started by bench_first_spike_mnist.py.

Data stand ready as float32 tensors; a batch is an index_select. No data loader: it would be most of the time.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from common_worker import serve

data = np.load(sys.argv[1])
BATCH, BATCH_INFERENCE = 128, 1000

torch.manual_seed(0)
values, labels = torch.from_numpy(data["train"]), torch.from_numpy(data["labels"])
test = torch.from_numpy(data["test"])
n_hidden = int(data["n_hidden"])
network = torch.nn.Sequential(
    torch.nn.Linear(values.shape[1], n_hidden), torch.nn.ReLU(), torch.nn.Linear(n_hidden, 10)
)  # fmt: skip
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
loss_function = torch.nn.CrossEntropyLoss()


def work(kind: str, threads: int, n_samples: int) -> float:
    torch.set_num_threads(threads)
    order = torch.randperm(len(values))[:n_samples]
    start = time.perf_counter()
    if kind == "train":
        for chosen in order.split(BATCH):
            optimizer.zero_grad(set_to_none=False)
            loss_function(network(values[chosen]), labels[chosen]).backward()
            optimizer.step()
    else:
        with torch.inference_mode():
            for k in range(0, n_samples, BATCH_INFERENCE):
                network(test[k : k + BATCH_INFERENCE]).argmax(1)
    return time.perf_counter() - start


serve({"torch": torch.__version__}, work)
