"""How core functions are compiled, cached on disk and called: the only place that names Numba's flags and cache.

A *kernel* is a function with a C signature on pointers and integers, compiled when its address is first asked for
and called by that address (`call`), so that no kernel is compiled again into those that use it. `inline` marks the
helpers that become part of the kernel that calls them.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import pickle
import shutil
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path

import llvmlite
import numba
from llvmlite import ir
from numba import njit, types
from numba.core import compiler, compiler_machinery, config, registry, typed_passes, untyped_passes
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

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
    """Of every loss kernel: see loss_kernels.py."""
    P = POINTERS[size]
    return VOID(P, P, P, P, P, P, INT, INT, INT, INT, DOUBLE)


@contextlib.contextmanager
def interrupt_afterwards(at_once=lambda: None):
    """Ctrl-C within the block calls at_once and becomes a KeyboardInterrupt behind the block, never within it.

    Only in the main thread, and only while Python's own handler is in place; a handler of the user's is left alone.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    interrupted = False

    def note(number, frame):
        nonlocal interrupted
        interrupted = True
        at_once()

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupted:
        raise KeyboardInterrupt


class Kernel:
    """A C function: `address` compiles it or loads it from the cache; `ctypes` calls it without the GIL.

    key: None for what must not be kept on disk.
    """

    def __init__(self, function, signature, key):
        self.function, self.signature, self.key = function, signature, key

    @functools.cached_property
    def compiled(self):
        compiled = self.uncached()
        if self.key is not None:
            compiled._cache = Cache(self.key)
        with interrupt_afterwards():  # a compiler that is interrupted stays broken
            compiled.compile()
        return compiled

    def uncached(self):
        return CFunc(
            self.function, (self.signature.args, self.signature.return_type), {}, dict(OPTIONS), pipeline_class=Compiler
        )

    @property
    def address(self):
        return self.compiled.address

    @functools.cached_property
    def ctypes(self):
        """The kernel for Python: pointers are given as integers; the GIL is released."""
        signature = self.signature
        types_of = [C_TYPES.get(type_, ctypes.c_void_p) for type_ in (signature.return_type, *signature.args)]
        if signature.return_type == VOID:
            types_of[0] = None
        return ctypes.CFUNCTYPE(*types_of)(self.address)

    def inspect(self):
        """(LLVM code, machine code) as text, compiled anew: what comes from the cache cannot be looked at."""
        compiled = self.uncached()
        compiled.compile()
        return compiled.inspect_llvm(), compiled._library.get_asm_str()


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


def lanes_of(size):
    """Lanes of one register for numbers of `size` bytes."""
    return registers()[0] // size


# --- the cache ------------------------------------------------------------------------------------------------------


@functools.cache
def source_stamp():
    """A digest of every file of the core: no kernel survives an edit or an upgrade of any of them.

    Taken at import: a file that is edited later is not the one that this process compiles.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


source_stamp()


def writable(directory):
    """Whether files can be made in the directory, which is made if need be, and not by everybody."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if directory.stat().st_mode & stat.S_IWOTH:
            return False
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def candidate_roots():
    package = Path(__file__).resolve().parent
    installation = hashlib.sha256(str(package).encode()).hexdigest()[:16]
    if config.CACHE_DIR:
        return [Path(config.CACHE_DIR) / f"fastbp-{installation}"]
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    roots = [package / "__pycache__" / "kernels", Path(user) / "fastbp" / installation]
    return [root for root in roots if root.is_absolute()]  # an unknown home stays a ~


@functools.cache
def cache_directory():
    """Where kernels are kept: beside the package, else the user's cache, else nowhere (None).

    Folders of other source stamps in it belong to code that is no longer there; they are removed.
    """
    for root in candidate_roots():
        directory = root / source_stamp()
        if writable(directory):
            for stale in root.iterdir():
                if stale != directory:
                    shutil.rmtree(stale, ignore_errors=True)
            return directory
    return None


class Cache:
    """One file a kernel, named by a digest of all that its machine code depends on, with a digest of its content.

    Numba's own cache keys on one function and its closure, and keeps an index that two processes can tear; here
    there is no index, and the key names the source of the whole core, the compiler and the CPU.
    """

    def __init__(self, key):
        codegen = registry.cpu_target.target_context.codegen()
        everything = (
            key,
            source_stamp(),
            codegen.magic_tuple(),
            numba.__version__,
            llvmlite.__version__,
            sys.version_info[:3],
            str(config.OPT),
        )
        digest = hashlib.sha256(repr(everything).encode()).hexdigest()[:24]
        name = "-".join(str(part).rpartition(".")[2] for part in key)
        directory = cache_directory()
        self.path = directory and directory / f"{name}-{digest}"

    def load_overload(self, sig, target_context):
        if self.path is None:
            return None
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        target_context.refresh()
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(data[32:]))

    def save_overload(self, sig, result):
        if self.path is None:
            return
        data = pickle.dumps(result._reduce())
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with open(temporary, "xb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(temporary, self.path)
        except OSError:  # a full or vanished disk costs a compilation, not an error
            with contextlib.suppress(OSError):
                temporary.unlink()
