# Two commands are all a newcomer needs: `make demo` and `make test`. Both create .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test types tests lint clean training-data calibration-data

demo: $(READY)
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

training-data: $(READY)
	for name in gg-validation gg-train ch-validation ch-validation-droplets ch-train-spinodal ch-train-droplets; do \
		$(BIN)/phasetwin run surrogate/recipes/$$name.yaml || exit 1; done

calibration-data: $(READY)
	for name in gg-calibration gg-calibration-32 gg-coverage gg-coverage-32 gg-outside ch-calibration \
		ch-calibration-droplets ch-calibration-32 ch-calibration-late ch-coverage ch-coverage-droplets ch-coverage-32 ch-coverage-late \
		ch-outside; do \
		$(BIN)/phasetwin run surrogate/recipes/$$name.yaml || exit 1; done

lint: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs
