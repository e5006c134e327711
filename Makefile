PYTHON ?= python3
VENV ?= .venv
SCAN ?=
RATIO ?=
PRESET ?=
FUZZ_RUNS ?= 100000

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check lint typecheck golden malformed fuzz bench-quick bench-decoding bench-pace bench-scaling bench-cuda clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## Encode and decode a scan, and draw it (SCAN=file RATIO=n PRESET=fast|medium|slow)
	@$(BIN)/python scripts/demo.py $(if $(SCAN),--scan '$(SCAN)') $(if $(RATIO),--ratio $(RATIO)) $(if $(PRESET),--preset $(PRESET))

test: $(INSTALLED) ## Run the tests
	$(BIN)/pytest -n auto

check: lint typecheck test ## Run lint, typecheck and test

lint: $(INSTALLED) ## Check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(INSTALLED) ## Check types with mypy
	$(BIN)/mypy

golden: $(INSTALLED) ## Write the golden files that are missing
	PYTHONPATH=tests $(BIN)/python -m golden.make

malformed: $(INSTALLED) ## Rewrite the malformed files, when a rule of the format changes
	PYTHONPATH=tests $(BIN)/python -m malformed.make

fuzz: $(INSTALLED) ## Fuzz the readers of files (FUZZ_RUNS=n for each target; docs/fuzzing.md)
	$(BIN)/pip install -q -c constraints.txt -e '.[fuzz]'
	PYTHONPATH=tests $(BIN)/python -m fuzz --runs $(FUZZ_RUNS)

bench-quick: $(INSTALLED) ## Measure four volumes at 6000x (10 minutes on two cores)
	$(BIN)/python benchmarks/quick.py

bench-decoding: $(INSTALLED) ## Measure decoding: its quality against float, time, memory (an hour)
	$(BIN)/python benchmarks/decoding.py

bench-pace: $(INSTALLED) ## Measure the presets' time and quality (an hour)
	$(BIN)/python benchmarks/pace.py

bench-scaling: $(INSTALLED) ## Measure encoding from 64^3 to 512^3 voxels (10 minutes)
	$(BIN)/python benchmarks/scaling.py

bench-cuda: $(INSTALLED) ## On a GPU machine: run the CUDA tests, then measure the GPU's pace against the CPU's
	$(BIN)/pytest -m cuda
	$(BIN)/python benchmarks/pace.py --presets medium --limits 10,30,60 --device cuda --reach

clean: ## Remove the environment, caches and the demo's output
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks scripts -name __pycache__ -type d -exec rm -rf {} +
