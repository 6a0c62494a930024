"""Named views of int64 tables: `job.batch` in compiled code is one load at a constant offset.

A subclass of `Table` lists its fields in order, each annotated by what its slot holds. From this list follow the
offsets, for Python (`array[Job.batch]`, or `OfArray(Job, array).batch`), and a Numba type, `View`: a pointer to int64
with the fields as attributes.
"""

from typing import Annotated, NamedTuple, get_args

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)

from fastbp.core.ir.types import INT64

LINE = 8  # int64 of a cache line


class Slot(NamedTuple):
    """What a field holds: one number or address, or, if in_place, `count` integers whose address the attribute is."""

    type: types.Type = types.int64
    in_place: bool = False
    count: int = 1
    new_line: bool = False  # begins a cache line


Number = int
Real = Annotated[int, Slot(types.float64)]
Doubles = Annotated[int, Slot(types.CPointer(types.float64))]  # the address of float64 numbers
Panels = Annotated[int, Slot(in_place=True, count=6)]


class Table:
    """A table of int64, field after field. To Python a field is its offset, and `slots` how many there are in all."""

    slots = 0

    def __init_subclass__(cls):
        cls.fields = {}
        for name, annotation in cls.__annotations__.items():
            field = cls.fields[name] = next(iter(get_args(annotation)[1:]), Slot())
            if field.new_line:
                cls.slots = -(-cls.slots // LINE) * LINE
            setattr(cls, name, cls.slots)
            cls.slots += field.count


class View(types.CPointer):
    """A pointer to a table."""

    def __init__(self, table):
        super().__init__(types.int64)
        self.table, self.name = table, f"View({table.__name__})"

    @property
    def key(self):
        return self.name


register_model(View)(models.PointerModel)


@infer_getattr
class Attributes(AttributeTemplate):
    key = View

    def generic_resolve(self, view, name):
        if (field := view.table.fields.get(name)) is None:
            return None
        return types.CPointer(types.int64) if field.in_place else field.type


def address_in(builder, view, pointer, name):
    return builder.gep(pointer, [INT64(getattr(view.table, name))])


@lower_getattr_generic(View)
def load_field(context, builder, view, pointer, name):
    at, field = address_in(builder, view, pointer, name), view.table.fields[name]
    if field.in_place:
        return at
    if field.type == types.float64:
        at = builder.bitcast(at, ir.DoubleType().as_pointer())
    value = builder.load(at)
    return builder.inttoptr(value, context.get_value_type(field.type)) if is_pointer(field.type) else value


@lower_setattr_generic(View)
def store_field(context, builder, sig, args, name):
    view, type_ = sig.args
    value = builder.ptrtoint(args[1], INT64) if is_pointer(type_) else args[1]
    builder.store(value, address_in(builder, view, args[0], name))


def is_pointer(type_):
    return isinstance(type_, types.CPointer)


def viewing(table, begin=0, step=0):
    """An intrinsic (pointer, i) -> the view of the table that begins `begin + i * step` slots behind the pointer."""

    @intrinsic
    def view(typingctx, pointer, i):
        def codegen(context, builder, sig, args):
            table = builder.bitcast(args[0], INT64.as_pointer())
            return builder.gep(table, [builder.add(INT64(begin), builder.mul(args[1], INT64(step)))])

        return View(table)(pointer, types.int64), codegen

    return view


def calling(field, *, with_table=False, result=types.void):
    """An intrinsic (table, *arguments) that calls the C function at the address in a field.

    A tuple among the arguments stands for its elements. with_table: the table is the function's first argument.
    """

    @intrinsic
    def call(typingctx, table, *arguments):
        def codegen(context, builder, sig, args):
            values = [args[0]] * with_table + list(elements(context, builder, sig.args[1], args[1]))
            returned = ir.VoidType() if result == types.void else context.get_value_type(result)
            function = ir.FunctionType(returned, [value.type for value in values])
            address = load_field(context, builder, table, args[0], field)
            value = builder.call(builder.inttoptr(address, function.as_pointer()), values)
            return context.get_dummy_value() if result == types.void else value

        return result(table, types.StarArgTuple(arguments)), codegen

    return call


def elements(context, builder, type_, value):
    """The numbers and pointers in a tuple, and in the tuples in it; integers as int64."""
    if isinstance(type_, types.BaseTuple):
        for i, element in enumerate(type_.types):
            yield from elements(context, builder, element, builder.extract_value(value, i))
    else:
        yield context.cast(builder, value, type_, types.int64) if isinstance(type_, types.Integer) else value


class OfArray:
    """A table in an int64 array, for Python: its fields as attributes; an index is that of the array."""

    def __init__(self, table, array):
        vars(self).update(table=table, array=array)

    def __getitem__(self, slot):
        return self.array[slot]

    def __setitem__(self, slot, value):
        self.array[slot] = value

    def __getattr__(self, name):
        return self[getattr(self.table, name)]

    def __setattr__(self, name, value):
        self[getattr(self.table, name)] = value
