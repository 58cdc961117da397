# Two commands are all a newcomer needs: `make demo` and `make test`. Both create .venv on first use: the first with what
# the program needs, the second with the tools of those who change it as well; either completes what the other left.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
USABLE := $(VENV)/.ready-user
READY := $(VENV)/.ready
# What a sweep, its dashboard and its report import.
USED := bokeh.server.server, distributed, phasetwin, solvers.kernel_cache, studies.inverse.cli, studies.twin.cli, \
	surrogate.cli, surrogate.engine, sweeps.cluster.local, sweeps.execution.run, sweeps.execution.task, \
	sweeps.monitoring.dashboard_page, sweeps.monitoring.scheduler_plugin, sweeps.monitoring.status, \
	sweeps.report.overview, torch, xarray, zarr
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test types tests lint clean training-data calibration-data

demo: $(USABLE)
	$(BIN)/phasetwin run sweeps/examples/spinodal.yaml
	$(BIN)/phasetwin report sweeps/examples/spinodal.yaml

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory -j 2 types tests

types: $(READY)
	$(BIN)/mypy

# Each process takes the tests of whole files in order, and some of another's when it has none left.
tests: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

training-data: $(USABLE)
	for name in gg-validation gg-train ch-validation ch-validation-droplets ch-train-spinodal ch-train-droplets; do \
		$(BIN)/phasetwin run surrogate/recipes/$$name.yaml || exit 1; done

calibration-data: $(USABLE)
	for name in gg-calibration gg-calibration-32 gg-coverage gg-coverage-32 gg-outside ch-calibration \
		ch-calibration-droplets ch-calibration-32 ch-calibration-late ch-coverage ch-coverage-droplets ch-coverage-32 ch-coverage-late \
		ch-outside; do \
		$(BIN)/phasetwin run surrogate/recipes/$$name.yaml || exit 1; done

lint: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Byte code of what is imported instead of all, and torch without its test programs and C++ headers, which nothing here
# uses: 0.45 GB less and a quicker installation.
$(USABLE): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --no-compile -e .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import $(USED)'
	cd $(VENV)/lib/python3*/site-packages/torch && rm -rf test include bin/*[tT]est*
	touch $@

# Some packages bring templates that end in .py and are no Python, about which compileall complains.
$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib || true
	touch $(USABLE) $(READY)

clean:
	rm -rf $(VENV) runs
