# make demo   run the quickstart notebook live, on a real model on this machine
# make test   run the tests, the notebooks and the browser tests
# make coverage  run the tests under coverage, and fail below 95 %
# make soak   cut 5,000 streams, mutate 10,000 answers, merge 200 cassettes, kill 200 jobs, search hostile text, simulate
#             intervals and tests; `make test` runs a sample
# make test-oldest  run the core tests on the oldest supported versions, which are Colab's
# make clients  try the server with the clients of other libraries: SDKs, LangChain, Instructor and more
# make notebooks-record  record the cassettes and outputs of the notebooks again; -live keeps nothing
# make screenshots       take pictures of all that a notebook shows, and the README's
# make lab    open the notebooks in JupyterLab
# make check  lint, spelling, style of the prose, types and import layers
# make docs   build the documentation in build/docs; docs-serve shows it on this machine
# make bench  run the benchmarks, beside the alternatives
# make dist   build the wheel and the sdist, check them, and run the quickstart from the installed wheel
# make audit  look up known vulnerabilities of the requirements, where an advisory index can be reached
# make lock   update the pinned requirements
# Each sets up what it needs in .venv, says what it does, and is quick the second time.

PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
# Three on two cores, because many tests wait for processes and servers.
WORKERS ?= 3
OLDEST := .venv-oldest
CLIENTS := .venv-clients
# The oldest versions have wheels for Python 3.11 and 3.12 only.
OLDEST_PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3.12),$(PYTHON))
OLDEST_TESTS := tests/magics tests/engine_pool/test_pool.py tests/display \
    tests/test_import.py tests/test_json_schema_validator.py tests/widgets
BIN := $(VENV)/bin
SCRATCH := build/check

.PHONY: help demo test coverage soak test-oldest clients notebooks-record notebooks-live screenshots lab check docs \
    docs-serve bench dist audit lock clean
help:
	@sed -n 's/^# //p' Makefile

# An environment is set up once for each list of requirements, which its stamp names. The packages that
# the benchmarks compare with pin their own versions, so they have an environment of their own, as have
# the clients of the server.
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
$(CLIENTS)/clients.stamp: requirements/clients.txt pyproject.toml
	$(call setup,$(CLIENTS),clients)

demo: $(VENV)/demo.stamp
	@$(BIN)/python notebooks/demo.py notebooks/01_quickstart.ipynb build/demo

# The model of the live notebooks is downloaded before the tests, which reach loopback only.
test: $(VENV)/dev.stamp
	@echo "== The local model's weights"
	@$(BIN)/python -c "import gatewayx_nb; print(gatewayx_nb.pull('smollm2'))"
	@echo "== Tests, on $(WORKERS) processes"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
	@echo "== Notebooks, without network, keys and weights"
	@$(BIN)/python notebooks/bare.py env GATEWAYX_CASSETTE_MODE=replay \
	    $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --nbval notebooks

# Apart from `make test`, because a line of Python takes several times as long under coverage.
coverage: $(VENV)/dev.stamp
	@echo "== Tests under coverage, which must reach the share in pyproject.toml: about half an hour"
	@$(BIN)/python -c "import gatewayx_nb; print(gatewayx_nb.pull('smollm2'))"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term

test-oldest: $(OLDEST)/oldest.stamp
	@echo "== Core tests on the oldest versions"
	@$(OLDEST)/bin/python -m pytest $(OLDEST_TESTS) -k "not nbval" \
	    -W "ignore:Deprecated in traitlets:DeprecationWarning" \
	    -W "ignore:The default datetime adapter:DeprecationWarning" # of IPython 7 on Python 3.12

# The warnings are those of the clients, which also leave connections open.
clients: $(CLIENTS)/clients.stamp
	@echo "== The server with the clients of other libraries: about three minutes"
	@$(CLIENTS)/bin/python -m pytest -n $(WORKERS) -W ignore tests/clients

# Ask the model on this machine for the answers of the notebooks again; only answers that differ change
# a file. `live` keeps nothing.
notebooks-record notebooks-live: $(VENV)/dev.stamp
	@$(BIN)/python -c "import gatewayx_nb; print(gatewayx_nb.pull('smollm2'))"
	@$(BIN)/python notebooks/record.py $(if $(findstring live,$@),--live)

screenshots: $(VENV)/dev.stamp
	@$(BIN)/python -m tests.browser.screenshots build/pictures
	@$(BIN)/python -m tests.browser.screenshots --readme notebooks/pictures

lab: $(VENV)/dev.stamp
	@$(BIN)/python -c "import gatewayx_nb; gatewayx_nb.pull('smollm2')"
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir=. notebooks/01_quickstart.ipynb

check: $(VENV)/dev.stamp
	@echo "== Format and lint"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/codespell
	@$(BIN)/python docs/prose.py
	@$(BIN)/rumdl check --quiet .
	@$(BIN)/validate-pyproject pyproject.toml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/zizmor --offline --quiet .github/workflows/*.yml
	@echo "== Types and import layers, with the shipped engines inside the package"
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH) && cp -r gatewayx_nb $(SCRATCH)/ \
	    && cp -r engines $(SCRATCH)/gatewayx_nb/engines \
	    && touch $(SCRATCH)/gatewayx_nb/engines/__init__.py && cp pyproject.toml $(SCRATCH)/
	@cd $(SCRATCH) && $(CURDIR)/$(BIN)/mypy --cache-dir=$(CURDIR)/.mypy_cache gatewayx_nb
	@$(BIN)/mypy tests/typing
	@$(BIN)/basedpyright --pythonpath $(BIN)/python --level error tests/typing
	@cd $(SCRATCH) && PYTHONPATH=. $(CURDIR)/$(BIN)/lint-imports --no-cache

docs: $(VENV)/dev.stamp
	@echo "== Documentation: about half a minute"
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -j auto -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

docs-serve: docs
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs 8000

soak: $(VENV)/dev.stamp
	@echo "== Random answers of every dialect, merged, killed and full cassettes, killed jobs, growth, statistics: several minutes"
	@SOAK=1 $(BIN)/python -m pytest -n $(WORKERS) tests/llm_engines/test_random_answers.py tests/cassettes/test_recording.py \
	    tests/storage/test_results_processes.py tests/security/test_pattern_growth.py tests/security/test_function_growth.py \
	    tests/evaluation/test_simulations.py tests/evaluation/test_kills.py

bench: $(BENCH)/bench.stamp
	@$(BENCH)/bin/python benchmarks/overhead.py
	@$(BENCH)/bin/python benchmarks/burst.py
	@$(BENCH)/bin/python benchmarks/rendering.py
	@$(BENCH)/bin/python benchmarks/side_by_side.py
	@$(BENCH)/bin/python benchmarks/cassettes.py
	@$(BENCH)/bin/python benchmarks/results_store.py
	@$(BENCH)/bin/python benchmarks/pacing.py
	@$(BENCH)/bin/python benchmarks/tool_calls.py
	@$(BENCH)/bin/python benchmarks/serving.py
	@$(BENCH)/bin/python benchmarks/evaluating.py

# An empty environment shows what the wheel itself brings; its requirements are the pinned ones.
dist: $(VENV)/dev.stamp
	@rm -rf dist build/dist
	@$(BIN)/python -m hatchling build --directory dist
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl
	@$(PYTHON) -m venv build/dist/venv
	@build/dist/venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
	    -r requirements/demo.txt
	@build/dist/venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps dist/*.whl
	@cp notebooks/demo.py notebooks/01_quickstart.ipynb build/dist/
	@cd build/dist && venv/bin/python -P demo.py 01_quickstart.ipynb answers

# uv resolves for every platform and Python version at once; the files name no index. `oldest` uses the
# lower bounds of pyproject.toml and of its own list.
# In an environment of its own, because pip-audit's requirements may contradict the pinned ones.
audit:
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit \
	    && build/audit/bin/python -m pip install --quiet pip-audit; } \
	    || { echo "pip-audit cannot be installed, so nothing is looked up."; exit 0; }
	@build/audit/bin/python requirements/audit.py

lock:
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@for set in demo dev bench oldest clients; do \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	    --no-strip-extras --custom-compile-command "make lock" --upgrade \
	    $$(case $$set in \
	      demo) echo --extra local;; \
	      oldest) echo --resolution lowest-direct --extra data --extra prices --extra server;; \
	      clients) echo --extra server;; \
	      *) echo --extra local --extra mcp --extra server --extra lab --extra test --extra docs;; esac) \
	    pyproject.toml requirements/$$set.in -o requirements/$$set.txt || exit 1; done

clean:
	rm -rf build $(VENV) $(BENCH) $(OLDEST) $(CLIENTS) .mypy_cache .pytest_cache .ruff_cache .hypothesis
