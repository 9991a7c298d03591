# SPDX-License-Identifier: GPL-3.0-or-later
# `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
PYTEST := PYTHONPATH=.venv/collections $(PYTHON) -m pytest -q
IN_SANDBOX := . .sandbox/env && PYTHONPATH=.venv/collections

.PHONY: help demo demo-down test units rendering rules sanity lint contract browser molecule e2e pictures bench requirements

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environments: the oldest supported ansible-core, in which all is developed, and the newest, where a Python for it is there.
.venv/pins.txt: tests/requirements/oldest.txt
	@tests/environment.sh oldest .venv
.venv-newest/pins.txt: tests/requirements/newest.txt
	@tests/environment.sh newest .venv-newest || { [ $$? = 3 ] && mkdir -p .venv-newest && touch $@; }

demo: .venv/pins.txt ## show the main job on a cluster of its own: two engineers' models, deployed and answering
	@$(PYTHON) tests/demo.py
demo-down: .venv/pins.txt ## remove all that `make demo` started, and restore what it changed
	@$(PYTHON) -m tests.sandbox down

test: units rendering rules lint sanity contract browser molecule e2e ## run all tests, the fast ones first

units: .venv/pins.txt .venv-newest/pins.txt ## unit tests, on the oldest and the newest ansible-core
	$(PYTEST) -n 2 tests/unit
	@if [ -x .venv-newest/bin/python ]; then echo "== with the newest ansible-core"; \
	PYTHONPATH=.venv-newest/collections .venv-newest/bin/python -m pytest -q -n 2 tests/unit; \
	else echo "NOTE: no Python here for the newest ansible-core: its units and sanity tests did not run"; fi

rendering: .venv/pins.txt .venv-newest/pins.txt ## what the roles write: whole objects of real runs in check mode, without a cluster
	$(PYTEST) tests/rendering
	@[ ! -x .venv-newest/bin/python ] || PYTHONPATH=.venv-newest/collections .venv-newest/bin/python -m pytest -q tests/rendering

rules: .venv/pins.txt ## Prometheus' rules: each alert fires and resolves, by Prometheus' own promtool, which is built first
	$(PYTEST) tests/rules

lint: .venv/pins.txt ## ruff, ansible-lint with its profile production, documentation, changelog
	.venv/bin/ruff check -q
	PATH=$$PWD/.venv/bin:$$PATH ANSIBLE_COLLECTIONS_PATH=$$PWD/.venv/collections ansible-lint --offline --strict
	PATH=$$PWD/.venv/bin:$$PATH ANSIBLE_COLLECTIONS_PATH=$$PWD/.venv/collections antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .
	.venv/bin/antsibull-changelog lint

sanity: .venv/pins.txt .venv-newest/pins.txt ## ansible-test sanity, on the oldest and the newest ansible-core
	tests/sanity.sh .venv
	@[ ! -x .venv-newest/bin/python ] || tests/sanity.sh .venv-newest

contract: .venv/pins.txt ## Exoscale: both transports (the real exo where EXO_BIN names it), and a table of faults; NVIDIA's own types
	$(PYTEST) -n 2 tests/contract

browser: .venv/pins.txt ## the plan's page in Debian's Chromium: phone and desktop, light and dark
	tests/browser/install.sh
	$(PYTEST) tests/browser

molecule: .sandbox/env ## roles on the running sandbox, and on a kind cluster of their own
	$(IN_SANDBOX) molecule test -s default
	$(IN_SANDBOX) molecule test -s kind

e2e: .sandbox/env ## the demo, and what must hold after it
	$(IN_SANDBOX) $(PYTHON) -m pytest -q tests/e2e

pictures: .sandbox/env ## draw the dashboards anew for docs/pictures, on the running sandbox
	$(IN_SANDBOX) PICTURES=docs/pictures $(PYTHON) -m pytest -q tests/e2e/test_dashboards.py -k moves

.sandbox/env: .venv/pins.txt FORCE
	@$(PYTHON) -m tests.sandbox up
FORCE:

bench: .venv/pins.txt ## speed beside kubectl, helm and kubernetes.core on the same objects; calls to Exoscale and the hub; the fit planner beside gguf-parser-go
	@$(PYTHON) -m tests.bench

requirements: .venv/pins.txt ## pin anew what tests/requirements/dev.in asks for
	cd tests/requirements && for end in "oldest 3.11 12.3.0" "newest 3.12 14.5.0"; do set -- $$end; \
	printf -- "-r dev.in\nansible==$$3\n" | ../../.venv/bin/uv pip compile -q --no-python-downloads --python-version $$2 \
	--no-header --no-annotate --upgrade -o $$1.txt -; done
