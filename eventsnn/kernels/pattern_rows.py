"""Rows of a table that are picked by the bits of bytes: the sums of what four neurons, or four steps, may do.

A table has sixteen rows for every four bits, that is two times sixteen for a byte: row i is what the set bits of i add
up to. Bodies are instructions of LLVM, since Numba's arrays live in memory and a sum that stays in a register does
not. With NUMBA_DISABLE_JIT=1 plain functions stand in.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from eventsnn.kernels.vector_writer import lanes_below, masked_load, masked_store

__all__ = ["LANES", "add_patterns", "add_rows_of_patterns", "sums_of_four"]

#: columns of a table
LANES = 16


class _Table:
    """A table of rows of LANES numbers, and the two rows of a byte."""

    def __init__(self, builder: Any, context: Any, kind: Any, value: Any) -> None:
        self.builder, item = builder, context.get_data_type(kind.dtype)
        self.vector, self.aligned = ir.VectorType(item, LANES), kind.dtype.bitwidth // 8
        self._rows = self.pointer(context.make_array(kind)(context, builder, value).data)

    def pointer(self, data: Any) -> Any:
        """The same place, as one of vectors."""
        return self.builder.bitcast(data, self.vector.as_pointer())

    def row(self, i: int) -> Any:
        """Pointer to row i."""
        return self.builder.gep(self._rows, [ir.Constant(ir.IntType(64), i)])

    def load(self, place: Any) -> Any:
        """A row from there."""
        value = self.builder.load(place)
        value.align = self.aligned
        return value

    def rows_of(self, byte: Any, first: Any) -> tuple[Any, Any]:
        """The rows of the two halves of a byte; first : of its 32 rows."""
        builder, word = self.builder, ir.IntType(64)
        pattern, rows = builder.zext(byte, word), builder.gep(self._rows, [first])
        low = builder.and_(pattern, ir.Constant(word, 15))
        high = builder.add(builder.lshr(pattern, ir.Constant(word, 4)), ir.Constant(word, 16))
        return self.load(builder.gep(rows, [low])), self.load(builder.gep(rows, [high]))


def _write_sum(builder: Any, context: Any, types: Any, values: Any) -> None:
    """out += the sum of the rows of all bytes, each with 32 rows of its own; bytes are even in number."""
    table = _Table(builder, context, types[0], values[0])
    patterns, out = (
        context.make_array(kind)(context, builder, value) for kind, value in zip(types[1:], values[1:], strict=True)
    )
    word, sums = ir.IntType(64), [cgutils.alloca_once(builder, table.vector) for _ in range(4)]
    for own in sums:
        builder.store(ir.Constant(table.vector, [0.0] * LANES), own)
    n_pairs = builder.lshr(builder.extract_value(patterns.shape, 0), ir.Constant(word, 1))
    with cgutils.for_range(builder, n_pairs) as loop:
        for k in range(2):  # four sums, so that an addition need not wait for the one before
            j = builder.add(builder.shl(loop.index, ir.Constant(word, 1)), ir.Constant(word, k))
            byte = builder.load(builder.gep(patterns.data, [j]))
            rows = table.rows_of(byte, builder.shl(j, ir.Constant(word, 5)))
            for row, own in zip(rows, sums[2 * k : 2 * k + 2], strict=True):
                builder.store(builder.fadd(builder.load(own), row), own)
    first, second, third, fourth = (builder.load(own) for own in sums)
    found = builder.fadd(builder.fadd(first, second), builder.fadd(third, fourth))
    target = table.pointer(out.data)
    mask = lanes_below(builder, builder.extract_value(out.shape, 0), LANES)
    before = masked_load(builder, table.vector, target, mask, table.aligned)
    masked_store(builder, builder.fadd(before, found), target, mask, table.aligned)


def _write_rows(builder: Any, context: Any, types: Any, values: Any) -> None:
    """out[j] += the rows of byte j, for all j; they share one table of 32 rows."""
    table = _Table(builder, context, types[0], values[0])
    patterns, out = (
        context.make_array(kind)(context, builder, value) for kind, value in zip(types[1:], values[1:], strict=True)
    )
    with cgutils.for_range(builder, builder.extract_value(patterns.shape, 0)) as loop:
        target = builder.gep(table.pointer(out.data), [loop.index])
        byte = builder.load(builder.gep(patterns.data, [loop.index]))
        low, high = table.rows_of(byte, ir.Constant(ir.IntType(64), 0))
        builder.store(builder.fadd(table.load(target), builder.fadd(low, high)), target).align = table.aligned


def _write_sums_of_four(builder: Any, context: Any, types: Any, values: Any) -> None:
    """Fill a table of 16 rows: row i is the sum of those of four rows whose bit is set in i."""
    table, (first, low, high) = _Table(builder, context, types[0], values[0]), values[2:]
    rows = context.make_array(types[1])(context, builder, values[1])
    word, sums = ir.IntType(64), [ir.Constant(table.vector, [0.0] * LANES)]
    n_rows, pitch = builder.extract_value(rows.shape, 0), builder.extract_value(rows.shape, 1)
    for b in range(4):
        j = builder.add(first, ir.Constant(word, b))
        width = builder.sub(high, low)
        n_lanes = builder.select(builder.icmp_signed("<", j, n_rows), width, ir.Constant(word, 0))
        place = table.pointer(builder.gep(rows.data, [builder.add(builder.mul(j, pitch), low)]))
        mask = lanes_below(builder, n_lanes, LANES)
        own = masked_load(builder, table.vector, place, mask, table.aligned)
        sums += [builder.fadd(found, own) for found in sums]
    for i, found in enumerate(sums):
        builder.store(found, table.row(i)).align = table.aligned


def _function(write: Any) -> Any:
    """Function of a table, bytes and where the result goes, all C-contiguous."""

    @intrinsic
    def run(context, table, patterns, out):
        if any(kind.layout != "C" for kind in (table, patterns, out)):
            raise numba.errors.TypingError("rows of patterns: arrays must be C-contiguous")

        def generate(target, builder, signature, arguments):
            write(builder, target, signature.args, arguments)
            return target.get_dummy_value()

        return numba.types.none(table, patterns, out), generate

    return run


if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]

    def sums_of_four(table: Any, rows: Any, first: int, low: int, high: int) -> None:
        """As below."""
        table[:] = 0
        for b, row in enumerate(rows[first : first + 4, low:high]):
            table[(np.arange(16) >> b) % 2 == 1, : row.size] += row

    def add_patterns(table: Any, patterns: Any, out: Any) -> None:
        """As below."""
        first = 32 * np.arange(patterns.size)
        rows = table[first + (patterns & 15)] + table[first + 16 + (patterns >> 4)]
        out += rows.sum(axis=0)[: out.size]

    def add_rows_of_patterns(table: Any, patterns: Any, out: Any) -> None:
        """As below."""
        out += table[patterns & 15] + table[16 + (patterns >> 4)]

else:

    @intrinsic
    def sums_of_four(context, table, rows, first, low, high):
        """table[i] = sum of those of rows[first : first + 4, low : high] whose bit is set in i; table : (16, LANES).

        Rows beyond the last and columns of the table beyond high - low are 0.
        """
        if table.layout != "C" or rows.layout != "C":
            raise numba.errors.TypingError("sums_of_four: arrays must be C-contiguous")
        word = numba.types.int64

        def generate(target, builder, signature, arguments):
            _write_sums_of_four(builder, target, signature.args, arguments)
            return target.get_dummy_value()

        return numba.types.none(table, rows, word, word, word), generate

    #: out += sum over j of table[32 j + (patterns[j] & 15)] + table[32 j + 16 + (patterns[j] >> 4)], as many columns as
    #: out has, at most LANES; patterns : uint8, even in number
    add_patterns = _function(_write_sum)
    #: out[j] += table[patterns[j] & 15] + table[16 + (patterns[j] >> 4)], out : (n, LANES), patterns : uint8, (n,)
    add_rows_of_patterns = _function(_write_rows)
