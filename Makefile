# make demo          train a small GANsformer on rendered scenes and look at it (about ten minutes on two CPU cores)
# make test          the tests, in minutes
# make test-all      the tests, the slow ones too
# make lint          ruff
# make clean-env     remove the virtual environments
#
# PYTHON=3.7 (or a path) chooses the interpreter; without it a current one is looked for.

override PYTHON := $(shell sh scripts/find_python.sh $(PYTHON))
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
ENV := .venv-$(VERSION)
RUN := $(ENV)/bin/python

.PHONY: demo test test-all lint env clean-env
.DEFAULT_GOAL := demo

$(ENV)/ready: requirements.txt requirements-dev.txt scripts/make_env.sh
	@test -n "$(PYTHON)" || exit 2
	@sh scripts/make_env.sh $(PYTHON) $(ENV)

env: $(ENV)/ready

demo: env
	@sh scripts/demo.sh $(RUN)

test: env
	$(RUN) -m pytest -q -n auto -m "not slow" tests

test-all: env
	$(RUN) -m pytest -q -n auto tests

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean-env:
	rm -rf .venv-*
