"""Kernels: arrays in, arrays out, compiled by Numba through `eventsnn.kernels.jit.kernel`, here and nowhere else."""
