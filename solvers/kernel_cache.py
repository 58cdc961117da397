"""Machine code of compiled functions on disk: compiled once, by one process.

Where: ``$NUMBA_CACHE_DIR`` if that is set, else ``kernels`` in the user's cache folder (:mod:`solvers.user_cache`);
where that cannot be written, a private folder among the temporary files of this machine; where that cannot be written
either, machine code lives as long as its process. So installations may be read-only, and all environments and clones
of a user share what they have in common. What is found in a folder that cannot be written is used all the same: an
image may contain it.

A file holds one function for one combination of types. Its name contains a hash of all that the machine code depends
on: byte code and constants of the function and of the kernels that it calls, options, types, the processor, and the
versions of Python, numba, llvmlite and rocket-fft. So nothing stale is ever read, and files are written once, whole
(renamed into place), with a checksum: a damaged one is compiled again. The folder may be removed at any time.

While one process compiles, others wait for its file: a lock of the operating system on a file of the same name, which
ends with its holder. Without locks (some network file systems), or after a minute, a process compiles for itself.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import platform
import stat
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import rocket_fft
from filelock import FileLock, Timeout
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from solvers.user_cache import cache_folder

#: Longer than any function takes to compile on a busy machine; whoever has waited so long once waits no more.
WAIT_SECONDS = 60.0
_CHECKSUM_BYTES = 32

_log = logging.getLogger(__name__)


class KernelCache(_Cache):
    """Machine code of one function, on disk.

    Args:
        function: what is compiled.
        options: numba's options for it.
    """

    _wait = WAIT_SECONDS

    def __init__(self, function: Callable[..., object], options: dict[str, object]) -> None:
        self._label = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}".replace("<locals>", "")
        parts = [*_parts(function), *sorted(f"{name} {_ordered(value)}" for name, value in options.items())]
        versions = [platform.python_version(), numba.__version__, llvmlite.__version__, rocket_fft.__version__]
        self._parts = "\n".join([*versions, *parts])
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        folder = writable_folder()
        return str(folder) if folder else None

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Nothing is ever stale."""

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """The function for argument types ``sig``; None if it is not on disk whole."""
        target_context.refresh()
        data = self._read(self._name(sig, target_context.codegen()))
        if data is None:
            return None
        return CompileResult._rebuild(target_context, *pickle.loads(data))

    def save_overload(self, sig: Any, data: Any) -> None:
        folder = writable_folder()
        # Addresses of this process are no code for another.
        if not self._enabled or folder is None or data.library.has_dynamic_globals:
            return
        content = dumps(data._reduce())
        try:
            _write(folder / self._name(sig, data.codegen), hashlib.sha256(content).digest() + content)
        except OSError as error:
            _log.warning("%s: machine code cannot be kept (%s)", folder, error)

    @contextlib.contextmanager
    def turn(self, sig: Any, target_context: Any) -> Iterator[None]:
        """While the block runs, no other process compiles the same; entered at once if the result is there."""
        name = self._name(sig, target_context.codegen())
        folder = writable_folder()
        if not self._enabled or folder is None or self._read(name) is not None:
            yield
            return
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(FileLock(folder / "locks" / name, timeout=KernelCache._wait))
            except Timeout:
                KernelCache._wait = 0.0
                _log.warning("%s: another process has been compiling it for %.0f s", name, WAIT_SECONDS)
            except (OSError, NotImplementedError) as error:
                _log.info("%s: no locks in this folder (%s)", folder, error)
            yield

    def _name(self, sig: Any, codegen: Any) -> str:
        key = f"{self._parts}\n{normalize_signature(sig)}\n{codegen.magic_tuple()}"
        return f"{self._label}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def _read(self, name: str) -> bytes | None:
        """The content of a file; None where it is missing or damaged."""
        for folder in _folders() if self._enabled else ():
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue
            data = content[_CHECKSUM_BYTES:]
            if hashlib.sha256(data).digest() == content[:_CHECKSUM_BYTES]:
                return data
        return None


class Kernel(CPUDispatcher):
    """A function compiled by numba, whose machine code :class:`KernelCache` keeps."""

    def enable_caching(self) -> None:
        self._cache = KernelCache(self.py_func, self.targetoptions)

    def compile(self, sig: Any) -> Any:
        # The compiler's lock first: a thread that compiles may need a function whose file this one waits for.
        with global_compiler_lock:
            if not isinstance(self._cache, KernelCache) or tuple(normalize_signature(sig)[0]) in self.overloads:
                return super().compile(sig)
            with self._cache.turn(sig, self.targetctx):
                return super().compile(sig)


def kernel(function: Callable[..., object], options: dict[str, object]) -> Any:
    """A function of arrays and numbers, compiled at its first call; with ``NUMBA_DISABLE_JIT`` the function itself."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function
    # No one calls it from C.
    always = {"nopython": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    made = Kernel(function, targetoptions={**always, **options})
    made.enable_caching()
    return made


def _parts(function: Callable[..., object]) -> Iterator[str]:
    """Texts that determine what is compiled."""
    names: list[str] = []
    codes = [function.__code__]
    for code in codes:  # grows with the functions inside
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        constants = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
        yield f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames} {code.co_freevars}"
        names += code.co_names
    scopes = [function.__globals__]
    for name in sorted(set(names)):
        scopes += [vars(value) for value in [function.__globals__.get(name)] if isinstance(value, types.ModuleType)]
    for name in sorted(set(names)):
        for value in [scope[name] for scope in scopes if name in scope]:
            inner = getattr(value, "py_func", None)
            if inner is not None and inner is not function:
                yield from _parts(inner)
            elif isinstance(value, (int, float, complex, str, tuple)):
                yield f"{name} {value!r}"
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        inner = getattr(cell.cell_contents, "py_func", None)
        if inner is None:
            yield f"{name} {cell.cell_contents!r}"
        else:
            yield from _parts(inner)


def _ordered(value: object) -> str:
    return str(sorted(value) if isinstance(value, set) else value)


@functools.cache
def _folders() -> tuple[Path, ...]:
    """Where machine code is looked for, in this order."""
    found = []
    chosen: str = config.CACHE_DIR  # type: ignore[attr-defined]
    if chosen:
        found.append(Path(chosen))
    else:
        with contextlib.suppress(RuntimeError):
            found.append(cache_folder() / "kernels")
    with contextlib.suppress(OSError):
        found.append(_private_temporary_folder())
    return tuple(found)


def _private_temporary_folder() -> Path:
    """Raises OSError if the folder cannot be made, or others can write to it, whose files must not be run."""
    user = os.getuid() if hasattr(os, "getuid") else None  # Windows has a folder for each user
    folder = Path(tempfile.gettempdir()) / f"phasetwin-kernels-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if user is not None and (not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o022):
        raise PermissionError(f"{folder}: not a folder of this user alone")
    return folder


@functools.cache
def writable_folder() -> Path | None:
    """Where machine code is written; None if nowhere."""
    for folder in _folders():
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    _log.warning("no folder for machine code can be written: every process compiles for itself (set NUMBA_CACHE_DIR)")
    return None


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.close()
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
