"""Kernels: arrays in, arrays out, compiled by Numba. The only place with njit (`eventsnn.kernels.jit.kernel`)."""
