"""Instructions of LLVM for vectors: what the bodies of `grid_tiles` and `pattern_rows` are made of."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["VECTOR", "Lanes", "VectorWriter", "lanes_below", "masked_load", "masked_store", "splat", "tile"]

#: bytes of a vector
VECTOR = 64
_CONTRACT = ("contract",)


def splat(builder: Any, value: Any, kind: Any) -> Any:
    """A vector of the value."""
    nothing, short = ir.Constant(kind, ir.Undefined), ir.IntType(32)
    single = builder.insert_element(nothing, value, ir.Constant(short, 0))
    return builder.shuffle_vector(single, nothing, ir.Constant(ir.VectorType(short, kind.count), [0] * kind.count))


def lanes_below(builder: Any, n_left: Any, n_lanes: int) -> Any:
    """The mask of the first n_left lanes."""
    places = ir.VectorType(ir.IntType(64), n_lanes)
    return builder.icmp_signed("<", ir.Constant(places, list(range(n_lanes))), splat(builder, n_left, places))


def masked_load(builder: Any, vector: Any, place: Any, mask: Any, aligned: int) -> Any:
    """What lies there; what is masked is 0, and is not looked at."""
    kinds = [place.type, ir.IntType(32), mask.type, vector]
    load = _masked(builder, "load", vector, vector, kinds, aligned)
    zeros = ir.Constant(vector, [0] * vector.count)
    return builder.call(load, [place, ir.Constant(ir.IntType(32), aligned), mask, zeros])


def masked_store(builder: Any, value: Any, place: Any, mask: Any, aligned: int) -> None:
    """The lanes that are not masked to there."""
    kinds = [value.type, place.type, ir.IntType(32), mask.type]
    store = _masked(builder, "store", ir.VoidType(), value.type, kinds, aligned)
    builder.call(store, [value, place, ir.Constant(ir.IntType(32), aligned), mask])


def _masked(builder: Any, what: str, returns: Any, vector: Any, kinds: list[Any], aligned: int) -> Any:
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    name = f"llvm.masked.{what}.v{vector.count}{letter}{8 * aligned}.p0"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(returns, kinds), name)


class VectorWriter:
    """Writes instructions for `n_vectors` vectors of neurons from `first` on; the last may be masked to `n_left`."""

    def __init__(self, builder: Any, context: Any, item: Any, n_vectors: int, first: Any, n_left: Any | None) -> None:
        self.builder, self.context, self.n_vectors, self.first = builder, context, n_vectors, first
        self.item, self.size = item, 8 if isinstance(item, ir.DoubleType) else 4
        lanes = VECTOR // self.size
        self.vector, self.word, self.short = ir.VectorType(item, lanes), ir.IntType(64), ir.IntType(32)
        self.mask: Any = None
        if n_left is not None:
            self.mask = lanes_below(builder, n_left, lanes)

    def splat(self, value: Any, kind: Any = None) -> Any:
        """A vector of the value."""
        return splat(self.builder, value, self.vector if kind is None else kind)

    def constant(self, value: float) -> Any:
        """A vector of a number."""
        return ir.Constant(self.vector, [value] * self.vector.count)

    def array(self, kind: Any, value: Any) -> Any:
        """The array behind an argument."""
        return self.context.make_array(kind)(self.context, self.builder, value)

    def pointer(self, array: Any, *places: Any) -> Any:
        """To the element of a C-contiguous array at these places, the last of which is `first` and left out."""
        builder, offset = self.builder, self.first
        for axis, place in enumerate(places):
            step = builder.sdiv(builder.extract_value(array.strides, axis), ir.Constant(self.word, self.size))
            offset = builder.add(offset, builder.mul(place, step))
        return builder.gep(array.data, [offset])

    def load(self, pointer: Any) -> list[Any]:
        """The vectors from there on; what is masked is 0."""
        return [self._load(self._place(pointer, k)) for k in range(self.n_vectors)]

    def load_widened(self, dtype: Any, array: Any, row: Any) -> Any:
        """One vector of row `row`, in the writer's precision, whatever that of the array is."""
        if self.context.get_data_type(dtype) == self.item:
            return self.load(self.pointer(array, row))[0]
        kind = ir.VectorType(ir.FloatType(), self.vector.count)
        place = VectorWriter(self.builder, self.context, kind.element, 1, self.first, None).pointer(array, row)
        place = self.builder.bitcast(place, kind.as_pointer())
        if self.mask is None:
            value = self.builder.load(place)
            value.align = 4
        else:
            value = masked_load(self.builder, kind, place, self.mask, 4)
        return self.builder.fpext(value, self.vector)

    def load_counts(self, array: Any) -> list[Any]:
        """The int32 of these neurons from an array (n,); what is masked is 0."""
        kind = ir.VectorType(self.short, self.vector.count)
        found = []
        for k in range(self.n_vectors):
            place = self.builder.gep(array.data, [self.builder.add(self.first, ir.Constant(self.word, k * kind.count))])
            place = self.builder.bitcast(place, kind.as_pointer())
            if self.mask is None:
                found.append(self.builder.load(place))
                found[-1].align = 4
            else:
                found.append(masked_load(self.builder, kind, place, self.mask, 4))
        return found

    def sum(self, values: list[Any]) -> Any:
        """The sum of all lanes, in an order that is open but always the same."""
        total = values[0]
        for other in values[1:]:
            total = self.add(total, other)
        name = f"llvm.vector.reduce.fadd.v{self.vector.count}f{8 * self.size}"
        reduce = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.item, [self.item, self.vector]), name
        )
        return self.builder.call(reduce, [ir.Constant(self.item, 0.0), total], fastmath=("reassoc",))

    def store(self, values: list[Any], pointer: Any) -> None:
        """The vectors to there."""
        for k, value in enumerate(values):
            place = self._place(pointer, k)
            if self.mask is None:
                self.builder.store(value, place).align = self.size
            else:
                masked_store(self.builder, value, place, self.mask, self.size)

    def add_to(self, pointer: Any, values: list[Any]) -> None:
        """Add the vectors to what lies there."""
        self.store([self.add(a, b) for a, b in zip(self.load(pointer), values, strict=True)], pointer)

    def kept(self, values: list[Any]) -> list[Any]:
        """Variables for the vectors, which LLVM keeps in registers."""
        found = [cgutils.alloca_once(self.builder, self.vector) for _ in values]
        for variable, value in zip(found, values, strict=True):
            self.builder.store(value, variable)
        return found

    def now(self, variables: list[Any]) -> list[Any]:
        """Their present values."""
        return [self.builder.load(variable) for variable in variables]

    def put(self, values: list[Any], variables: list[Any]) -> None:
        """Give the variables values."""
        for variable, value in zip(variables, values, strict=True):
            self.builder.store(value, variable)

    def add(self, left: Any, right: Any) -> Any:
        """left + right."""
        return self.builder.fadd(left, right, flags=_CONTRACT)

    def multiply(self, left: Any, right: Any) -> Any:
        """left right."""
        return self.builder.fmul(left, right, flags=_CONTRACT)

    def linear(self, factor: list[Any], value: list[Any], term: list[Any]) -> list[Any]:
        """factor value + term."""
        return [self.add(self.multiply(a, b), c) for a, b, c in zip(factor, value, term, strict=True)]

    def times(self, left: list[Any], right: list[Any]) -> list[Any]:
        """left right."""
        return [self.multiply(a, b) for a, b in zip(left, right, strict=True)]

    def exceeds(self, left: list[Any], right: list[Any]) -> list[Any]:
        """left > right."""
        return [self.builder.fcmp_ordered(">", a, b) for a, b in zip(left, right, strict=True)]

    def choose(self, conditions: list[Any], then: list[Any], otherwise: list[Any]) -> list[Any]:
        """`then` where the condition holds."""
        return [self.builder.select(*three) for three in zip(conditions, then, otherwise, strict=True)]

    def bytes_at(self, array: Any, s: Any, row: Any, neurons_per_byte: int) -> Any:
        """Pointer to what an array of bytes (n_samples, n_rows, n_bytes) has of these neurons."""
        builder = self.builder
        offset = builder.udiv(self.first, ir.Constant(self.word, neurons_per_byte))
        for axis, place in enumerate((s, row)):
            offset = builder.add(offset, builder.mul(place, builder.extract_value(array.strides, axis)))
        return builder.gep(array.data, [offset])

    def store_bits(self, flags: list[Any], pointer: Any) -> None:
        """Flags, one bit each; those that are masked are 0."""
        lanes = self.vector.count
        kind = ir.IntType(lanes)
        for k, flag in enumerate(flags):
            place = self.builder.gep(pointer, [ir.Constant(self.word, k * lanes // 8)])
            self.builder.store(
                self.builder.bitcast(flag, kind), self.builder.bitcast(place, kind.as_pointer())
            ).align = 1

    @property
    def byte_vector(self) -> Any:
        """A byte for every neuron of a vector."""
        return ir.VectorType(ir.IntType(8), self.vector.count)

    def kept_bytes(self) -> list[Any]:
        """Variables for a byte of every neuron, 0."""
        found = [cgutils.alloca_once(self.builder, self.byte_vector) for _ in range(self.n_vectors)]
        for variable in found:
            self.builder.store(self._bytes(0), variable)
        return found

    def note(self, flags: list[Any], variables: list[Any]) -> None:
        """Shift every byte by one, and put the flag into its highest bit."""
        for flag, variable in zip(flags, variables, strict=True):
            shifted = self.builder.lshr(self.builder.load(variable), self._bytes(1))
            self.builder.store(
                self.builder.or_(shifted, self.builder.select(flag, self._bytes(128), self._bytes(0))), variable
            )

    def store_history(self, variables: list[Any], eighth: Any, pointer: Any) -> None:
        """The bytes, with the flag of the first step in the lowest bit; eighth : place of this step among eight."""
        builder = self.builder
        missing = builder.trunc(builder.sub(ir.Constant(self.word, 7), eighth), ir.IntType(8))
        for k, variable in enumerate(variables):
            place = builder.gep(pointer, [ir.Constant(self.word, k * self.vector.count)])
            place = builder.bitcast(place, self.byte_vector.as_pointer())
            value = builder.lshr(builder.load(variable), self.splat(missing, self.byte_vector))
            builder.store(value, place).align = 1
            builder.store(self._bytes(0), variable)

    def _bytes(self, value: int) -> Any:
        return ir.Constant(self.byte_vector, [value] * self.vector.count)

    def _place(self, pointer: Any, k: int) -> Any:
        place = self.builder.gep(pointer, [ir.Constant(self.word, k * self.vector.count)])
        return self.builder.bitcast(place, self.vector.as_pointer())

    def _load(self, place: Any) -> Any:
        if self.mask is None:
            value = self.builder.load(place)
            value.align = self.size
            return value
        return masked_load(self.builder, self.vector, place, self.mask, self.size)


class Lanes:
    """A vector in a formula, of numbers or of flags: + - * < <= > & | ~ with others, and with a number behind it."""

    def __init__(self, writer: VectorWriter, value: Any) -> None:
        self.writer, self.value = writer, value

    def _made(self, value: Any) -> Lanes:
        return Lanes(self.writer, value)

    def _of(self, other: Lanes | float) -> Any:
        return other.value if isinstance(other, Lanes) else self.writer.constant(other)

    def _compared(self, sign: str, other: Lanes | float) -> Lanes:
        return self._made(self.writer.builder.fcmp_ordered(sign, self.value, self._of(other)))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._made(self.writer.add(self.value, self._of(other)))

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._made(self.writer.builder.fsub(self.value, self._of(other), flags=_CONTRACT))

    def __rsub__(self, other: float) -> Lanes:
        return self._made(self.writer.builder.fsub(self._of(other), self.value, flags=_CONTRACT))

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._made(self.writer.multiply(self.value, self._of(other)))

    def __lt__(self, other: Lanes | float) -> Lanes:
        return self._compared("<", other)

    def __le__(self, other: Lanes | float) -> Lanes:
        return self._compared("<=", other)

    def __gt__(self, other: Lanes | float) -> Lanes:
        return self._compared(">", other)

    def __and__(self, other: Lanes) -> Lanes:
        return self._made(self.writer.builder.and_(self.value, other.value))

    def __or__(self, other: Lanes) -> Lanes:
        return self._made(self.writer.builder.or_(self.value, other.value))

    def __invert__(self) -> Lanes:
        return self._made(self.writer.builder.not_(self.value))


def tile(write: Any, n_vectors: int, *, is_masked: bool) -> Any:
    """Function of the arguments of `write`, the first neuron, and how many neurons there are from it on."""

    @intrinsic
    def run(context, arguments, first, n_left):
        def generate(target, builder, signature, given):
            kinds = signature.args[0].types
            unpacked = cgutils.unpack_tuple(builder, given[0])
            writer = VectorWriter(
                builder, target, target.get_data_type(kinds[0].dtype), n_vectors, given[1],
                given[2] if is_masked else None,
            )  # fmt: skip
            write(writer, kinds, unpacked)
            return target.get_dummy_value()

        return numba.types.none(arguments, numba.types.int64, numba.types.int64), generate

    return run
