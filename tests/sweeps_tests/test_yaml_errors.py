"""Every wrong input ends as one line on stderr with file, line and key, and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

import phasetwin

GOOD = """\
schema_version: 1
name: small
process: cahn_hilliard
grid: {shape: [16, 16], spacing: 1.0}
parameters:
  mobility: [0.5, 1.0]
  kappa: {linspace: [0.5, 2.0, 4]}
  composition: 0.0
initial: {kind: noise, amplitude: 0.05}
times: [0, 1, 2]
engine: {kind: solver, tolerance: 1.0e-2}
output: {path: runs/small.zarr}
"""

# what replaces what, the line it stands in, the key, and words the message must contain
WRONG = {
    "misspelt top key": ("output:", "ouput:", 12, "ouput", "did you mean 'output'"),
    "misspelt nested key": ("spacing", "spcing", 4, "grid.spcing", "did you mean 'spacing'"),
    "misspelt engine key": ("tolerance", "tolerence", 11, "engine.tolerence", "tolerance, dtype"),
    "misspelt parameter": ("kappa:", "kapa:", 7, "parameters.kapa", "did you mean 'kappa'"),
    "misspelt form": ("linspace:", "linspce:", 7, "parameters.kappa.linspce", "did you mean 'linspace'"),
    "misspelt process": ("cahn_hilliard", "cahn_hiliard", 3, "process", "did you mean 'cahn_hilliard'"),
    "misspelt engine kind": ("kind: solver", "kind: slover", 11, "engine", "did you mean 'solver'"),
    "misspelt start": ("kind: noise", "kind: nois", 9, "initial", "did you mean 'noise'"),
    "unknown version": ("schema_version: 1", "schema_version: 2", 1, "schema_version", "found 2, allowed 1"),
    "missing key": ("process: cahn_hilliard\n", "", 1, "process", "required"),
    "negative mobility": ("[0.5, 1.0]", "[0.5, -1.0]", 6, "parameters.mobility.1", "found -1, allowed"),
    "zero kappa": ("linspace: [0.5", "linspace: [0", 7, "parameters.kappa.linspace.0", "found 0"),
    "text for a number": ("[0.5, 1.0]", "fast", 6, "parameters.mobility", "found 'fast', allowed a number"),
    "true for a number": ("[0.5, 1.0]", "true", 6, "parameters.mobility", "allowed a number"),
    "infinite": ("[0.5, 1.0]", ".inf", 6, "parameters.mobility", "finite"),
    "not a number": ("[0.5, 1.0]", "[0.5, .nan]", 6, "parameters.mobility.1", "finite"),
    "the same twice": ("[0.5, 1.0]", "[0.5, 0.5]", 6, "parameters.mobility.1", "0.5 twice"),
    "broken count": ("2.0, 4]", "2.0, 4.5]", 7, "parameters.kappa.linspace.2", "whole number"),
    "two numbers": ("2.0, 4]", "2.0]", 7, "parameters.kappa.linspace", "found 2 entries, allowed at least 3"),
    "outside the well": ("composition: 0.0", "composition: 1.5", 8, "parameters.composition", "[-1, 1]"),
    "wrong process": ("composition: 0.0", "gamma: 1.5", 8, "parameters.gamma", "cahn_hilliard"),
    "contrast": ("composition: 0.0", "mobility_contrast: 1.2", 8, "parameters.mobility_contrast", "[0, 1]"),
    "range in a grid": ("[0.5, 1.0]", "{low: 1, high: 2}", 6, "parameters.mobility", "needs a sampler"),
    "ends swapped": ("[0.5, 1.0]", "{low: 2, high: 1}", 6, "parameters.mobility.high", "low < high"),
    "times fall": ("[0, 1, 2]", "[0, 2, 1]", 10, "times.2", "times that increase"),
    "negative time": ("[0, 1, 2]", "[-1, 1]", 10, "times.0", "found -1"),
    "empty times": ("[0, 1, 2]", "[]", 10, "times", "at least 1 entries"),
    "stop before start": ("[0, 1, 2]", "{start: 5, stop: 1, count: 3}", 10, "times.stop", "start < stop"),
    "wrong start": ("{kind: noise, amplitude: 0.05}", "{kind: voronoi}", 9, "initial.kind", "noise, file"),
    "no start file": ("{kind: noise, amplitude: 0.05}", "{file: no.npy}", 9, "initial.file", "not there"),
    "negative noise": ("amplitude: 0.05", "amplitude: -1", 9, "initial.amplitude", ">= 0"),
    "tiny grid": ("[16, 16]", "[16, 2]", 4, "grid.shape.1", "found 2, allowed a number >= 4"),
    "one axis": ("[16, 16]", "[16]", 4, "grid.shape", "at least 2"),
    "half a cell": ("[16, 16]", "[16, 16.5]", 4, "grid.shape.1", "whole number"),
    "boundary": ("spacing: 1.0", "boundary: periodc", 4, "grid.boundary", "did you mean 'periodic'"),
    "tolerance": ("1.0e-2", "2", 11, "engine.tolerance", "found 2, allowed a number <= 0.5"),
    "rounding": ("1.0e-2", "1e-5, dtype: float32", 11, "engine.tolerance", "dtype float64"),
    "name": ("name: small", "name: a/b", 2, "name", "found 'a/b'"),
    "number as name": ("name: small", "name: 7", 2, "name", "found 7, allowed text"),
    "date": ("name: small", "name: 2026-11-22", 2, "name", "allowed numbers, text"),
    "tag": ("name: small", "name: !!python/object:os.system x", 2, "name", "allowed"),
    "fields at": ("path: runs/small.zarr", "retain: {fields_at: [3]}", 12, "output.retain.fields_at.0", "among"),
    "retain": ("{path: runs/small.zarr}", "{retain: field}", 12, "output.retain", "did you mean 'fields'"),
    "well": ("times:", "well: {rho: 1, ca: 1, cb: 0}\ntimes:", 10, "well.cb", "ca < cb"),
    "design": ("times:", "design: gird\ntimes:", 10, "design", "allowed 'grid'"),
    "sampler": ("times:", "design: {sampler: sobl, n: 8}\ntimes:", 10, "design.sampler", "mean 'sobol'"),
    "list sampled": ("times:", "design: {sampler: lhs, n: 8}\ntimes:", 6, "parameters.mobility", "range"),
    "no table": ("times:", "design: {table: no.csv}\ntimes:", 10, "design.table", "not there"),
    "reuse": ("times:", "reuse: [no.zarr]\ntimes:", 10, "reuse.0", "not there"),
    "workers": ("times:", "cluster: {workers: 0}\ntimes:", 10, "cluster.workers", "'auto' or a number >= 1"),
    "address": ("times:", "cluster: {address: here}\ntimes:", 10, "cluster.address", "tcp"),
    "verify": ("times:", "verify: {policy: [best, wurst]}\ntimes:", 10, "verify.policy.1", "mean 'worst'"),
    "realizations": ("times:", "realizations: 4\ntimes:", 10, "realizations", "a mapping"),
}  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and stderr of the command line, which must print nothing else."""
    status = phasetwin.main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "sweep.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_base_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert phasetwin.main(["lint", write(tmp_path, GOOD)]) == 0
    assert "8 points x 1 realization)" in capsys.readouterr().out


@pytest.mark.parametrize("case", WRONG)
def test_one_line_with_file_line_and_key(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, line, key, words = WRONG[case]
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    status, err = run(capsys, "lint", path)
    assert status == 2
    assert err.count("\n") == 1
    assert err.startswith(f"{path}:{line}: {key}: found "), err
    assert words in err


BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "duplicate key": (GOOD + "name: again\n", 13, "duplicate key"),
    "duplicate flow key": (GOOD.replace("spacing: 1.0", "shape: [8, 8]"), 4, "duplicate key"),
    "unclosed bracket": (GOOD.replace("[0, 1, 2]", "[0, 1, 2"), 11, "valid YAML"),
    "tab": (GOOD.replace("  kappa", "\tkappa"), 7, "valid YAML"),
    "two documents": (GOOD + "---\nname: b\n", 13, "another document"),
    "empty": ("", 1, "found nothing, allowed a mapping"),
    "a list": ("- 1\n", 1, "found a list, allowed a mapping"),
    "not text": (b"name: ok\nprocess: \xff\xfe\n", 2, "UTF-8"),
    "control character": (b"name: a\x00b\n", 1, "valid YAML"),
    "key that is a number": (GOOD + "1: 2\n", 13, "allowed keys of text"),
    "unknown alias": ("name: *other\n", 1, "undefined alias"),
    "deep": ("name: " + "[" * 100 + "]" * 100, 1, "nested"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, line, words = BROKEN[case]
    path = write(tmp_path, text)
    status, err = run(capsys, "lint", path)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"{path}:{line}: "), err
    assert words in err


def test_aliases_that_unfold_into_billions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.inputs.yaml_source.MAX_ENTRIES", 10_000)
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 20)}]" for i in range(1, 9)]
    status, err = run(capsys, "lint", write(tmp_path, "\n".join(lines)))
    assert status == 2
    assert "too many nested entries" in err


SETS = {
    "no equals sign": ("name", "--set name: found no `key.path=value`"),
    "misspelt": ("engine.tolerence=1", "--set engine.tolerence: found unknown key"),
    "deeper": ("engine={kind: solver, tolerence: 1}", "--set engine: engine.tolerence: found unknown key"),
    "value": ("engine.tolerance=-1", "--set engine.tolerance: found -1, allowed a number > 0"),
    "not YAML": ("times=[1, 2", "--set times: found "),
    "index": ("times.7=1", "--set times.7: found index '7', allowed 0 to 2"),
    "index of text": ("times.a=1", "--set times.a: found index 'a'"),
    "list entry": ("times.0=9", "times.1: found 1 after 9"),
    "into a scalar": ("name.a=1", "--set name.a: "),
    "new block": ("verify.count=-1", "--set verify.count: found -1"),
}


@pytest.mark.parametrize("case", SETS)
def test_overrides_name_themselves(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    override, words = SETS[case]
    status, err = run(capsys, "lint", write(tmp_path, GOOD), "--set", override)
    assert (status, err.count("\n")) == (2, 1)
    assert words in err


USAGE = {
    "no file": ["lint", "no-such-file.yaml"],
    "a folder": ["lint", "."],
    "no argument": ["lint"],
    "unknown verb": ["lnt", "a.yaml"],
    "unknown option": ["lint", "a.yaml", "--fast"],
    "unknown kind": ["schema", "swep"],
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_is_status_2_and_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, err = run(capsys, *USAGE[case])
    assert (status, err.count("\n")) == (2, 1)


TABLES = {
    "unknown column": ("mobility,kapa\n1,1\n", 1, "did you mean 'kappa'"),
    "twice": ("kappa,kappa\n1,1\n", 1, "twice"),
    "also in the file": ("kappa,composition\n1,0\n", 1, "also gives"),
    "no rows": ("kappa\n", 1, "no rows"),
    "NaN": ("kappa\n1\nnan\n", 3, "kappa: found nan, allowed a finite number"),
    "negative": ("mobility,kappa\n1,1\n1,-2\n", 3, "kappa: found -2, allowed a number > 0"),
    "text": ("kappa\n1\nx\n", 3, "kappa: found 'x', allowed a number"),
    "short row": ("mobility,kappa\n1,1\n\n1\n", 4, "found 1 entries, allowed 2"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_told_by_their_own_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, line, words = TABLES[case]
    (tmp_path / "points.csv").write_text(text)
    kept = [row for row in GOOD.splitlines() if "mobility" not in row and "kappa" not in row]
    path = write(tmp_path, "\n".join([*kept, "design: {table: points.csv}"]))
    status, err = run(capsys, "lint", path)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"{tmp_path / 'points.csv'}:{line}: "), err
    assert words in err
