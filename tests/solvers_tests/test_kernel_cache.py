"""Machine code on disk: one process compiles, others read; nothing damaged or stale is used; no folder is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from solvers import kernel_cache
from solvers.compiled import compiled
from solvers.integrators import kernels

ROOT = Path(__file__).resolve().parents[2]
FACTOR = 3.0

# Calls a kernel and prints how often it was compiled. What is slow is imported before it says that it is ready.
CALL = """
import sys, time
from pathlib import Path
import numpy as np
import numba.core.event as event
from solvers.integrators.kernels import combine
combine.kernel
ready, go = map(Path, sys.argv[1:])
ready.touch()
while not go.exists():
    time.sleep(0.005)
with event.install_recorder("numba:compile") as recorder:
    out = np.zeros((1, 1, 5))
    combine(np.ones((1, 8, 1, 5)), np.zeros(1, dtype=np.int64), np.full((1, 4), 0.5), out)
assert (out == 2.0).all()
names = [e.data["dispatcher"].py_func.__name__ for _, e in recorder.buffer if e.is_start]
print(names.count("combine"))
"""


HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])  # let go of, it would be released
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


class Call:
    """A process that waits for a file ``go`` and then calls a kernel."""

    def __init__(self, folder: Path, name: str, **environment: str) -> None:
        self.ready = folder / f"ready-{name}"
        program = [sys.executable, "-c", CALL, str(self.ready), str(folder / "go")]
        everything = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        self.process = subprocess.Popen(program, cwd=ROOT, env=everything, stdout=subprocess.PIPE, text=True)

    def wait_until_ready(self) -> None:
        while not self.ready.exists():
            assert self.process.poll() is None

    def compilations(self) -> int:
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return int(out)


def added(x: np.ndarray) -> None:
    for i in range(len(x)):
        x[i] += FACTOR


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets where machine code is looked for."""

    def use(*paths: Path) -> None:
        monkeypatch.setattr(kernel_cache, "_folders", lambda: paths)
        kernel_cache.writable_folder.cache_clear()

    yield use
    kernel_cache.writable_folder.cache_clear()


def fresh_result(function: types.FunctionType = added) -> tuple[float, bool]:
    """What a fresh object of the function makes of 1.0, and whether it was read from disk."""
    kernel = compiled(function).kernel
    x = np.ones(3)
    kernel(x)
    return float(x[0]), bool(kernel.stats.cache_hits)


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


def test_one_process_compiles_and_the_other_reads(tmp_path):
    calls = [Call(tmp_path, name, NUMBA_CACHE_DIR=str(tmp_path / "code")) for name in "ab"]
    for call in calls:
        call.wait_until_ready()
    (tmp_path / "go").touch()
    assert sorted(call.compilations() for call in calls) == [0, 1]
    assert len(kept(tmp_path / "code")) == 1


def test_whoever_waits_goes_on_when_the_holder_of_the_lock_is_killed(tmp_path, folders):
    folders(tmp_path / "code")
    kernel = kernels.combine.kernel
    arguments = kernel_cache.numba.typeof(
        (np.ones((1, 1, 1, 1)), np.zeros(1, int), np.ones((1, 1)), np.ones((1, 1, 1)))
    )
    name = kernel._cache._name(tuple(arguments), kernel.targetctx.codegen())
    lock = kernel_cache.writable_folder() / "locks" / name
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline()
    call = Call(tmp_path, "a", NUMBA_CACHE_DIR=str(tmp_path / "code"))
    call.wait_until_ready()
    (tmp_path / "go").touch()
    with pytest.raises(subprocess.TimeoutExpired):  # ten times as long as compiling takes
        call.process.wait(timeout=3.0)
    holder.kill()
    holder.communicate()
    assert call.compilations() == 1
    assert [path.name for path in kept(tmp_path / "code")] == [name]


def test_a_lock_that_is_never_released_delays_once(tmp_path, folders, monkeypatch, caplog):
    folders(tmp_path)
    monkeypatch.setattr(kernel_cache.KernelCache, "_wait", 0.1)
    kernel = compiled(added).kernel
    types_of = (kernel_cache.numba.typeof(np.ones(3)),)
    name = kernel._cache._name(types_of, kernel.targetctx.codegen())
    kernel_cache.writable_folder()
    with FileLock(tmp_path / "locks" / name):
        assert fresh_result() == (1.0 + FACTOR, False)
    assert kernel_cache.KernelCache._wait == 0.0
    assert "another process" in caplog.text


def test_what_is_kept_is_read(tmp_path, folders):
    folders(tmp_path)
    assert fresh_result() == (1.0 + FACTOR, False)
    assert fresh_result() == (1.0 + FACTOR, True)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:0], lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:]])
def test_a_damaged_file_is_compiled_again(tmp_path, folders, damage):
    folders(tmp_path)
    fresh_result()
    (path,) = kept(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert fresh_result() == (1.0 + FACTOR, False)
    assert fresh_result() == (1.0 + FACTOR, True)
    assert kept(tmp_path) == [path]


def test_a_folder_that_cannot_be_written_is_read_and_another_is_written(tmp_path, folders, monkeypatch):
    image, other = tmp_path / "image", tmp_path / "other"
    folders(image)
    fresh_result()
    # Tests may run as root, whom permissions do not stop; a file in place of the folder for locks does.
    (image / "locks").rename(tmp_path / "gone")
    (image / "locks").touch()
    folders(image, other)
    assert kernel_cache.writable_folder() == other
    assert fresh_result() == (1.0 + FACTOR, True)
    monkeypatch.setitem(globals(), "FACTOR", 7.0)
    assert fresh_result() == (8.0, False)
    assert len(kept(other)) == 1


def test_without_any_folder_everything_is_compiled_in_memory(tmp_path, folders, caplog):
    (tmp_path / "file").touch()
    folders(tmp_path / "file" / "code")
    assert fresh_result() == (1.0 + FACTOR, False)
    assert fresh_result() == (1.0 + FACTOR, False)
    assert "set NUMBA_CACHE_DIR" in caplog.text


def test_a_changed_constant_or_function_inside_is_compiled_anew(tmp_path, folders, monkeypatch):
    folders(tmp_path)
    fresh_result()
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    assert fresh_result() == (6.0, False)

    def outer(source: str) -> types.FunctionType:
        scope = {"inner": compiled(_function(f"def inner(v):\n    return {source}", {"__name__": __name__}))}
        return _function("def outer(x):\n    x[0] = inner(x[0])", scope | {"__name__": __name__})

    assert fresh_result(outer("v + 1.0")) == (2.0, False)
    assert fresh_result(outer("v + 1.0")) == (2.0, True)
    assert fresh_result(outer("v + 2.0")) == (3.0, False)


def _function(source: str, scope: dict[str, object]) -> types.FunctionType:
    exec(source, scope)
    return scope[source.split("(")[0].removeprefix("def ")]  # type: ignore[return-value]


def test_without_a_home_folder_temporary_files_serve(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_cache.config, "CACHE_DIR", "")
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", str(tmp_path))

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kernel_cache, "cache_folder", homeless)
    (folder,) = kernel_cache._folders.__wrapped__()
    assert folder.parent == tmp_path
    folder.chmod(0o777)  # others could put their code there
    assert kernel_cache._folders.__wrapped__() == ()


SIGNATURES = """
import json, sys
import torch
from solvers import CahnHilliard, GrainGrowth, Grid, simulate
from solvers.compiled import Compiled
for dtype in (torch.float32, torch.float64):
    field = 0.1 * torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for boundary in ("periodic", "no_flux"):
        grid = Grid(shape=(16, 16), spacing=1.0, boundary=boundary)
        simulate(CahnHilliard(grid=grid), field, [0.0, 1.0, 30.0], tolerance=1e-3, dtype=dtype)
        grains = field.abs()[:, None].repeat(1, 3, 1, 1)
        simulate(GrainGrowth(grid=grid), grains, [0.0, 5.0], tolerance=1e-2, dtype=dtype)
found = {}
for name, module in list(sys.modules.items()):
    if name.startswith("solvers"):
        found |= {k: len(v.kernel.overloads) for k, v in vars(module).items() if isinstance(v, Compiled)}
print(json.dumps(found))
"""
#: What works on arrays over cells or modes exists for float32 and float64, the rest once.
TWICE = {
    "predict", "correct", "restabilise", "scale", "combine", "double_well_force", "grain_force", "double_well_mean",
    "weighted_squares", "shift_means", "_difference_squares", "emit", "stabilise",
}  # fmt: skip


def test_kernels_of_a_run_are_compiled_for_few_types():
    done = subprocess.run(
        [sys.executable, "-c", SIGNATURES],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert {name for name, count in found.items() if count > 1} <= TWICE
    assert max(found.values()) == 2
