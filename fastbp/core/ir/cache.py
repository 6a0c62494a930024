"""Compiled kernels on disk: where they are kept, which of them are trusted, and how one becomes code again.

One file a kernel, named by a digest of all that its machine code depends on. It holds a digest, the names of the
function and of what it needs, and an object file. Nothing runs when it is read, as with a pickle, and there is no index
that two processes can tear.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import pkgutil
import re
import shutil
import stat
import sys
import tempfile
import types
import warnings
from pathlib import Path

import llvmlite
import numba
from llvmlite import binding
from numba.core import config, registry
from numba.core.runtime.nrt import rtsys

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
DIGEST_BYTES = 32
CORE = __spec__.name.removesuffix(".ir.cache")


# --- what the kernels are made from -----------------------------------------------------------------------------------


@functools.cache
def source_stamp():
    """A digest of all modules of the core, as they are loaded: no kernel survives an edit or an upgrade of any of them.

    Of files, also in an archive or without sources, the bytes; of modules without files, as in a frozen application,
    the code; None where they cannot be listed. Taken at import: a file that is edited later is not the one that this
    process compiles.
    """
    digest = hashlib.sha256()
    below = sorted(module.name for module in pkgutil.walk_packages(sys.modules[CORE].__path__, CORE + "."))
    for name in (CORE, *below):
        spec = importlib.util.find_spec(name)
        try:
            content = spec.loader.get_data(spec.origin)
        except (AttributeError, OSError, TypeError):
            content = repr(parts_of(spec.loader.get_code(name))).encode()
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16] if below else None


def parts_of(code):
    """What a code object does, as plain data: the same in every process, which marshal does not promise."""
    if isinstance(code, frozenset):
        return sorted(map(repr, code))
    if not isinstance(code, types.CodeType):
        return code
    names = code.co_name, code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars
    counts = code.co_flags, code.co_argcount, code.co_kwonlyargcount
    return names, counts, code.co_code, code.co_exceptiontable, [parts_of(constant) for constant in code.co_consts]


source_stamp()


# --- where they are kept ----------------------------------------------------------------------------------------------


def is_own(status):
    """Whether a file or folder belongs to the process's user, and no other may write to it. Root trusts no other."""
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_MAY_WRITE


def usable(directory):
    """Whether the folder, made if need be, is the user's own, no link to another one, and takes files."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = directory.lstat()
        if not (stat.S_ISDIR(status.st_mode) and is_own(status)):
            return False
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def candidate_roots():
    package = Path(__file__).resolve().parents[1]
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
    for root in candidate_roots() if source_stamp() else ():
        directory = root / source_stamp()
        if usable(root) and usable(directory):
            for stale in root.iterdir():
                if stale != directory and re.fullmatch("[0-9a-f]{16}", stale.name):
                    shutil.rmtree(stale, ignore_errors=True)
            return directory
    return None


@functools.cache
def directory_or_warning():
    """`cache_directory`; a RuntimeWarning, once, if there is none."""
    directory = cache_directory()
    if directory is None:
        warnings.warn(
            "fastbp finds no folder for its compiled kernels that belongs to this user alone and can be written, and "
            "compiles them in every process: set NUMBA_CACHE_DIR to such a folder",
            RuntimeWarning,
            stacklevel=2,
        )
    return directory


# --- one file ---------------------------------------------------------------------------------------------------------


class CachedFile:
    """The file of a kernel: digest, name of the function, object code. key: what tells its source from others."""

    def __init__(self, key, signature):
        everything = (
            key,
            str(signature),
            source_stamp(),
            registry.cpu_target.target_context.codegen().magic_tuple(),
            numba.__version__,
            llvmlite.__version__,
            sys.version_info[:3],
            str(config.OPT),
        )
        digest = hashlib.sha256(repr(everything).encode()).hexdigest()[:24]
        directory = directory_or_warning()
        self.name = "-".join(str(part).rpartition(".")[2] for part in key) + f"-{digest}"
        self.path = directory and directory / self.name

    def load(self):
        """The address of the function; None where there is no file, or none to be trusted."""
        content = self.path and contents_of_own(self.path)
        if not content or content[:DIGEST_BYTES] != self.digest_of(content[DIGEST_BYTES:]):
            return None
        names, _, code = content[DIGEST_BYTES:].partition(b"\0")
        function, *needed = names.decode().split()
        return linked(code, function, needed)

    def save(self, function, library):
        """Keep the object code of a library of Numba's with this function.

        A full or vanished disk costs a compilation, not an error.
        """
        if self.path is None:
            return
        try:
            code = library._get_compiled_object()
        except RuntimeError:  # Numba has not heard of it: a handler of a signal raised in its callback
            return
        module = library._final_module
        needed = {symbol.name for symbol in (*module.functions, *module.global_variables) if symbol.is_declaration}
        names = [function, *sorted(name for name in needed if not name.startswith("llvm."))]
        content = " ".join(names).encode() + b"\0" + code
        temporary = self.path.with_name(f"{self.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            try:
                with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(self.digest_of(content) + content)
                os.replace(temporary, self.path)
            except BaseException:
                temporary.unlink()
                raise

    def digest_of(self, content):
        """It covers the file's name: under that of another kernel, perhaps with another signature, it is worthless."""
        return hashlib.sha256(self.name.encode() + b"\0" + content).digest()


def contents_of_own(path):
    """The bytes of a plain file that belongs to the user and that no other user may write, else None."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            return file.read() if stat.S_ISREG(status.st_mode) and is_own(status) else None
    except OSError:
        return None


linkers = []
"""Engines of LLVM's that compile nothing, one for each object file: names of two processes may be the same."""

IMPLIED = ("memset", "memcpy", "memmove")
"""Functions of C that LLVM may call for a loop."""


def linked(code, function, needed):
    """The address of a function in object code, which stays in memory as long as the process lives.

    None if one of the symbols that it needs is not in this process.
    """
    rtsys.initialize(registry.cpu_target.target_context)
    if not all(binding.address_of_symbol(name) for name in (*needed, *IMPLIED)):
        return None
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(
        binding.parse_assembly(""), machine, use_lmm=config.USE_LLVMLITE_MEMORY_MANAGER
    )
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    linkers.append(engine)
    return engine.get_function_address(function)
