"""The driver's side of a worker process: start it on one core with one thread, ask, read the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers_bench.contender import Contender

BENCHMARKS = Path(__file__).resolve().parents[1]
PEERS_ENVIRONMENT = BENCHMARKS / ".envs" / "peers"

_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "Agg",
}


class WorkerFailedError(RuntimeError):
    """A contender raised, or its process ended."""


class Client:
    """A running worker.

    Args:
        module: module of ``peers_bench.contenders``.
        contender: the contender of that module it runs.
        reference_file: ``.npy`` of the reference fields.
        core: processor core it is pinned to; the same for all, so that they meet the same conditions.
    """

    def __init__(self, module: str, contender: Contender, reference_file: Path, core: int) -> None:
        self.module, self.contender = module, contender
        python = Path(sys.executable)
        if contender.environment == "peers":
            python = PEERS_ENVIRONMENT / "bin" / "python"
        path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])
        arguments = [module, contender.name, str(reference_file), str(core)]
        self._process = subprocess.Popen(
            [str(python), "-m", "peers_bench.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            cwd=BENCHMARKS.parent,
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Call a method of the worker.

        Raises:
            WorkerFailedError: with what the contender raised.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailedError(f"{self.contender.name}: its process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise WorkerFailedError(f"{self.contender.name}: {answer['failure']}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
