"""Rate-coded MNIST on a time grid, 784-1000-10, float32: speed, memory and gradients against snnTorch 1.0.

python benchmarks/bench_surrogate_rate.py [--peer-python PATH]

Leaky units (beta 0.95, reset by subtraction one step later, arctan surrogate), the same image in each of 25 steps,
cross-entropy of the output membrane summed over the steps, Adam 5e-4, batch 128. Otherwise as
bench_surrogate_latency.py.

What was learned
----------------
- In float64 all spikes are those of snnTorch, and gradients differ by 2e-15 to 4e-15 of the largest. In float32 none to
  four of 290,000 spikes differ, where a potential meets the threshold within rounding; with four, gradients differ by
  0.3 %.
- snnTorch's surrogate returns float32 spikes for every input, so its gradients in float64 need one written out.
- snnTorch takes the product with the first weights in every step; ours once, since the image does not change.
- With 784,000 weights a copy of them, of their gradient and of Adam's state is most of our memory, and the batch
  hardly any: four times 3 MiB are more than a twentieth of snnTorch's peak, which is 60 or 120 MiB from process to
  process; hence the median of five.
- All steps of two vectors of neurons in registers (kernels/grid_tiles), and spikes packed as bits, and listed only
  where somebody goes by the list: training from 8.5 times snnTorch's speed to 12 and more, inference from 11 to 18.
"""

from __future__ import annotations

from surrogate_networks import compare

if __name__ == "__main__":
    compare("rate", __doc__, [1])
