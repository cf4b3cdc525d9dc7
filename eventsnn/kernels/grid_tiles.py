"""The step rule of neurons on a time grid in registers: some vectors of neurons, all steps of a sample.

Without connections inside a population its neurons do not know of each other. So a few vectors of neurons are taken
through all steps with potentials, currents, counts and parameters in registers, and a step costs one load and one store
of memory; loops over a row (`grid_step`) load and store every state and load every parameter in every step, and have to
begin anew every time, which for ten neurons is most of the work.

Numba's arrays live in memory, so the body is made of instructions of LLVM, which splits vectors that the processor does
not have. What is the same for all neurons (the kind of current, which gradients are wanted) is a branch, always taken
the same way. With NUMBA_DISABLE_JIT=1 there is no such body, and `grid_step` does it all.

Measured (AVX-512, float32, a sample of 100 steps of 128 and 10 neurons): forward 15 -> 4 us, backward 29 -> 8 us.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils

from eventsnn.kernels.grid_step import EARLY, LATE, NONE, SUBTRACT, SUBTRACT_LATER, ZERO
from eventsnn.kernels.jit import kernel
from eventsnn.kernels.surrogates import PREPARED, fill_row
from eventsnn.kernels.vector_writer import VECTOR, VectorWriter, tile

__all__ = ["HAS_TILES", "tiles_backward", "tiles_forward"]

#: vectors that are taken together, so that one need not wait for its own last step; of four, registers run out
_TOGETHER = 2
HAS_TILES = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def _write_forward(w: VectorWriter, types: Any, values: Any) -> None:
    (x, constant, alpha, beta, gain, drive, threshold, after, later, v_start, counts, bits, history) = (
        w.array(kind, value) for kind, value in zip(types[:13], values[:13], strict=True)
    )
    kept_part, is_constant, is_early, is_late, s = values[13:18]
    builder, zeros = w.builder, [w.constant(0.0)] * w.n_vectors
    parameters = (alpha, beta, gain, drive, threshold, after, later)
    alphas, betas, gains, drives, thresholds, afters, laters = (w.load(w.pointer(own)) for own in parameters)
    rest = [w.splat(kept_part)] * w.n_vectors
    ones = [w.constant(1.0)] * w.n_vectors
    v, current, taken, counted = w.kept(w.load(w.pointer(v_start))), w.kept(zeros), w.kept(zeros), w.kept(zeros)
    given = w.kept(zeros)
    with builder.if_then(is_constant):
        w.put(w.load(w.pointer(constant, s)), given)
    always, n_steps = w.now(given), builder.extract_value(x.shape, 1)
    last_steps = w.kept_bytes()
    with cgutils.for_range(builder, n_steps) as loop:
        row = w.pointer(x, s, loop.index)
        w.put(always, given)
        with builder.if_then(builder.not_(is_constant)):
            w.put(w.load(row), given)
        arrived = w.now(given)
        with builder.if_then(is_early):
            found = w.linear(alphas, w.now(current), arrived)
            w.put(found, current)
            w.put(w.times(gains, found), given)
        with builder.if_then(is_late):
            old = w.now(current)
            w.put(w.times(gains, old), given)
            w.put(w.linear(alphas, old, arrived), current)
        u = [w.add(a, b) for a, b in zip(w.linear(betas, w.now(v), w.now(given)), drives, strict=True)]
        u = [builder.fsub(a, b) for a, b in zip(u, w.now(taken), strict=True)]
        fires = w.exceeds(u, thresholds)
        w.store(u, row)
        w.put(w.choose(fires, w.linear(rest, u, afters), u), v)
        w.put(w.choose(fires, laters, zeros), taken)
        counting = [w.add(a, b) for a, b in zip(w.now(counted), w.choose(fires, ones, zeros), strict=True)]
        w.put(counting, counted)
        w.store_bits(fires, w.bytes_at(bits, s, loop.index, 8))
        w.note(fires, last_steps)
        eighth = builder.and_(loop.index, ir.Constant(w.word, 7))
        is_full = builder.icmp_unsigned("==", eighth, ir.Constant(w.word, 7))
        is_last = builder.icmp_signed("==", builder.add(loop.index, ir.Constant(w.word, 1)), n_steps)
        with builder.if_then(builder.or_(is_full, is_last)):
            block = builder.lshr(loop.index, ir.Constant(w.word, 3))
            w.store_history(last_steps, eighth, w.bytes_at(history, s, block, 1))
    w.store(w.now(counted), w.pointer(counts, s))


def _write_backward(w: VectorWriter, types: Any, values: Any) -> None:
    (u, e, slope, d_counts, down, down_transposed, d_u, alpha, beta, gain, threshold, back, level, h_out, d_drive,
     d_sum, h_record) = (
        w.array(kind, value) for kind, value in zip(types[:17], values[:17], strict=True)
    )  # fmt: skip
    (by_u, is_cut, has_down, down_first, has_e, has_d_u, has_sum, has_record, is_current, is_late, s) = values[17:28]
    builder, zeros, word = w.builder, [w.constant(0.0)] * w.n_vectors, w.word
    alphas, betas, gains, thresholds, backs, levels = (
        w.load(w.pointer(own)) for own in (alpha, beta, gain, threshold, back, level)
    )
    factors = [w.splat(by_u)] * w.n_vectors
    flags = ir.VectorType(ir.IntType(1), w.vector.count)
    cuts = [w.splat(is_cut, flags)] * w.n_vectors
    h, a, error, drives, sums = (w.kept(zeros) for _ in range(5))
    base, n_steps = w.kept(zeros), builder.extract_value(u.shape, 1)
    with builder.if_then(has_down):
        w.put(w.load(w.pointer(d_counts, s)), base)
    bases, n_down = w.now(base), builder.extract_value(down_transposed.shape, 0)
    with cgutils.for_range(builder, n_steps) as loop:
        t = builder.sub(builder.sub(n_steps, ir.Constant(word, 1)), loop.index)
        with builder.if_else(has_down) as (then, otherwise):
            with then:
                w.put(bases, error)
                first = VectorWriter(builder, w.context, w.item, 1, down_first, None).pointer(down, s, t)
                with cgutils.for_range(builder, n_down) as targets:
                    factor = w.splat(builder.load(builder.gep(first, [targets.index])))
                    weights = w.load(w.pointer(down_transposed, targets.index))
                    w.put(w.linear([factor] * w.n_vectors, weights, w.now(error)), error)
            with otherwise:
                w.put(w.load(w.pointer(e, s, t)), error)
        potentials, slopes, old = w.load(w.pointer(u, s, t)), w.load(w.pointer(slope, t)), w.now(h)
        with builder.if_then(is_late):  # i_t acts on u_(t+1)
            w.put(w.linear(alphas, w.now(a), w.times(gains, old)), a)
        cut = [builder.and_(one, all_) for one, all_ in zip(w.exceeds(potentials, thresholds), cuts, strict=True)]
        passed = w.choose(cut, zeros, w.times(betas, old))  # a reset to a value cuts what comes from later
        through = w.times(w.times(backs, old), w.linear(factors, potentials, levels))
        inner = [w.add(one, other) for one, other in zip(w.now(error), through, strict=True)]
        w.put(w.linear(slopes, inner, passed), h)
        with builder.if_then(has_d_u):
            given = w.load(w.pointer(d_u, s, t))
            w.put([w.add(one, other) for one, other in zip(w.now(h), given, strict=True)], h)
        new = w.now(h)
        w.put([w.add(one, other) for one, other in zip(w.now(drives), new, strict=True)], drives)
        with builder.if_then(builder.not_(is_late)), builder.if_else(is_current) as (then, otherwise):
            with then:
                w.put(w.linear(alphas, w.now(a), w.times(gains, new)), a)
            with otherwise:
                w.put(new, a)
        arrived = w.now(a)
        with builder.if_then(has_e):
            w.store(arrived, w.pointer(e, s, t))
        with builder.if_then(has_record):
            w.store(new, w.pointer(h_record, s, t))
        w.put([w.add(one, other) for one, other in zip(w.now(sums), arrived, strict=True)], sums)
    w.store(w.now(h), w.pointer(h_out))
    w.add_to(w.pointer(d_drive), w.now(drives))
    with builder.if_then(has_sum):
        w.add_to(w.pointer(d_sum, s), w.now(sums))


_forward_many, _forward_one, _forward_rest = (
    tile(_write_forward, n, is_masked=masked) for n, masked in ((_TOGETHER, False), (1, False), (1, True))
)
_backward_many, _backward_one, _backward_rest = (
    tile(_write_backward, n, is_masked=masked) for n, masked in ((_TOGETHER, False), (1, False), (1, True))
)


@kernel
def tiles_forward(
    x, constant, alpha, beta, gain, drive, threshold, height, v_reset, v_start, reset, current, after, later, counts,
    n_spikes, bits, history,
):  # fmt: skip
    """All steps of all samples, as `step_forward` of a population without connections to itself; spikes are counted.

    counts : (n_samples, n), in the type of x, and n_spikes : (n_samples,), overwritten; after, later : (n,) work
    bits, history : masks of `grid_events.pack_spikes` as bytes, and history; overwritten as far as there are neurons,
        the rest of bits must be 0
    """
    # a neuron that fires goes on from kept u + after, and loses `later` in the next step; 0 u keeps what is not finite
    zero, one = x.dtype.type(0.0), x.dtype.type(1.0)
    kept = zero if reset == ZERO else one
    for k in range(x.shape[2]):
        after[k] = v_reset[k] if reset == ZERO else (-height[k] if reset == SUBTRACT else zero)
        later[k] = height[k] if reset == SUBTRACT_LATER else zero
    n, lanes = x.shape[2], VECTOR // x.itemsize
    for s in range(x.shape[0]):
        given = (x, constant, alpha, beta, gain, drive, threshold, after, later, v_start, counts, bits, history, kept,
                 constant.shape[0] > 0, current == EARLY, current == LATE, s)  # fmt: skip
        k = 0
        while k + _TOGETHER * lanes <= n:
            _forward_many(given, k, n - k)
            k += _TOGETHER * lanes
        while k + lanes <= n:
            _forward_one(given, k, n - k)
            k += lanes
        if k < n:
            _forward_rest(given, k, n - k)
        n_spikes[s] = 0
        for j in range(n):
            n_spikes[s] += np.int64(counts[s, j])


@kernel
def tiles_backward(
    u, e, d_counts, down, down_first, down_transposed, formula, first, second, prepared, d_u,
    alpha, beta, gain, threshold, height, v_reset, reset, current, is_detached,
    h, slope, back, level, d_drive, d_start, d_sum, h_record,
):  # fmt: skip
    """All steps of all samples, backwards, as `step_backward`, without loops, truncation and thresholds to learn.

    slope : (n_steps, n), h, back, level : (n,), work
    """
    # what a spike changes in the next step is worth back h (by_u u + level)
    zero, one = u.dtype.type(0.0), u.dtype.type(1.0)
    through_reset = zero if is_detached else one
    if formula < PREPARED:
        reset = NONE  # what never fires is never reset
    by_u = -through_reset if reset == ZERO else zero
    for k in range(u.shape[2]):
        back[k] = zero if reset == NONE else (one if reset == SUBTRACT_LATER else beta[k])
        level[k] = through_reset * (v_reset[k] if reset == ZERO else -height[k])
    n, lanes = u.shape[2], VECTOR // u.itemsize
    for s in range(u.shape[0]):
        if formula == PREPARED:
            own = prepared[s]
        else:
            own = slope
            for t in range(u.shape[1] if formula > PREPARED else 0):
                fill_row(formula, first, second, u[s, t], threshold, slope[t])
            if formula < PREPARED:
                slope[:] = zero
        given = (u, e, own, d_counts, down, down_transposed, d_u, alpha, beta, gain, threshold, back, level, h,
                 d_drive, d_sum, h_record, by_u, reset == ZERO, down.shape[0] > 0, down_first, e.shape[0] > 0,
                 d_u.shape[0] > 0, d_sum.shape[0] > 0, h_record.shape[0] > 0, current == EARLY, current == LATE,
                 s)  # fmt: skip
        k = 0
        while k + _TOGETHER * lanes <= n:
            _backward_many(given, k, n - k)
            k += _TOGETHER * lanes
        while k + lanes <= n:
            _backward_one(given, k, n - k)
            k += lanes
        if k < n:
            _backward_rest(given, k, n - k)
        if d_start.size > 0:
            for j in range(n):
                d_start[j] += beta[j] * h[j]
