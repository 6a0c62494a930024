"""Kernels on disk: never older than the source, never somebody else's, and without a writable place nothing is missing.

All in copies of the package, in separate processes.
"""

import functools
import hashlib
import importlib.util
import json
import marshal
import os
import pickle
import py_compile
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

import fastbp

PACKAGE = Path(fastbp.__file__).parent
Z = np.linspace(-2, 2, 16, dtype=np.float32)

HEAD = """
    import json, sys
    import numpy as np
    from fastbp import Model
    from fastbp.core.layers import activation_kernels
    from fastbp.core.ir import cache
    from fastbp.core.ir.kernel import Kernel

    used, make = [], Kernel._make

    def noted(kernel):
        used.append(kernel)
        make(kernel)

    Kernel._make = noted

    def forward(name, size=4):
        z = np.linspace(-2, 2, 16).astype(f"f{size}")
        a = np.empty_like(z)
        activation_kernels.forward(name, size, 16).ctypes(a.ctypes.data, z.ctypes.data, 1, 16, 16)
        return a.tolist()

    def report(**more):
        hits = sum(kernel.from_cache for kernel in used)
        directory = cache.cache_directory()
        print(json.dumps({
            "hits": hits, "compiled": len(used) - hits, "directory": directory and str(directory),
            "loader": type(cache.__spec__.loader).__name__,
            "double": [kernel.key for kernel in used if 8 in kernel.key[2:]], **more,
        }))
"""
TWO_KERNELS = "report(relu=forward('relu'), sigmoid=forward('sigmoid'))"
PREDICT = """
    model = Model((3, 5, 2), output="sigmoid", loss="squared_error", seed=1)
    report(out=model.predict(np.ones((2, 3))).tolist())
"""


class Copy:
    """A copy of the package without its cache, and processes that use it."""

    def __init__(self, folder):
        self.folder, self.package = folder, folder / "site" / "fastbp"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        unset = {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONDONTWRITEBYTECODE"}
        self.environment = {name: value for name, value in os.environ.items() if name not in unset}
        self.environment |= {"PYTHONPATH": f"{folder / 'site'}{os.pathsep}{folder}", "HOME": str(folder / "home")}

    @property
    def kernels(self):
        return self.package / "core" / "__pycache__" / "kernels"

    def start(self, code, warnings="error", **environment):
        script = textwrap.dedent(HEAD) + textwrap.dedent(code)
        return subprocess.Popen(
            [sys.executable, "-W", warnings, "-c", script], cwd=self.folder, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, code, **environment):
        """What a separate process reports; it must say nothing else."""
        return result(self.start(code, **environment))

    def append(self, name, code):
        """Edit a file of the core."""
        with open(self.package / "core" / name, "a") as file:
            file.write(f"\n{code}\n")


def result(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == ""
    return json.loads(out)


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


@pytest.fixture
def cache_module(copy, monkeypatch):
    """Loads the copy's cache.py as it is now: it needs no other file of the core, and lists them."""

    def load():
        core = copy.package / "core"
        spec = importlib.util.spec_from_file_location(
            "copied_core", core / "__init__.py", submodule_search_locations=[str(core)]
        )
        monkeypatch.setitem(sys.modules, "copied_core", importlib.util.module_from_spec(spec))
        for name in ("copied_core.ir", "copied_core.ir.cache"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module("copied_core.ir.cache")

    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(copy.folder / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return load


def files(directory):
    return sorted(path for path in Path(directory).rglob("*") if path.is_file())


# Edits.


def test_an_edit_of_any_file_of_the_core_is_another_stamp(copy, cache_module):
    stamps = [cache_module().source_stamp()]
    sources = sorted((copy.package / "core").rglob("*.py"))
    assert len(sources) > 40
    for source in sources:
        copy.append(source.relative_to(copy.package / "core"), "# edited")
        stamps.append(cache_module().source_stamp())
    (copy.package / "core" / "more.py").write_text("")
    stamps.append(cache_module().source_stamp())
    (copy.package / "core" / "more.py").rename(copy.package / "core" / "other.py")
    stamps.append(cache_module().source_stamp())
    assert len(set(stamps)) == len(stamps)
    (copy.package / "core" / "other.py").unlink()
    assert cache_module().source_stamp() == stamps[-3]
    (copy.package / "core" / "room").mkdir()
    (copy.package / "core" / "room" / "__init__.py").write_text("")
    stamps.append(cache_module().source_stamp())
    (copy.package / "core" / "room" / "kernels.py").write_text("")
    stamps.append(cache_module().source_stamp())
    assert len(set(stamps)) == len(stamps), "files of folders below the core count, too"


EDITS = {
    "formulas/activations.py": "ACTIVATIONS['relu'] = ACTIVATIONS['relu']._replace(value=lambda z: z * 3.0)",
    "formulas/elementary.py": "TANH_Q[4] = [2.0 * c for c in TANH_Q[4]]",
    "ir/traced.py": "def select(mask, x, y, was=select): return was(mask, x, y) * 1.0 + 0.5",
}


def test_kernels_are_found_by_the_next_process_and_dropped_after_an_edit(copy):
    """Through a formula in a table, a constant, and a function that becomes part of others."""
    first, again = copy.run(TWO_KERNELS), copy.run(TWO_KERNELS)
    assert (first["hits"], first["compiled"]) == (0, 2)
    assert (again["hits"], again["compiled"]) == (2, 0)
    np.testing.assert_array_equal(first["relu"], np.maximum(Z, 0))
    np.testing.assert_allclose(first["sigmoid"], 1 / (1 + np.exp(-Z)), rtol=1e-6)
    assert (again["relu"], again["sigmoid"]) == (first["relu"], first["sigmoid"])
    seen = [first]
    for name, code in EDITS.items():
        copy.append(name, code)
        edited = copy.run(TWO_KERNELS)
        assert (edited["hits"], edited["compiled"]) == (0, 2), name
        assert [path.name for path in copy.kernels.iterdir()] == [Path(edited["directory"]).name], "old ones stay"
        assert edited["directory"] != seen[-1]["directory"]
        assert (edited["relu"], edited["sigmoid"]) != (seen[-1]["relu"], seen[-1]["sigmoid"]), name
        seen.append(edited)
    np.testing.assert_array_equal(seen[1]["relu"], 3 * Z)
    assert seen[1]["sigmoid"] == first["sigmoid"]
    assert (seen[2]["relu"], seen[2]["sigmoid"]) != (seen[1]["relu"], first["sigmoid"])
    assert copy.run(TWO_KERNELS)["hits"] == 2


def test_a_process_that_began_before_an_edit_leaves_no_old_code_under_the_new_stamp(copy):
    path = copy.package / "core" / "formulas" / "activations.py"
    code = "\n" + EDITS["formulas/activations.py"] + "\n"
    old = copy.run(f"with open({str(path)!r}, 'a') as file: file.write({code!r})\n{TWO_KERNELS}")
    np.testing.assert_array_equal(old["relu"], np.maximum(Z, 0))
    new = copy.run(TWO_KERNELS)
    np.testing.assert_array_equal(new["relu"], 3 * Z)


def as_zip(copy):
    """The package in an archive on the path, without its folder."""
    archive = copy.folder / "site.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in files(copy.package):
            if "__pycache__" not in path.parts:
                file.write(path, path.relative_to(copy.package.parent))
    return {"PYTHONPATH": str(archive)}


def without_sources(copy):
    """Byte code in the place of the sources."""
    site = copy.folder / "bytecode"
    for path in files(copy.package):
        target = site / path.relative_to(copy.package.parent)
        if "__pycache__" not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        if path.suffix == ".py":
            py_compile.compile(str(path), str(target.with_suffix(".pyc")), dfile=path.name, doraise=True)
            target.unlink()
    return {"PYTHONPATH": str(site)}


FROZEN = """
import importlib.machinery, importlib.util, marshal, pkgutil, sys, sysconfig

class Frozen:
    \"\"\"Modules of a frozen application: code, no file that could be read.\"\"\"

    def __init__(self, path=None):
        if path is not None and not path.startswith("/dev/null/frozen"):
            raise ImportError

    def find_spec(self, name, path=None, target=None):
        if name in CODE:
            origin = "/dev/null/frozen/" + name.replace(".", "/") + ".py"
            spec = importlib.machinery.ModuleSpec(name, self, origin=origin, is_package=CODE[name][0])
            spec.has_location = True
            if CODE[name][0]:
                spec.submodule_search_locations = [origin.removesuffix(".py")]
            return spec

    def create_module(self, spec):
        return None

    def get_code(self, name):
        return marshal.loads(CODE[name][1])

    def exec_module(self, module):
        exec(self.get_code(module.__name__), vars(module))

@pkgutil.iter_importer_modules.register(Frozen)
def names_below(importer, prefix=""):
    below = [name for name in CODE if name.startswith(prefix) and "." not in name[len(prefix):]]
    return ((name, CODE[name][0]) for name in below)

sys.meta_path.insert(0, Frozen())
sys.path_hooks.insert(0, Frozen)
sys.path_importer_cache.clear()
"""


def frozen(copy):
    """An importer of code without files, which Python loads as it starts."""
    code = {}
    for path in files(copy.package):
        if path.suffix == ".py":
            parts = path.relative_to(copy.package.parent).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            code[name] = is_package, marshal.dumps(compile(path.read_text(), str(path), "exec"))
    site = copy.folder / "frozen"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"CODE = {code!r}\n{FROZEN}")
    return {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize(
    ("form", "loader"),
    [(as_zip, "zipimporter"), (without_sources, "SourcelessFileLoader"), (frozen, "Frozen")],
)
def test_an_update_is_seen_in_every_form_of_installation(copy, form, loader):
    run = functools.partial(copy.run, "report(relu=forward('relu'))")
    first, again = (run(**form(copy)) for _ in range(2))
    assert first["loader"] == loader
    assert (first["hits"], first["compiled"]) == (0, 1)
    assert (again["hits"], again["compiled"]) == (1, 0), "what has not changed is not compiled again"
    np.testing.assert_array_equal(again["relu"], np.maximum(Z, 0))
    copy.append("formulas/activations.py", EDITS["formulas/activations.py"])
    updated = run(**form(copy))
    assert (updated["hits"], updated["compiled"]) == (0, 1)
    np.testing.assert_array_equal(updated["relu"], 3 * Z)


USER = """
    import numba
    import fastbp.jit

    @numba.njit(cache=True)
    def predict(net, theta, X, out, workspace):
        fastbp.jit.predict(net, theta, X, out, workspace)
"""
CALL_USER = """
    import user
    from fastbp.core.workspace import embedded_size

    model = Model((3, 5, 2), seed=1)
    X, out = np.ones((2, 3), np.float32), np.zeros((2, 2), np.float32)
    model.fit(X, out, epochs=1, validation_data=(X, out))
    model.evaluate(X, out)
    net, theta, work = model.compiled(), model.parameters, model.workspace(2)
    needed = int(embedded_size(net, 1))
    sizes = {"needed": needed}
    for name, size in {"enough": needed, "too_small": needed - 1}.items():
        try:
            user.predict(net, theta, X, out, np.zeros(1 << 20, np.float32)[:size])
            sizes[name] = "accepted"
        except ValueError as error:
            sizes[name] = str(error)
    out[:] = 0
    user.predict(net, theta, X, out, work)
    counts = [sum(counter.values()) for counter in (user.predict.stats.cache_hits, user.predict.stats.cache_misses)]
    report(out=out.tolist(), expected=model.predict(X).tolist(), user=counts, **sizes)
"""
LARGER_WORKSPACE = """
_job_size = job_size

@register_jitable
def job_size(net):
    return _job_size(net) + 1000
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A copy after a process that used all of float32, what this reported, and the names of its files."""
    copy = Copy(tmp_path_factory.mktemp("used"))
    (copy.folder / "user.py").write_text(textwrap.dedent(USER))
    report = copy.run(CALL_USER)
    return copy, report, [path.name for path in files(copy.kernels)]


def test_a_users_cached_function_sees_the_new_code_without_being_compiled_again(used):
    copy, before, _ = used
    assert before["user"] == [0, 1]
    assert before["out"] == before["expected"]
    assert before["enough"] == "accepted"
    assert "too small" in before["too_small"]

    copy.append("formulas/activations.py", EDITS["formulas/activations.py"])
    copy.append("workspace.py", LARGER_WORKSPACE)
    after = copy.run(CALL_USER)
    assert after["user"] == [1, 0], "the user's function comes from its own cache"
    assert after["hits"] == 0, "all of the library's kernels are new"
    assert after["out"] == after["expected"] != before["out"]
    assert after["needed"] == before["needed"] + 1000
    assert after["enough"] == "accepted"
    assert "too small" in after["too_small"], "for the new kernels, as for the old"


# Where.


def test_kernels_lie_beside_the_package(copy, cache_module):
    directory = cache_module().cache_directory()
    assert directory.parent == copy.kernels
    assert directory.stat().st_mode & 0o077 == 0


def test_a_package_that_cannot_be_written_keeps_them_in_the_users_cache(copy, cache_module, monkeypatch):
    """Root may write where permissions forbid it; no one may make a folder below a file."""
    (copy.package / "core" / "__pycache__").write_text("in the way")
    at_home = cache_module().cache_directory()
    assert at_home.is_relative_to(copy.folder / "home" / ".cache" / "fastbp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy.folder / "xdg"))
    elsewhere = cache_module().cache_directory()
    assert elsewhere.is_relative_to(copy.folder / "xdg" / "fastbp")
    assert elsewhere.stat().st_mode & 0o077 == 0


def test_two_installations_share_a_users_cache_in_folders_of_their_own(tmp_path, monkeypatch):
    copies = [Copy(tmp_path / name) for name in ("one", "other")]
    xdg = str(tmp_path / "xdg")
    for copy in copies:
        (copy.package / "core" / "__pycache__").write_text("in the way")
    copies[1].append("formulas/activations.py", EDITS["formulas/activations.py"])
    reports = [copy.run("report(relu=forward('relu'))", XDG_CACHE_HOME=xdg) for copy in copies * 2]
    assert [report["hits"] for report in reports] == [0, 0, 1, 1]
    np.testing.assert_array_equal(reports[2]["relu"], np.maximum(Z, 0))
    np.testing.assert_array_equal(reports[3]["relu"], 3 * Z)


def test_numba_cache_dir_comes_first(copy, cache_module, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(copy.folder / "numba"))
    assert cache_module().cache_directory().is_relative_to(copy.folder / "numba")
    assert not copy.kernels.exists()


by_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.mark.parametrize("mode", [0o777, 0o770])
@pytest.mark.parametrize("which", ["folder", "its parent"])
def test_a_folder_that_others_may_write_is_not_used(copy, cache_module, mode, which):
    directory = cache_module().cache_directory()
    (directory if which == "folder" else directory.parent).chmod(mode)
    assert cache_module().cache_directory().is_relative_to(copy.folder / "home")


@pytest.mark.parametrize("which", ["folder", "its parent"])
def test_a_link_to_a_folder_is_not_used_and_nothing_in_that_is_removed(copy, cache_module, which):
    directory, precious = cache_module().cache_directory(), copy.folder / "precious"
    link = directory if which == "folder" else directory.parent
    shutil.rmtree(link)
    (precious / "0123456789abcdef").mkdir(parents=True)
    link.symlink_to(precious)
    assert cache_module().cache_directory().is_relative_to(copy.folder / "home")
    assert (precious / "0123456789abcdef").exists()


def test_only_folders_of_other_stamps_are_removed(copy, cache_module):
    directory = cache_module().cache_directory()
    for name in ("0123456789abcdef", "notes", "0123456789ABCDEF"):
        (directory.parent / name).mkdir()
    cache_module().cache_directory()
    assert sorted(path.name for path in directory.parent.iterdir()) == sorted(
        [directory.name, "notes", "0123456789ABCDEF"]
    )


@by_root
@pytest.mark.parametrize("which", ["folder", "its parent"])
def test_a_folder_of_another_user_is_not_used_not_even_by_root(copy, cache_module, which):
    directory = cache_module().cache_directory()
    os.chown(directory if which == "folder" else directory.parent, 12345, 12345)
    assert cache_module().cache_directory().is_relative_to(copy.folder / "home")


def of_another_user(path):
    os.chown(path, 12345, 12345)


def that_others_may_write(path):
    path.chmod(0o666)


def that_is_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def that_is_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def that_is_a_folder(path):
    path.unlink()
    path.mkdir()


def with_a_pickle_that_runs(path):
    """As kernels were kept once: a digest of the content, then a pickle."""

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(path.parent / "ran"),)

    data = pickle.dumps(Bomb())
    path.write_bytes(hashlib.sha256(data).digest() + data)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(of_another_user, marks=by_root), that_others_may_write, that_is_a_link, that_is_a_pipe,
        that_is_a_folder, with_a_pickle_that_runs,
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_plain_one_of_the_user_alone_is_not_read(copy, spoil):
    copy.run(TWO_KERNELS)
    (relu,) = (path for path in files(copy.kernels) if "relu" in path.name)
    spoil(relu)
    report = copy.run(TWO_KERNELS)
    assert (report["hits"], report["compiled"]) == (1, 1)
    np.testing.assert_array_equal(report["relu"], np.maximum(Z, 0))
    assert not list(copy.kernels.rglob("ran"))


def test_a_kernels_file_under_the_name_of_another_is_not_read(copy):
    copy.run(PREDICT)
    kernels = files(copy.kernels)
    contents = [path.read_bytes() for path in kernels]
    for path, content in zip(kernels, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    report = copy.run(PREDICT)
    assert (report["hits"], report["compiled"]) == (0, len(kernels))


def test_no_pickle_is_read_or_written():
    source = "".join(path.read_text() for path in (PACKAGE / "core").rglob("*.py"))
    assert not re.search(r"^\s*(import|from) (pickle|marshal|dill|cloudpickle)", source, re.MULTILINE)


def nowhere_to_keep_kernels(copy):
    (copy.package / "core" / "__pycache__").write_text("in the way")
    (copy.folder / "file").write_text("in the way")
    return {"XDG_CACHE_HOME": str(copy.folder / "file"), "PYTHONDONTWRITEBYTECODE": "1"}


def test_that_nothing_is_kept_is_said_once(copy):
    process = copy.start(TWO_KERNELS, warnings="always", **nowhere_to_keep_kernels(copy))
    _, errors = process.communicate(timeout=120)
    assert errors.count("RuntimeWarning") == 1
    assert "set NUMBA_CACHE_DIR" in errors


def test_without_any_writable_place_everything_works_and_nothing_is_kept(copy):
    nowhere = nowhere_to_keep_kernels(copy)
    before = files(copy.folder)
    report = copy.run(PREDICT, warnings="ignore", **nowhere)
    assert report["directory"] is None
    assert (report["hits"], report["compiled"] > 4) == (0, True)
    assert np.shape(report["out"]) == (2, 2)
    assert files(copy.folder) == before


def test_without_a_home_everything_works(copy):
    """A user id without an entry and without HOME, as in some containers."""
    unknown = "import os, pwd\nos.environ.pop('HOME')\ndef nobody(uid): raise KeyError(uid)\npwd.getpwuid = nobody\n"
    assert copy.run(unknown + TWO_KERNELS)["compiled"] == 2
    shutil.rmtree(copy.package / "core" / "__pycache__")
    (copy.package / "core" / "__pycache__").write_text("in the way")
    assert copy.run(unknown + TWO_KERNELS, warnings="ignore")["directory"] is None
    assert not (copy.folder / "~").exists()


def test_a_disk_that_is_full_costs_a_compilation(copy):
    full = "import os\ndef replace(*_): raise OSError(28, 'No space left on device')\nos.replace = replace\n"
    report = copy.run(full + TWO_KERNELS)
    np.testing.assert_array_equal(report["relu"], np.maximum(Z, 0))
    assert files(copy.kernels) == [], "nothing half-written stays"
    assert copy.run(TWO_KERNELS)["hits"] == 0


# What.


def test_two_processes_that_compile_at_once_both_succeed_and_damage_is_repaired(copy):
    both = [copy.start(PREDICT) for _ in range(2)]
    one, other = (result(process) for process in both)
    assert one["out"] == other["out"]
    again = copy.run(PREDICT)
    assert again["compiled"] == 0
    assert again["out"] == one["out"]
    kernels = files(copy.kernels)
    assert len(kernels) == again["hits"], "one file a kernel, nothing left over"

    truncated, flipped, emptied, swapped, *_ = kernels
    contents = {path: path.read_bytes() for path in kernels}
    truncated.write_bytes(contents[truncated][:-100])
    at = len(contents[flipped]) // 2
    flipped.write_bytes(contents[flipped][:at] + bytes([contents[flipped][at] ^ 1]) + contents[flipped][at + 1 :])
    emptied.write_bytes(b"")
    swapped.unlink()
    repaired = copy.run(PREDICT)
    assert repaired["compiled"] == 4
    assert repaired["hits"] == again["hits"] - 4
    assert repaired["out"] == one["out"]
    assert copy.run(PREDICT)["compiled"] == 0


def test_float64_is_not_compiled_before_it_is_used(used, copy):
    _, report, names = used
    assert report["double"] == []
    assert report["compiled"] == len(names) > 10
    assert [name for name in names if re.search("-8-", name)] == []
    assert copy.run("report(out=forward('relu', 8))")["double"] != []
    assert [path.name for path in files(copy.kernels) if re.search("-8-", path.name)] != []
