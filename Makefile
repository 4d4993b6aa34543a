# Each makes its own environment in .venv: `make hello` needs Python 3.11 or newer, the tests a C compiler as well.
# For other versions: `make test VENV=.venv-oldest PYTHON=python3.11 TORCH="torch==2.11.0 torchaudio==2.11.0"`.
PYTHON ?= python3
VENV ?= .venv
TORCH ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: hello quick test lint docs voice clean

hello: $(VENV)/installed
	@mkdir -p hello
	@$(PY) -m flowvocoder resynth flowvocoder/examples/kathleen.flac hello/vocoded.wav --plot hello/spectrograms.png --threads 1
	@$(PY) -m flowvocoder score flowvocoder/examples/kathleen.flac --threads 1
	@echo "Listen to hello/vocoded.wav. After '. $(VENV)/bin/activate', the command is: flowvocoder"

# Without compiled files, every command that a test starts compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

# A process a core, each with one thread. Neighbours, which share fixtures, mostly stay together.
PYTEST = $(PY) -m pytest tests --numprocesses auto --dist worksteal

# All tests but those of more than a third of a second.
quick: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

test: $(VENV)/installed-dev
	$(PYTEST)

# A voice as the bundled one, three stages; where one was stopped, the same command goes on. PROCESSES=2 takes two cores.
CORPORA ?= kathleen kerstin
RUNS ?= runs
PROCESSES ?= 1
TORCHRUN = -m torch.distributed.run --standalone --nproc-per-node $(PROCESSES) --max-restarts 3
TRAIN = $(PY) $(if $(filter-out 1,$(PROCESSES)),$(TORCHRUN)) -m flowvocoder train --resume $(CORPORA:%=--corpus %) $(SETTINGS)

voice: $(VENV)/installed-dev
	$(TRAIN) --preset lapglow-stage1 --out $(RUNS)/likelihood
	$(TRAIN) --preset lapglow-stage2 --init-from $(RUNS)/likelihood/checkpoint --out $(RUNS)/refined
	$(TRAIN) --preset lapglow-stage3 --init-from $(RUNS)/refined/checkpoint --out $(RUNS)/voice

lint: $(VENV)/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The site, in site/: `.venv/bin/python -m http.server --directory site` shows it. The variable hides an advertisement.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) $(TORCH) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv* hello site build dist *.egg-info
