"""Latency-coded MNIST on a time grid, 784-128-10, float32: speed, memory and gradients against dense torch.

python benchmarks/bench_surrogate_latency.py [--peer-python PATH]

Current LIF, 100 steps of 1 ms, tau_mem 20 ms, tau_syn 5 ms; the surrogate is the derivative of a ReLU, the reset is a
constant; mean squared error of the spike counts; Adam 0.01, AMSGrad, batch 256. Training is `Trainer.fit` without a
validation set, inference `Trainer.predict`; the peer makes every batch a dense tensor, as the notebook does. Both are
measured after training, because ours costs what it fires. Then spikes of every step, loss and gradients of both on the
same 64 samples, and peak memory.

What was learned
----------------
- In float64 all spikes are those of torch, and gradients differ by 2e-15 of the largest.
- The gradient must go around the reset (`Clock(detach_reset=True)`). A ReLU's derivative is 1 however far above
  threshold, so through the reset it grows from step to step, here to thousands of times the size.
- The notebook prints losses 328.8, 280.9, 274.2 in its first epochs, without its time constants. A program of its own
  gave, by (tau_mem, tau_syn) in ms: (20, 5) 327 to 337, 282 to 290, 277 to 285; (10, 5) 346, 310, 308; (25, 5) 329,
  279, 269; (20, 10) 648; (20, 5) by Euler's rule 341. In three of eight seeds an output never fired: 395 to 406.
- The hidden layer fires in 38 % of its steps after one epoch and 77 % after 20: hardly a sparse network, and no list of
  its spikes is worth while. Their sums to ten outputs come from a table by the bits of four neurons at a time
  (`kernels/pattern_rows`); a table must stay in the first-level cache.
- Loops over a row of neurons spend their time on loading and storing state and parameters, and on beginning anew for
  the ten outputs. With all steps of two vectors of neurons in registers (`kernels/grid_tiles`) a sample of the hidden
  layer takes a quarter of the time; of four vectors at once there are too few registers on the way back.
- More than a quarter of inference was making buffers for every block of samples; they are kept and lent.
- A peak of memory is only seen in a process that has not been there before; what a warm-up left in the heap hid more
  than half of ours at first.
"""

from __future__ import annotations

from surrogate_networks import compare

if __name__ == "__main__":
    compare("latency", __doc__, [1, 20])
