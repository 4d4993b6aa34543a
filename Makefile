# Each makes its own environment in .venv: `make hello` needs Python 3.11 or newer, the tests a C compiler as well.
# For other versions: `make test VENV=.venv-oldest PYTHON=python3.11 TORCH="torch==2.11.0 torchaudio==2.11.0"`.
PYTHON ?= python3
VENV ?= .venv
TORCH ?=
PIP_FLAGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)

.PHONY: hello quick test thorough lint docs browser voice gpu clean

hello: $(VENV)/installed
	@mkdir -p hello
	@$(PY) -m flowvocoder resynth flowvocoder/examples/kathleen.flac hello/vocoded.wav --plot hello/spectrograms.png --threads 1
	@$(PY) -m flowvocoder score flowvocoder/examples/kathleen.flac --threads 1
	@echo "Listen to hello/vocoded.wav. After '. $(VENV)/bin/activate', the command is: flowvocoder"

# Without compiled files, every command that a test starts compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

# One process more than there are cores, each with one thread. Neighbours, which share fixtures, mostly stay together.
PYTEST = $(PY) -m pytest tests --numprocesses auto --dist worksteal

# All tests but those of more than a quarter of a second.
quick: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

test: $(VENV)/installed-dev
	$(PYTEST)

# Before a release: what chance has a part in is repeated more often, and runs are longer.
thorough: $(VENV)/installed-dev
	$(PYTEST) --thorough

# A voice of one or two speakers, three stages; where one was stopped, the same command goes on. PROCESSES=2 takes two cores.
# VOICE=universal-22k CORPORA="..." trains a voice for everybody, by the presets of the bundled one. Its stages 4 and 5 are the refiner's.
VOICE ?= lapglow
REFINED = universal-22k
CORPORA ?= kathleen kerstin
RUNS ?= runs$(if $(filter-out lapglow,$(VOICE)),/$(VOICE))
PROCESSES ?= 1
TORCHRUN = -m torch.distributed.run --standalone --nproc-per-node $(PROCESSES) --max-restarts 3
TRAIN = $(PY) $(if $(filter-out 1,$(PROCESSES)),$(TORCHRUN)) -m flowvocoder train --resume $(CORPORA:%=--corpus %) $(SETTINGS)

voice: $(VENV)/installed-dev
	$(TRAIN) --preset $(VOICE)-stage1 --out $(RUNS)/likelihood
	$(TRAIN) --preset $(VOICE)-stage2 --init-from $(RUNS)/likelihood/checkpoint --out $(RUNS)/refined
	$(TRAIN) --preset $(VOICE)-stage3 --init-from $(RUNS)/refined/checkpoint --out $(RUNS)/voice
	$(if $(filter $(VOICE),$(REFINED)),$(TRAIN) --preset $(VOICE)-stage4 --init-from $(RUNS)/voice/checkpoint --out $(RUNS)/refiner)
	$(if $(filter $(VOICE),$(REFINED)),$(TRAIN) --preset $(VOICE)-stage5 --init-from $(RUNS)/refiner/checkpoint --out $(RUNS)/refined-voice)

# A session on a lent GPU, by whatever Python is there (docs/how-to/scale.md): DATA=... RUN=... OUT=... MINUTES=9.
MINUTES ?= 9
gpu:
	$(PYTHON) -m recipes.gpu run $(DATA:%=--data %) --run $(RUN) --out $(OUT) --minutes $(MINUTES) $(SETTINGS)

lint: $(VENV)/installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The site, in site/: `.venv/bin/python -m http.server --directory site` shows it. The variable hides an advertisement.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

# A static page that vocodes on its visitor's machine, in site/browser/. Needs npm.
browser: $(VENV)/installed-dev
	$(PY) docs/scripts/browser.py site/browser

$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(PY)
	$(PIP) $(TORCH) -e .
	@touch $@

# In one step: after another, pip would build the package and look for its versions twice.
$(VENV)/installed-dev: pyproject.toml | $(PY)
	$(PIP) $(TORCH) -e '.[dev]'
	@touch $(VENV)/installed $@

clean:
	rm -rf .venv* hello site build dist *.egg-info
