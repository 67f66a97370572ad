# make demo   a real model answers in the quickstart notebook, live, on this machine
# make test   the tests, the notebooks and the browser
# make test-oldest  the core of the tests on the oldest versions of everything, as Colab pins them
# make notebooks-record  renew the cassettes and outputs of the notebooks; -live runs them and keeps nothing
# make screenshots       the picture of the README, made anew
# make lab    the notebooks in JupyterLab
# make check  lint, types, floors
# make bench  the benchmarks, beside what one would pick instead
# make lock   renew the pinned requirements
# Each sets up what it needs in .venv, says what it does, and is quick the second time.

PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
WORKERS ?= 2
OLDEST := .venv-oldest
# Their wheels were made for Python 3.11 and 3.12.
OLDEST_PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3.12),$(PYTHON))
OLDEST_TESTS := tests/magics tests/engine_pool/test_pool.py tests/test_display.py \
    tests/test_display_columns.py tests/test_import.py tests/widgets
BIN := $(VENV)/bin
SCRATCH := build/check

.PHONY: help demo test test-oldest notebooks-record notebooks-live screenshots lab check bench lock clean
help:
	@sed -n 's/^# //p' Makefile

# An environment is set up once for each list of requirements; the stamp says which one is in it.
# What the benchmarks compare with pins versions of its own, so that it stands apart.
define setup
	@echo "== Setting up $(1) for «$(2)»: about a minute, once"
	@test -x $(1)/bin/python || $(or $(3),$(PYTHON)) -m venv $(1)
	@$(1)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
	    -r requirements/$(2).txt
	@$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
	    --no-build-isolation --editable .
	@touch $@
endef
$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml
	$(call setup,$(VENV),demo)
$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml
	$(call setup,$(VENV),dev)
$(BENCH)/bench.stamp: requirements/bench.txt pyproject.toml
	$(call setup,$(BENCH),bench)
$(OLDEST)/oldest.stamp: requirements/oldest.txt pyproject.toml
	$(call setup,$(OLDEST),oldest,$(OLDEST_PYTHON))

demo: $(VENV)/demo.stamp
	@$(BIN)/python notebooks/demo.py notebooks/01_quickstart.ipynb build/demo

# The model of the live notebooks is fetched outside of the tests, which reach loopback only.
test: $(VENV)/dev.stamp
	@echo "== The local model's weights"
	@$(BIN)/python -c "import gatewayx_nb; print(gatewayx_nb.pull('smollm2'))"
	@echo "== Tests, on $(WORKERS) processes"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term
	@echo "== Ctrl-C at every step of a wait: by a tracer, and so not under coverage, which is one too"
	@$(BIN)/python -m pytest tests/engine_pool/test_interrupts.py
	@echo "== Notebooks, without network, keys and weights"
	@$(BIN)/python notebooks/bare.py env GATEWAYX_CASSETTE_MODE=replay \
	    $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --nbval notebooks

test-oldest: $(OLDEST)/oldest.stamp
	@echo "== Core tests on the oldest versions"
	@$(OLDEST)/bin/python -m pytest $(OLDEST_TESTS) -k "not nbval" \
	    -W "ignore:Deprecated in traitlets:DeprecationWarning" \
	    -W "ignore:The default datetime adapter:DeprecationWarning" # of IPython 7 on Python 3.12

# What the notebooks say, asked of the model on this machine again: only an answer that is another one
# changes them. `live` keeps nothing of it.
notebooks-record notebooks-live: $(VENV)/dev.stamp
	@$(BIN)/python -c "import gatewayx_nb; print(gatewayx_nb.pull('smollm2'))"
	@$(BIN)/python notebooks/record.py $(if $(findstring live,$@),--live)

screenshots: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.browser.screenshots notebooks/pictures/compare.png

lab: $(VENV)/dev.stamp
	@$(BIN)/python -c "import gatewayx_nb; gatewayx_nb.pull('smollm2')"
	@$(BIN)/jupyter lab --notebook-dir=. notebooks/01_quickstart.ipynb

check: $(VENV)/dev.stamp
	@echo "== Format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/codespell
	@$(BIN)/validate-pyproject pyproject.toml
	@echo "== Types and floors, with the shipped engines in their place in the package"
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH) && cp -r gatewayx_nb $(SCRATCH)/ \
	    && cp -r engines $(SCRATCH)/gatewayx_nb/engines \
	    && touch $(SCRATCH)/gatewayx_nb/engines/__init__.py && cp pyproject.toml $(SCRATCH)/
	@cd $(SCRATCH) && $(CURDIR)/$(BIN)/mypy --cache-dir=$(CURDIR)/.mypy_cache gatewayx_nb
	@$(BIN)/mypy tests/typing
	@cd $(SCRATCH) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --no-cache

bench: $(BENCH)/bench.stamp
	@$(BENCH)/bin/python benchmarks/overhead.py
	@$(BENCH)/bin/python benchmarks/burst.py
	@$(BENCH)/bin/python benchmarks/rendering.py
	@$(BENCH)/bin/python benchmarks/side_by_side.py

# uv resolves for every platform and Python at once; the files name no index. `oldest` takes the
# lower bounds of what pyproject.toml and its own list name.
lock:
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@for set in demo dev bench oldest; do \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	    --no-strip-extras --custom-compile-command "make lock" --upgrade \
	    $$(case $$set in \
	      demo) echo --extra local;; \
	      oldest) echo --resolution lowest-direct --extra data --extra prices;; \
	      *) echo --extra local --extra server --extra lab --extra test;; esac) \
	    pyproject.toml requirements/$$set.in -o requirements/$$set.txt || exit 1; done

clean:
	rm -rf build $(VENV) $(BENCH) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis
