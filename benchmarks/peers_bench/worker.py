"""One contender in its own process, and the driver's side of it.

The process builds solvers, runs and times them on request: one JSON request a line on standard input, one JSON line of
answer on standard output. What the library itself prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import BENCHMARKS, ROOT
from common.spectral import Array

from peers_bench.contender import Contender, Solver, contenders_of
from peers_bench.problem import PROBLEMS, TRAJECTORIES, Problem, relative_errors

PEERS_ENVIRONMENT = BENCHMARKS / ".envs" / "peers"
REQUIREMENTS = BENCHMARKS / "peers-requirements.txt"
_SHOWN = ("exponax", "jax", "torchfsm", "torch", "spectralETD", "evoxels", "py-pde", "numba", "rocket-fft", "numpy")
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "MPLBACKEND": "Agg",
}
_SEEDS_TIMED = 4


def python_of_peers() -> Path:
    """Interpreter of the peers' own environment, whether or not it exists: their pins do not suit this project."""
    return PEERS_ENVIRONMENT / "bin" / "python"


def make_environment() -> None:
    """Create the environment and install the pinned peers (about 2.6 GB on disk)."""
    subprocess.run([sys.executable, "-m", "venv", str(PEERS_ENVIRONMENT)], check=True)
    subprocess.run([str(python_of_peers()), "-m", "pip", "install", "-r", str(REQUIREMENTS)], check=True)


def versions() -> dict[str, str]:
    """Installed versions of the peers, by name."""
    listing = subprocess.run(
        [str(python_of_peers()), "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    installed = {row["name"].lower(): row["version"] for row in json.loads(listing.stdout)}
    return {name: installed[name.lower()] for name in _SHOWN if name.lower() in installed}


class WorkerFailedError(RuntimeError):
    """A contender raised, or its process ended."""


class Client:
    """A running worker.

    Args:
        module: module of ``peers_bench.contenders``.
        contender: the contender of that module it runs.
        problem: what it solves.
        reference_file: ``.npy`` of the reference fields.
        core: processor core it is pinned to; the same for all, so that they meet the same conditions.
    """

    def __init__(self, module: str, contender: Contender, problem: Problem, reference_file: Path, core: int) -> None:
        self.module, self.contender, self.problem = module, contender, problem
        python = python_of_peers() if contender.environment == "peers" else Path(sys.executable)
        path = os.pathsep.join([str(BENCHMARKS), str(ROOT)])
        arguments = [module, contender.name, problem.name, str(reference_file), str(core)]
        self._process = subprocess.Popen(
            [str(python), "-m", "peers_bench.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
            cwd=ROOT,
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


class Worker:
    """Answers requests for one contender; solvers stay built, so later calls are warm."""

    def __init__(self, contender: Contender, problem: Problem, reference: Array) -> None:
        self._contender = contender
        self._reference = reference
        self._initial = problem.initial_fields(TRAJECTORIES)
        self._solvers: dict[int, Solver] = {}

    def run(self, index: int, chunk: int, trajectories: int) -> dict[str, Any]:
        """Errors of ``trajectories`` runs in calls of ``chunk``, and a first idea of the cost.

        Returns:
            ``errors`` (list, relative L2 of each trajectory that has a reference), ``seconds`` of processor time per
            trajectory after one warm-up call (less disturbed by others on the machine than the wall clock; only for
            choosing settings).
        """
        solver = self._solver(index)
        fields = self._initial[:trajectories]
        solver(fields[:chunk])
        start = time.process_time()
        answers = np.concatenate([solver(part) for part in _parts(fields, chunk)])
        seconds = (time.process_time() - start) / len(fields)
        judged = min(trajectories, len(self._reference))
        errors = relative_errors(answers[:judged], self._reference[:judged])
        return {"errors": errors.tolist(), "seconds": seconds}

    def time_single(self, index: int, budget: float) -> dict[str, float]:
        """Seconds per trajectory, one at a time: mean over a few trajectories of the best of repeated calls.

        Repeats until ``budget`` seconds are spent, at least twice; slow solvers get one trajectory and one call.
        """
        solver = self._solver(index)
        seeds = min(_SEEDS_TIMED, len(self._initial), self._contender.trajectories)
        solver(self._initial[:1])  # another contender ran since: caches are cold
        wall = np.full(seeds, np.inf)
        cpu = np.full(seeds, np.inf)
        begin, rounds = time.perf_counter(), 0
        while rounds < 2 or time.perf_counter() - begin < budget:
            for seed in range(seeds):
                elapsed = _timed(solver, self._initial[seed : seed + 1])
                wall[seed], cpu[seed] = min(wall[seed], elapsed[0]), min(cpu[seed], elapsed[1])
                if elapsed[0] > budget:
                    known = np.isfinite(wall)
                    return {"wall": float(wall[known].mean()), "cpu": float(cpu[known].mean())}
            rounds += 1
        return {"wall": float(wall.mean()), "cpu": float(cpu.mean())}

    def time_batch(self, index: int, chunk: int, budget: float) -> dict[str, float]:
        """Seconds per trajectory of one pass over all trajectories in calls of ``chunk``.

        A pass that has taken ``budget`` seconds stops there: slow solvers take fixed steps, the same for every start.
        """
        solver = self._solver(index)
        solver(self._initial[:chunk])
        spent, done = np.zeros(2), 0
        for part in _parts(self._initial, chunk):
            spent += _timed(solver, part)
            done += len(part)
            if spent[0] > budget:
                break
        return {"wall": float(spent[0] / done), "cpu": float(spent[1] / done)}

    def _solver(self, index: int) -> Solver:
        if index not in self._solvers:
            self._solvers[index] = self._contender.build(self._contender.settings[index])
            # torchfsm collects garbage in every call; what is built by now need not be walked again.
            gc.collect()
            gc.freeze()
        return self._solvers[index]


def _parts(fields: Array, chunk: int) -> list[Array]:
    return [fields[start : start + chunk] for start in range(0, len(fields), chunk)]


def _timed(solver: Solver, fields: Array) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    solver(fields)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Serve requests until standard input closes. Arguments: module, contender, problem, reference, core."""
    module, name, problem, reference_file, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries' own prints must not mix with the answers
    warnings.simplefilter("ignore")  # this process only runs a benchmark
    contender = next(c for c in contenders_of(module) if c.name == name)
    worker = Worker(contender, PROBLEMS[problem], np.load(Path(reference_file)))
    for line in sys.stdin:
        request = json.loads(line)
        method = getattr(worker, request.pop("do"))
        try:
            answer = method(**request)
        except Exception as failure:  # noqa: BLE001 - a contender may fail in any way; it is reported, not hidden
            answer = {"failure": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
