"""Sums of rows of weights, held in registers until the last row is added.

Numba's arrays live in memory, so a loop over rows that adds to one loads and stores it for every row. The sum of up to
eight vectors of 64 bytes stays in registers here, by a few instructions of LLVM, which splits vectors that the
processor does not have; narrow sums take several rows at once, so that an addition need not wait for the one before.

Measured (AVX-512, 64 to 128 channels of a 3 x 3 kernel, spikes of a trained network): 0.03 to 0.05 ns per synaptic
event with whole rows, 0.08 to 0.10 with eight rows added to memory at a time.

With NUMBA_DISABLE_JIT=1 plain functions stand in.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from eventsnn.kernels.jit import kernel

__all__ = ["add_rows", "add_scaled_rows"]

#: bytes of a vector
_VECTOR = 64
#: vectors that a sum may take in all
_REGISTERS = 8


def _generate(
    builder: Any, context: Any, types: Any, values: Any, n_vectors: int, vector_bytes: int, *, scaled: bool
) -> None:
    """The sum over events, of n_vectors vectors."""
    weight_type, row_type, factor_type, *_, out_type = types
    weight, rows, factors, first, last, offset, column, start, out = values
    word, item = ir.IntType(64), context.get_data_type(weight_type.dtype)
    aligned = weight_type.dtype.bitwidth // 8
    vector = ir.VectorType(item, vector_bytes // aligned)

    def array(kind: Any, value: Any) -> Any:
        return context.make_array(kind)(context, builder, value)

    weights, index, out_array = array(weight_type, weight), array(row_type, rows), array(out_type, out)
    factor = array(factor_type, factors) if scaled else None
    row_bytes = builder.extract_value(weights.strides, 0)
    # where row 0 would begin if the rows were numbered from `offset` on
    bytes_of = ir.IntType(8).as_pointer()
    base = builder.gep(builder.bitcast(builder.gep(weights.data, [column]), bytes_of),
                       [builder.neg(builder.mul(offset, row_bytes))])  # fmt: skip
    target = builder.bitcast(builder.gep(out_array.data, [start]), vector.as_pointer())
    n_rows = _REGISTERS // n_vectors
    sums = [[cgutils.alloca_once(builder, vector) for _ in range(n_vectors)] for _ in range(n_rows)]

    def item_of(own: Any, event: Any) -> Any:  # a list of events may be a column of a table
        step = builder.mul(event, builder.extract_value(own.strides, 0))
        return builder.load(builder.bitcast(builder.gep(builder.bitcast(own.data, bytes_of), [step]), own.data.type))

    def place(pointer: Any, k: int) -> Any:
        return builder.gep(pointer, [ir.Constant(word, k)])

    def load(pointer: Any) -> Any:
        value = builder.load(pointer)
        value.align = aligned
        return value

    def add_row(event: Any, own: list[Any]) -> None:
        number = item_of(index, event)
        row = builder.bitcast(builder.gep(base, [builder.mul(number, row_bytes)]), vector.as_pointer())
        by = None
        if factor is not None:
            value = item_of(factor, event)
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
            by = builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), mask)
        for k in range(n_vectors):
            given = load(place(row, k))
            if by is not None:
                given = builder.fmul(given, by, flags=("contract",))
            builder.store(builder.fadd(builder.load(own[k]), given, flags=("contract",)), own[k])

    for k in range(n_vectors):
        builder.store(load(place(target, k)), sums[0][k])
        for own in sums[1:]:
            builder.store(ir.Constant(vector, [0.0] * vector.count), own[k])
    count = builder.sub(last, first)
    end = builder.sub(last, builder.srem(count, ir.Constant(word, n_rows)))
    one = ir.Constant(word, 1)
    with cgutils.for_range_slice(builder, first, end, ir.Constant(word, n_rows), inc=True) as (event, _):
        for m, own in enumerate(sums):
            add_row(builder.add(event, ir.Constant(word, m)), own)
    if n_rows > 1:
        with cgutils.for_range_slice(builder, end, last, one, inc=True) as (event, _):
            add_row(event, sums[0])
    for k in range(n_vectors):
        parts = [builder.load(own[k]) for own in sums]
        while len(parts) > 1:
            parts = [builder.fadd(*parts[m : m + 2]) for m in range(0, len(parts), 2)]
        builder.store(parts[0], place(target, k)).align = aligned


def _adder(n_vectors: int, vector_bytes: int = _VECTOR, *, scaled: bool = False) -> Any:
    """Function that adds rows in `n_vectors` vectors, from a column on; out[start ...] += what they sum up to."""

    @intrinsic
    def add(context, weight, rows, factors, first, last, offset, column, start, out):
        word = numba.types.int64
        if weight.layout != "C" or out.layout != "C":
            raise numba.errors.TypingError("add_rows: weight and out must be C-contiguous")

        def generate(target, builder, signature, arguments):
            _generate(builder, target, signature.args, arguments, n_vectors, vector_bytes, scaled=scaled)
            return target.get_dummy_value()

        return numba.types.none(weight, rows, factors, word, word, word, word, word, out), generate

    return add


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def add_rows(weight: Any, rows: Any, first: int, last: int, offset: int, column: int, out: Any) -> None:
        """out += weight[rows[e] - offset, column : column + out.size], summed over first <= e < last."""
        out += weight[rows[first:last] - offset, column : column + out.size].sum(axis=0)

    def add_scaled_rows(
        weight: Any, rows: Any, factors: Any, first: int, last: int, offset: int, column: int, out: Any
    ) -> None:
        """The same with factors[e] before every row."""
        chosen = weight[rows[first:last] - offset, column : column + out.size]
        out += (factors[first:last, np.newaxis] * chosen).sum(axis=0)

else:
    _add_1, _add_2, _add_4, _add_8 = (_adder(n) for n in (1, 2, 4, 8))
    _add_half, _add_quarter = _adder(1, _VECTOR // 2), _adder(1, _VECTOR // 4)
    _scaled_1, _scaled_8 = (_adder(n, scaled=True) for n in (1, 8))
    _scaled_half, _scaled_quarter = (_adder(1, _VECTOR // n, scaled=True) for n in (2, 4))

    @kernel(inline=True)
    def add_rows(weight, rows, first, last, offset, column, out):
        """out += weight[rows[e] - offset, column : column + out.size], summed over first <= e < last.

        weight : (n_rows, n_columns); rows : int64, `last` entries or more; out : (n,)
        """
        n, lanes, k = out.size, 64 // weight.itemsize, 0
        if first >= last:
            return
        while k + 8 * lanes <= n:
            _add_8(weight, rows, rows, first, last, offset, column + k, k, out)
            k += 8 * lanes
        if k + 4 * lanes <= n:
            _add_4(weight, rows, rows, first, last, offset, column + k, k, out)
            k += 4 * lanes
        if k + 2 * lanes <= n:
            _add_2(weight, rows, rows, first, last, offset, column + k, k, out)
            k += 2 * lanes
        if k + lanes <= n:
            _add_1(weight, rows, rows, first, last, offset, column + k, k, out)
            k += lanes
        if k + lanes // 2 <= n:
            _add_half(weight, rows, rows, first, last, offset, column + k, k, out)
            k += lanes // 2
        if k + lanes // 4 <= n:
            _add_quarter(weight, rows, rows, first, last, offset, column + k, k, out)
            k += lanes // 4
        for j in range(k, n):
            own, total, e = weight[:, column + j], weight.dtype.type(0.0), first
            while e + 4 <= last:
                total += (own[rows[e] - offset] + own[rows[e + 1] - offset]) + (
                    own[rows[e + 2] - offset] + own[rows[e + 3] - offset]
                )
                e += 4
            while e < last:
                total += own[rows[e] - offset]
                e += 1
            out[j] += total

    @kernel(fastmath={"contract"}, inline=True)
    def add_scaled_rows(weight, rows, factors, first, last, offset, column, out):
        """The same with factors[e] before every row."""
        n, lanes, k = out.size, 64 // weight.itemsize, 0
        if first >= last:
            return
        while k + 8 * lanes <= n:
            _scaled_8(weight, rows, factors, first, last, offset, column + k, k, out)
            k += 8 * lanes
        while k + lanes <= n:
            _scaled_1(weight, rows, factors, first, last, offset, column + k, k, out)
            k += lanes
        if k + lanes // 2 <= n:
            _scaled_half(weight, rows, factors, first, last, offset, column + k, k, out)
            k += lanes // 2
        if k + lanes // 4 <= n:
            _scaled_quarter(weight, rows, factors, first, last, offset, column + k, k, out)
            k += lanes // 4
        if k < n:
            for e in range(first, last):
                row, factor = weight[rows[e] - offset], factors[e]
                for j in range(k, n):
                    out[j] += factor * row[column + j]
