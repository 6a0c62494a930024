"""Pointers in compiled code: loads and stores of vectors, offsets, addresses. Nothing checks a bound."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastbp.core.ir.lanes import Lanes
from fastbp.core.ir.traced import any_off, sum_lanes
from fastbp.core.ir.types import INT32, INT64, Mask, Vector, constant, first_lanes, load_lanes, spread, store_lanes

PREFETCHED = 8192  # bytes of rows in random order that are prefetched before they are copied
ROWS_AHEAD = 16  # at most

# --- masks ----------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def every(typingctx, lanes):
    """The mask with all `lanes` (a literal) on, known at compile time."""

    def codegen(context, builder, sig, args):
        return constant(sig.return_type.llvm, 1)

    return Mask(lanes.literal_value, full=True)(lanes), codegen


@intrinsic(prefer_literal=True)
def first(typingctx, count, lanes):
    """The mask with the first `count` of `lanes` (a literal) on."""

    def codegen(context, builder, sig, args):
        return first_lanes(builder, args[0], sig.return_type.lanes)

    return Mask(lanes.literal_value)(types.int64, lanes), codegen


# --- vectors --------------------------------------------------------------------------------------------------------


@intrinsic
def load(typingctx, pointer, mask):
    """The vector at pointer; lanes that are off are 0 and their memory is not touched."""

    def codegen(context, builder, sig, args):
        return load_lanes(builder, args[0], sig.return_type, mask, args[1])

    return Vector(pointer.dtype, mask.lanes)(pointer, mask), codegen


@intrinsic
def store(typingctx, pointer, vector, mask):
    """pointer[lane] = vector[lane] for the lanes that are on; other memory is not touched."""

    def codegen(context, builder, sig, args):
        store_lanes(builder, args[0], vector, args[1], mask, args[2])
        return context.get_dummy_value()

    return types.void(pointer, vector, mask), codegen


@intrinsic(prefer_literal=True)
def fill(typingctx, pointer, number, lanes):
    """A vector of the pointer's numbers, every lane = number."""

    def codegen(context, builder, sig, args):
        scalar = context.cast(builder, args[1], types.float64, pointer.dtype)
        return spread(builder, scalar, lanes.literal_value)

    return Vector(pointer.dtype, lanes.literal_value)(pointer, types.float64, lanes), codegen


def emit_copy(builder, out, x, count, vector):
    with cgutils.for_range_slice(builder, INT64(0), count, INT64(vector.lanes), inc=True) as (i, _):
        mask = Mask(vector.lanes), first_lanes(builder, builder.sub(count, i), vector.lanes)
        value = load_lanes(builder, builder.gep(x, [i]), vector, *mask)
        store_lanes(builder, builder.gep(out, [i]), vector, value, *mask)


def emit_prefetch(builder, x, count, size):
    arguments = [x.type, INT32, INT32, INT32]
    fn = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), arguments), "llvm.prefetch.p0")
    with cgutils.for_range_slice(builder, INT64(0), count, INT64(64 // size), inc=True) as (i, _):
        builder.call(fn, [builder.gep(x, [i]), INT32(0), INT32(3), INT32(1)])


@intrinsic(prefer_literal=True)
def copy(typingctx, out, x, count, lanes):
    """Overwrites out (count): out = x, `lanes` (a literal) at a time."""
    vector = Vector(out.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        emit_copy(builder, *args[:3], vector)
        return context.get_dummy_value()

    return types.void(out, x, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def gather(typingctx, out, o_row, x, x_row, columns, order, rows, lanes):
    """Overwrites out (rows, columns): out[n] = x[order[n]] with rows o_row and x_row apart, prefetched."""
    vector, size = Vector(out.dtype, lanes.literal_value), out.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        out, o_row, x, x_row, columns, order, rows, _ = args
        ahead = builder.add(INT64(1), builder.sdiv(INT64(PREFETCHED // size), columns))
        most = INT64(ROWS_AHEAD)
        ahead = builder.select(builder.icmp_signed("<", ahead, most), ahead, most)

        def row(n):
            return builder.gep(x, [builder.mul(x_row, builder.load(builder.gep(order, [n])))])

        with cgutils.for_range_slice(builder, builder.neg(ahead), rows, INT64(1), inc=True) as (n, _):
            later = builder.add(n, ahead)
            with builder.if_then(builder.icmp_signed("<", later, rows)):
                emit_prefetch(builder, row(later), columns, size)
            with builder.if_then(builder.icmp_signed(">=", n, INT64(0))):
                emit_copy(builder, builder.gep(out, [builder.mul(n, o_row)]), row(n), columns, vector)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(out, i64, x, i64, i64, order, i64, lanes), codegen


@intrinsic
def prefetch(typingctx, x, count):
    """Ask for `count` elements that are read later."""

    def codegen(context, builder, sig, args):
        emit_prefetch(builder, *args, sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(x, types.int64), codegen


@intrinsic(prefer_literal=True)
def on_stack(typingctx, like, count):
    """Room for `count` (a literal) numbers of the pointer's type, for as long as the kernel runs; not cleared."""

    def codegen(context, builder, sig, args):
        number = context.get_data_type(like.dtype)
        array = cgutils.alloca_once(builder, number, size=count.literal_value)
        array.align = 64
        return array

    return like(like, count), codegen


# --- over all elements ----------------------------------------------------------------------------------------------


def over_elements(builder, x, count, vector, start, step):
    """What `step(so far, vector of x)` has made of `start` after all elements; lanes beyond them are 0."""
    result, lanes = cgutils.alloca_once_value(builder, start), INT64(vector.lanes)
    left = builder.srem(count, lanes)
    whole = builder.sub(count, left)
    with cgutils.for_range_slice(builder, INT64(0), whole, lanes, inc=True) as (i, _):
        x_i = load_lanes(builder, builder.gep(x, [i]), vector, Mask(vector.lanes, full=True), None)
        builder.store(step(builder.load(result), x_i), result)
    mask = first_lanes(builder, left, vector.lanes)
    last = load_lanes(builder, builder.gep(x, [whole]), vector, Mask(vector.lanes), mask)
    return step(builder.load(result), last)


@intrinsic(prefer_literal=True)
def total(typingctx, x, count, lanes):
    """Σ_n x_n, n < count, summed as float64 in an order that depends on `lanes` alone."""
    vector, double = Vector(x.dtype, lanes.literal_value), ir.VectorType(ir.DoubleType(), lanes.literal_value)

    def codegen(context, builder, sig, args):
        def step(total, x_i):
            return builder.fadd(total, builder.fpext(x_i, double) if x_i.type != double else x_i)

        return sum_lanes(Lanes(builder, over_elements(builder, *args[:2], vector, constant(double, 0.0), step))).value

    return types.float64(x, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def not_finite(typingctx, x, count, lanes):
    """1 if any x_i, i < count, is NaN or infinite, else 0: the largest |x_i| as an integer has all exponent bits."""
    vector, size = Vector(x.dtype, lanes.literal_value), x.dtype.bitwidth
    integers = ir.VectorType(ir.IntType(size), vector.lanes)
    infinity = {32: 0x7F800000, 64: 0x7FF0000000000000}[size]

    def codegen(context, builder, sig, args):
        def step(most, x_i):
            magnitude = builder.and_(builder.bitcast(x_i, integers), constant(integers, 2 ** (size - 1) - 1))
            return builder.select(builder.icmp_signed(">", magnitude, most), magnitude, most)

        most = over_elements(builder, *args[:2], vector, constant(integers, 0), step)
        finite = Lanes(builder, builder.icmp_signed("<", most, constant(integers, infinity)))
        return any_off(finite).value

    return types.int64(x, types.int64, lanes), codegen


# --- pointers -------------------------------------------------------------------------------------------------------


@intrinsic
def shift(typingctx, pointer, count):
    """pointer + count elements."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@intrinsic
def data_of(typingctx, array):
    """Pointer to the array's first element, whether the array is read-only or not."""

    def codegen(context, builder, sig, args):
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def address_of(typingctx, pointer):
    """The pointer as an integer."""

    def codegen(context, builder, sig, args):
        return builder.ptrtoint(args[0], INT64)

    return types.int64(pointer), codegen


def pointer_from(context, builder, sig, args):
    return builder.inttoptr(args[0], context.get_value_type(sig.return_type))


@intrinsic(prefer_literal=True)
def floats_at(typingctx, address, size):
    """The address as a pointer to numbers of `size` (a literal) bytes."""
    number = {4: types.float32, 8: types.float64}[size.literal_value]
    return types.CPointer(number)(types.int64, size), pointer_from


@intrinsic
def integers_at(typingctx, address):
    """The address as a pointer to int64."""
    return types.CPointer(types.int64)(types.int64), pointer_from


@intrinsic
def doubles_at(typingctx, address):
    """The address as a pointer to float64."""
    return types.CPointer(types.float64)(types.int64), pointer_from


@intrinsic
def rounded(typingctx, number, pointer):
    """The number as an element of the pointer's type."""

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[0], sig.args[0], sig.return_type)

    return pointer.dtype(number, pointer), codegen
