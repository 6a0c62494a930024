"""How core functions are compiled and called: the only place that names Numba's flags.

A *kernel* is a function with a C signature on pointers and integers, compiled when its address is first asked for
and called by that address (`call`), so that no kernel is compiled again into those that use it. `inline` marks the
helpers that become part of the kernel that calls them.
"""

import ctypes
import functools
import os

import llvmlite
from llvmlite import ir
from numba import njit, types
from numba.core import compiler, compiler_machinery, registry, typed_passes, untyped_passes
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastbp.core.ir.aside import aside
from fastbp.core.ir.cache import CachedFile

OPTIONS = {"error_model": "numpy", "nopython": True}


class Compiler(compiler.CompilerBase):
    """Numba's compiler with only the passes that kernels need: a quarter less time in the front end."""

    def define_pipelines(self):
        passes = compiler_machinery.PassManager("kernel")
        for step in (
            untyped_passes.TranslateByteCode,
            untyped_passes.FixupArgs,
            untyped_passes.IRProcessing,
            untyped_passes.ReconstructSSA,
            typed_passes.NopythonTypeInference,
            typed_passes.PreLowerStripPhis,
            typed_passes.IRLegalization,
            typed_passes.NativeLowering,
            typed_passes.NoPythonBackend,
        ):
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


inline = njit(
    forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy", pipeline_class=Compiler
)

POINTERS = {4: types.CPointer(types.float32), 8: types.CPointer(types.float64)}
INTEGERS = types.CPointer(types.int64)
DOUBLES = types.CPointer(types.float64)
INT = types.int64
DOUBLE = types.float64
VOID = types.void
C_TYPES = {INT: ctypes.c_int64, DOUBLE: ctypes.c_double}


def loss_signature(size):
    """Of every loss kernel: see layers/loss.py."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, INT, INT, INT, INT, DOUBLE)


class Kernel:
    """A C function: `address` compiles it or loads it from the cache; `ctypes` calls it without the GIL.

    key: None for what must not be kept on disk.
    """

    def __init__(self, function, signature, key):
        self.function, self.signature, self.key = function, signature, key
        self.from_cache, self._address, self._ctypes = False, 0, None

    @property
    def address(self):
        if not self._address:
            aside(self._make)
        return self._address

    @global_compiler_lock
    def _make(self):
        """Load or compile it, once."""
        if self._address:
            return
        file = None if self.key is None else CachedFile(self.key, self.signature)
        address = file and file.load()
        self.from_cache = bool(address)
        self._address = address or self._compiled(file)

    def _compiled(self, file):
        self._code = compiled = self.uncached()  # which keeps the machine code
        compiled.compile()
        if file is not None:
            file.save(compiled.native_name, compiled._library)
        return compiled.address

    def uncached(self):
        return CFunc(
            self.function, (self.signature.args, self.signature.return_type), {}, dict(OPTIONS), pipeline_class=Compiler
        )

    @property
    def ctypes(self):
        """The kernel for Python: pointers are given as integers; the GIL is released."""
        if self._ctypes is None:
            signature = self.signature
            types_of = [C_TYPES.get(type_, ctypes.c_void_p) for type_ in (signature.return_type, *signature.args)]
            if signature.return_type == VOID:
                types_of[0] = None
            self._ctypes = ctypes.CFUNCTYPE(*types_of)(self.address)
        return self._ctypes

    def inspect(self):
        """(LLVM code, machine code) as text, compiled again: what comes from the cache cannot be inspected."""
        compiled = self.uncached()
        compiled.compile()
        return compiled.inspect_llvm(), compiled._library.get_asm_str()


if hasattr(os, "register_at_fork"):  # a fork while another thread compiles would leave the lock locked in the child
    unlock = global_compiler_lock.release
    os.register_at_fork(before=global_compiler_lock.acquire, after_in_parent=unlock, after_in_child=unlock)


def kernel(signature, *key):
    """Decorator: the function as a Kernel; `key` tells apart what one source makes with different closures."""

    def make(function):
        return Kernel(function, signature, (function.__module__, function.__qualname__, *key))

    return make


@intrinsic
def wide_vectors(typingctx):
    """Let LLVM use its widest registers in the kernel that calls this, and align those that it keeps on the stack.

    Where the stack begins differs from thread to thread; a register that crosses cache lines, or a page, is slow.
    """

    def codegen(context, builder, sig, args):
        for attribute in ('"prefer-vector-width"="512"', '"stackrealign"'):
            set.add(builder.function.attributes, attribute)
        return context.get_dummy_value()

    return types.void(), codegen


def caller(result):
    """An intrinsic that calls the C function at an address; its arguments must have exactly the C types."""

    @intrinsic
    def call(typingctx, address, *arguments):
        wanted = tuple(types.int64 if isinstance(t, types.Integer) else t for t in arguments)
        sig = result(types.int64, types.StarArgTuple(wanted))

        def codegen(context, builder, sig, args):
            values = [builder.extract_value(args[1], i) for i in range(len(wanted))]
            function = ir.FunctionType(
                context.get_value_type(result) if result != VOID else ir.VoidType(),
                [value.type for value in values],
            )
            value = builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
            return context.get_dummy_value() if result == VOID else value

        return sig, codegen

    return call


call = caller(VOID)
call_int = caller(INT)
call_double = caller(DOUBLE)


# --- the machine ----------------------------------------------------------------------------------------------------


@functools.cache
def registers():
    """(bytes in one SIMD register, number of such registers), read off the code that the compiler makes."""
    code = registry.cpu_target.target_context.codegen()
    text = """
        define void @probe(ptr %p) #0 {
          %x = load <16 x float>, ptr %p
          %y = fadd <16 x float> %x, %x
          store <16 x float> %y, ptr %p
          ret void
        }
        attributes #0 = { "prefer-vector-width"="512" }"""
    assembly = code._tm.emit_assembly(llvmlite.binding.parse_assembly(text))
    for name, size, count in (("zmm", 64, 32), ("ymm", 32, 16), ("xmm", 16, 16)):
        if name in assembly:
            return size, count
    return 16, 32  # NEON


def host_cpu():
    """(its name, the set of its features), as LLVM calls them."""
    features = llvmlite.binding.get_host_cpu_features()
    return llvmlite.binding.get_host_cpu_name(), {name for name, present in features.items() if present}


def lanes_of(size):
    """Lanes of one register for numbers of `size` bytes."""
    return registers()[0] // size
