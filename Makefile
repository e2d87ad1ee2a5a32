# Every target sets up what it needs first; a second call installs nothing.
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench performance numerics models aliasing opinfo wrong-calls soak verify lint format
.PHONY: audit coverage distributed docs extremes faults fuzz models-table package reliability recordings test-oldest lock clean

BIN := .venv/bin
OLDEST := .venv-oldest
PYTHON ?=
OUTPUT ?= demo-output
UPGRADE ?=
SEED ?= 0
DISTRIBUTED := benchmarks/results/reliability/distributed.json
SOAK_STEPS ?= 1500
FILE ?=
JOBS ?= 1

# Two test workers, one thread each: more threads than cores make both slower. Tests marked with an xdist_group
# share a costly fixture, so that one worker runs them all.
WORKERS ?= 2
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## make .venv (CPython 3.12 or 3.10) and install what constraints.txt pins
	@PYTHON="$(PYTHON)" scripts/setup.sh

demo: setup ## detect faces and rank sentences on the device, beside a plain CPU run
	$(BIN)/ttreg demo --output $(OUTPUT)

test: lint ## lint, then run the tests
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-oldest: ## run the tests on CPython 3.10 with the oldest torch and ttnn that ttreg supports, in .venv-oldest
	@PYTHON="$(PYTHON)" scripts/setup.sh $(OLDEST) constraints-oldest.txt 10
	$(THREADS) $(OLDEST)/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

models: setup ## run whole pipelines and models on the device beside CPU, the long ones too
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "long or not long" tests/models $(ARGS)

opinfo: setup ## hold every op and layer of PyTorch's own tests to what it gives on CPU (a quarter of an hour)
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) -m "long or not long" tests/opinfo $(ARGS)

aliasing: setup ## take 20,000 random programs of views, writes and copies beside CPU (SEED=1: others)
	ALIASING_SEED=$(SEED) $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) -m "long or not long" tests/aliasing $(ARGS)

recordings: setup ## call 2,000 random functions again and again, recorded and on CPU (SEED=1: others)
	ALIASING_SEED=$(SEED) $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) -m "long or not long" tests/recording tests/aliasing/test_recorded.py $(ARGS)

wrong-calls: setup ## change each argument of each entry's calls, and hold what comes to what it is on CPU (half an hour)
	EVERY_WRONG_CALL=1 $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) tests/wrong_calls tests/test_limits_kept.py $(ARGS)

distributed: setup ## train on 2 and 4 ranks in four ways, and hold the losses to those of one process
	mkdir -p $(dir $(DISTRIBUTED))
	$(THREADS) $(BIN)/python benchmarks/distributed.py --json > $(DISTRIBUTED).new && mv $(DISTRIBUTED).new $(DISTRIBUTED)

soak: setup ## 100,000 random calls, threads, processes, interrupts, and programs that go on for SOAK_STEPS=1500 steps
	$(THREADS) $(BIN)/python -m tests.soak
	SOAK_STEPS=$(SOAK_STEPS) $(THREADS) $(BIN)/python -m pytest -n $(WORKERS) -m "long or not long" tests/soak $(ARGS)

bench: setup ## measure what ttreg adds to ttnn's host time, op by op and in whole models (ten minutes)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/replay.py
	$(BIN)/python benchmarks/handwritten.py
	$(BIN)/python benchmarks/decoding.py

performance: setup ## measure all of that, and every op, and bring docs/performance.md up to date
	$(BIN)/python benchmarks/overhead.py --json > benchmarks/results/overhead.json.new
	$(BIN)/python benchmarks/parts.py --json > benchmarks/results/parts.json.new
	$(BIN)/python benchmarks/models.py --json > benchmarks/results/models.json.new
	$(BIN)/python benchmarks/replay.py --json > benchmarks/results/replay.json.new
	$(BIN)/python benchmarks/handwritten.py --json > benchmarks/results/handwritten.json.new
	$(BIN)/python benchmarks/decoding.py --json > benchmarks/results/decoding.json.new
	$(BIN)/python benchmarks/exact.py --json > benchmarks/results/exact.json.new
	$(BIN)/python benchmarks/flat.py --json > benchmarks/results/flat.json.new
	$(BIN)/ttreg bench --shapes real --json > benchmarks/results/ops.json.new
	$(BIN)/python scripts/performance.py

numerics: setup ## foretell how far programs are off on a chip, beside what was measured (three minutes)
	$(THREADS) $(BIN)/python benchmarks/numerics.py

coverage: setup ## make every call that real models make, on the device and in real ttnn, beside CPU (an hour; FILE=calls.jsonl)
	$(THREADS) $(BIN)/python benchmarks/coverage.py $(FILE) --jobs $(JOBS) $(ARGS)

models-table: setup ## run a hundred models and current architectures on the device beside CPU, and count (an hour)
	$(THREADS) $(BIN)/python benchmarks/model_table.py --jobs $(JOBS) $(ARGS)

faults: setup ## let the device fail at every call of five models, one at a time (a quarter of an hour)
	$(THREADS) $(BIN)/python -m tests.faults $(ARGS)

fuzz: setup ## give 200,000 texts at random to all that reads text, each to be read or refused clearly (SEED=1: others)
	$(THREADS) $(BIN)/python -m tests.fuzz.run --seed $(SEED) --save $(ARGS)

extremes: setup ## give every entry extreme values and shapes beside CPU, and keep the figures (two minutes)
	$(THREADS) $(BIN)/python -m tests.wrong_calls.extremes $(ARGS)

reliability: setup ## bring docs/reliability.md up to date with what the sweeps have found
	$(BIN)/python scripts/reliability.py

docs: setup ## make the site in build/site (what it is made with is installed first)
	$(BIN)/uv --quiet pip install --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

package: setup ## make sdist and wheel in dist/, and try the wheel in fresh environments of CPython 3.12 and 3.10
	scripts/package.sh

verify: setup ## make every accepted sample's ttnn calls on both mocked chips
	$(BIN)/ttreg verify

audit: setup ## look up known vulnerabilities of all that is installed (needs the network)
	$(BIN)/python -m uv --quiet pip install --constraint constraints.txt --editable '.[audit]'
	$(BIN)/pip-audit --local --skip-editable --progress-spinner off $(ARGS)

lint: setup ## check formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	scripts/typecheck.sh

format: setup ## put the formatting right, and what style faults can be
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Not after setup, which fails while constraints.txt contradicts pyproject.toml.
lock: ## write constraints.txt and constraints-oldest.txt anew (UPGRADE=1: with the newest versions)
	@test -x $(BIN)/uv || PYTHON="$(PYTHON)" scripts/setup.sh
	$(BIN)/python scripts/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove .venv and everything else that can be made again
	rm -rf .venv $(OLDEST) build dist demo-output *.egg-info .mypy_cache .pytest_cache .ruff_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
