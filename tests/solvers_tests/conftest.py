"""One thread (steady timings on a shared machine), and the independent reference of the benchmarks on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
