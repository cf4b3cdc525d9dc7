"""Latency-coded MNIST on a time grid, 784-128-10, float32: speed, memory and gradients against dense torch.

python benchmarks/bench_surrogate_latency.py [--peer-python PATH]
"""

from __future__ import annotations

from surrogate_networks import compare

if __name__ == "__main__":
    compare("latency", __doc__, [1, 20])
