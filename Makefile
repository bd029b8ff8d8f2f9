# Needs python3 (with venv and pip) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
EPOCHS ?= 8

.PHONY: reproduce test lint figures install clean

reproduce: $(STAMP)  ## the whole story: checks, figures, a spike raster, Fashion-MNIST
	$(BIN)/tsslbp-ref check
	$(BIN)/python -m figures
	$(BIN)/tsslbp-ref demo --epochs $(EPOCHS)

test: $(STAMP)  ## every test but the long reproductions
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not long"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(STAMP)
	$(BIN)/python -m figures

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[data,test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
