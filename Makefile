# The two commands of the README: `make report` and `make test`. Python 3.11 or newer and make are all they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := runs/digits
LOWEST := .venv-lowest
INTEGR := .venv-integrations
TORCHD := .venv-torchdistill
DOCS   := .venv-docs

.PHONY: help install report models test test-slow test-lowest test-integrations test-torchdistill docs lint bench gpu notebook clean

help:
	@echo "make report       train the digits study (about a minute) and draw its report"
	@echo "make models       train the teachers of the published studies anew, into runs/models (STUDIES=\"digits ...\": only those)"
	@echo "make test         lint, types and tests"
	@echo "make test-slow    the tests that make test leaves out: killed runs, full disks, earlier versions"
	@echo "make test-lowest  the tests of make test with the lower bounds of pyproject.toml, in $(LOWEST)"
	@echo "make test-integrations  the adapters with Lightning and others, and Ray, in $(INTEGR) and $(TORCHD)"
	@echo "make docs         the documentation as a site for the browser, build/site/index.html, with $(DOCS)"
	@echo "make notebook     open the notebooks in JupyterLab"
	@echo "make bench        the benchmarks of experiments/benchmarks"
	@echo "make gpu          on a machine with a CUDA device: at most eight minutes, into figures/gpu"
	@echo "make install      the environment in $(VENV), with all extras"

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "biasvar needs Python 3.11 or newer; $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing biasvar and PyTorch into $(VENV), from constraints.txt: some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing what tests and notebooks need into $(VENV): a minute or two."
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,notebooks]'
	@touch $@

install: $(VENV)/.dev

report: $(VENV)/.core
	$(BIN)/python -m biasvar.run experiments/digits.yaml --out $(RUN)
	$(BIN)/python -m biasvar.report $(RUN)

# Hours for all of them on two CPU cores, seconds for STUDIES=digits.
models: $(VENV)/.core
	$(BIN)/python experiments/models.py $(STUDIES)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a process: the tests run side by side instead.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbmake --nbmake-timeout=300 notebooks

# Runs that are killed, full disks, too little memory, runs of earlier versions.
test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

$(LOWEST)/.done: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[hub,test]'
	@touch $@

# Python 3.11: the lower bounds were built for no newer one. Without notebooks and slow tests (kills, full disks, dry
# runs), for time.
test-lowest: $(LOWEST)/.done
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

$(INTEGR)/.done: pyproject.toml constraints.txt constraints-integrations.txt
	$(PYTHON) -m venv $(INTEGR)
	$(INTEGR)/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-integrations.txt \
		--editable '.[integrations]'
	@touch $@

# Without torchvision: beside PyTorch for the CPU, the one that pip gives breaks Lightning and transformers.
test-integrations: $(INTEGR)/.done test-torchdistill
	OMP_NUM_THREADS=1 $(INTEGR)/bin/python -m pytest tests/integrations

$(TORCHD)/.done: pyproject.toml constraints.txt constraints-torchdistill.txt
	$(PYTHON) -m venv $(TORCHD)
	$(TORCHD)/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-torchdistill.txt \
		--editable '.[torchdistill,test]'
	@touch $@

# Apart from the others, because torchdistill brings torchvision.
test-torchdistill: $(TORCHD)/.done
	OMP_NUM_THREADS=1 $(TORCHD)/bin/python -m pytest tests/integrations_torchdistill

$(DOCS)/.done: docs/site/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --requirement docs/site/requirements.txt
	@touch $@

# Without biasvar itself, whose sources are read and not imported, but for the gallery's pictures for narrow screens. A broken
# link or any other warning is an error.
docs: $(DOCS)/.done
	@if [ -x $(BIN)/python ]; then $(BIN)/python docs/site/narrow_pictures.py; \
	else echo "no $(VENV): phones will show the gallery's wide pictures (make install, then make docs, for narrow ones)"; fi
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "$(CURDIR)/build/site/index.html"

bench: $(VENV)/.dev
	for file in $(filter-out %/gpu.py,$(wildcard experiments/benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done

# With the machine's own Python and PyTorch (PYTHON=...): nothing is installed.
gpu:
	PYTHON=$(PYTHON) bash experiments/benchmarks/gpu.sh

notebook: $(VENV)/.dev
	$(BIN)/jupyter lab notebooks

clean:
	rm -rf $(VENV) $(LOWEST) $(INTEGR) $(TORCHD) $(DOCS) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
