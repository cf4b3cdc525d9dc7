"""Rate-coded MNIST on a time grid, 784-1000-10, float32: speed, memory and gradients against snnTorch 1.0.

python benchmarks/bench_surrogate_rate.py [--peer-python PATH]
"""

from __future__ import annotations

from surrogate_networks import compare

if __name__ == "__main__":
    compare("rate", __doc__, [1])
