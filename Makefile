# Needs python3 (with venv and pip) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
TORCH := .venv-torch
TORCH_STAMP := $(TORCH)/installed
DOCS_STAMP := $(VENV)/installed-docs
EPOCHS ?= 8
PYTHONS ?=  # of make versions, such as "python3.12 python3.13"; this one if not given

.PHONY: reproduce test test-torch lint figures bench docs docs-check notebooks dist versions install clean

reproduce: $(STAMP)  ## the whole story: checks, figures, a spike raster, Fashion-MNIST
	$(BIN)/tsslbp-ref check
	$(BIN)/python -m figures
	$(BIN)/tsslbp-ref demo --epochs $(EPOCHS)

test: $(STAMP)  ## every test but the long reproductions
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not long"

test-torch: $(TORCH_STAMP)  ## tutorial 16 and weights by name, with PyTorch, in an environment of its own
	$(TORCH)/bin/python -m pytest -W default tests_torch

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(STAMP)
	$(BIN)/python -m figures

bench: $(STAMP)  ## the race of W1 to W4, how the cost grows; peers are in the extra "bench", which brings PyTorch
	$(BIN)/python -m benchmarks --json results/benchmark.json
	$(BIN)/python -m benchmarks.scaling --json results/scaling.json

docs: $(DOCS_STAMP)  ## the site, in docs/_build/html; a warning is an error
	rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -b html . docs/_build/html

docs-check: $(DOCS_STAMP)  ## every page of the built site in headless Chromium; needs chromium and chromedriver
	$(BIN)/python -m pytest -W default docs/test_docs.py docs/test_explore_page.py
	$(BIN)/python docs/check_site.py

notebooks: $(DOCS_STAMP)  ## the tutorials as executed notebooks, in tutorials/notebooks
	$(BIN)/python docs/notebooks.py

dist: $(STAMP)  ## sdist and wheel in dist/, and the wheel's own commands in an empty environment
	$(BIN)/python -m pip install --quiet --editable ".[dist]"
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m tools.try_wheel dist

versions: $(STAMP)  ## the tests with the oldest packages that setup.cfg allows and with the newest, each in an environment of its own
	$(BIN)/python -m studies.reliability versions $(addprefix --python ,$(PYTHONS))

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[data,test]"
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

# PyTorch for the processor alone where that build can be had, else what the registry has.
$(TORCH_STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet torch==2.13.0+cpu || $(TORCH)/bin/python -m pip install --quiet torch
	$(TORCH)/bin/python -m pip install --quiet --editable . "pytest>=8"
	touch $@

clean:
	rm -rf $(VENV) $(TORCH) build dist docs/_build tutorials/notebooks *.egg-info
