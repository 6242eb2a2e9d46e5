# make run | test | test-next | soak | lint | format | bench    Needs Python 3.11 or newer and make; installs everything else.
PYTHON ?= python3
PY := .venv/bin/python
CODE := ssl_rot hydra_plugins conf tests benchmarks scripts
INSTALLED := .venv/.installed

.PHONY: run test test-next soak lint format bench clean
.DEFAULT_GOAL := help

help:
	@echo "make run     set up, then pre-train by rotation and train on few labels (digits, under a minute)"
	@echo "make test    set up, then lint, type checks and every test"
	@echo "make test-next  set up another environment with the next Hydra, then the fast tests in it"
	@echo "make soak    set up, then kill 200 runs and 200 workers of sweeps at random, and resume (an hour); make test does a few"
	@echo "make lint    set up, then ruff and mypy only"
	@echo "make format  set up, then let ruff rewrite the code"
	@echo "make bench   set up, then every benchmark behind the figures in the docs (more than ten minutes)"

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ssl_rot needs Python 3.11 or newer; choose one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --editable '.[dev]'
	touch $@

run: $(INSTALLED)
	$(PY) -m ssl_rot.run +experiment=rotation

# As many tests side by side as WORKERS says; those of a file stay together, since they share fixtures.
WORKERS ?= 2
test: lint
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10

# Hydra's next version and its plugins, which setup.cfg does not allow yet. Not part of make test.
NEXT := .venv-next/bin/python
HYDRA_NEXT := 'hydra-core>=1.4.0rc1' 'hydra-submitit-launcher>=1.4.0rc1' \
	'hydra-ray-launcher>=1.4.0rc1' 'hydra-optuna-sweeper>=1.4.0rc1'
.venv-next/.installed: setup.cfg pyproject.toml Makefile
	test -x $(NEXT) || $(PYTHON) -m venv .venv-next
	$(NEXT) -m pip install --quiet --editable '.[dev]'
	$(NEXT) -m pip install --quiet --upgrade $(HYDRA_NEXT)
	touch $@

test-next: .venv-next/.installed
	$(NEXT) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow'

soak: $(INSTALLED)
	SSL_ROT_KILLS=200 $(PY) -m pytest tests/reliability/test_kill_anywhere.py
	SSL_ROT_WORKER_KILLS=200 $(PY) -m pytest tests/sweep/test_killed_workers.py

lint: $(INSTALLED)
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m mypy

format: $(INSTALLED)
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)

bench: $(INSTALLED)
	set -e; for benchmark in benchmarks/[a-z]*.py; do echo "$$benchmark"; $(PY) "$$benchmark"; done

clean:
	rm -rf .venv build dist *.egg-info
