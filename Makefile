# `make ablation` and `make test` work on a fresh clone: they build the environment they need.
# An environment is finished when its stamp file exists; an interrupted install has none and is rebuilt.
PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results/quickstart
STUDY ?= configs/ablations/quickstart.py
WORKERS ?= 2
STAMP := $(VENV)/.installed
PY := $(VENV)/bin/python
.DELETE_ON_ERROR:
.PHONY: ablation readme test notebooks lint env clean

ablation: env
	$(PY) -m experiments.sweep --config=$(STUDY) --workdir=$(RESULTS)

# The answer in README.md, from a finished `make ablation`.
readme:
	sed -e '/quickstart table: begin/r $(RESULTS)/report/answer.md' \
	    -e '/quickstart table: begin/,/quickstart table: end/{/quickstart table:/!d;}' README.md > README.md.new
	mv README.md.new README.md

test: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest -n $(WORKERS) --dist=loadgroup $(ARGS)

# Every notebook from top to bottom, in a kernel and a folder of its own; their figures are looked for.
notebooks: env
	$(PY) -m pytest tests/test_notebooks.py $(ARGS)

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

env: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "fusion_jax needs Python 3.11 to 3.13, found " + sys.version.split()[0] + " (choose one: make PYTHON=python3.12 ...)")'
	rm -f $(STAMP)
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test,figures,survival,merging,partition]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) results build *.egg-info
