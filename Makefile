# Thin targets over the tools. `make demo` and `make test` set up everything they need on a machine with Python 3.11.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
COUNT ?= 100
MINUTES ?= 120

.DEFAULT_GOAL := help
.PHONY: help setup models demo test test-all lint unit test-aarch64 mutations sweep exits chaos clients interop benchmark newest recording generated clean

help:
	@echo "make demo          build examples/hello from its recipe, verify it, ask it a question"
	@echo "make models        fetch the real models that tests use into .cache/models"
	@echo "make test          lint, types, architecture and all tests"
	@echo "make test-all      the same with every real registry and client that tests check against, installed from Debian"
	@echo "make test-aarch64  build the example on an emulated aarch64 and compare digests"
	@echo "make mutations     20,000 mutated GGUF headers, and 2,000 artifacts and tokenizers of each kind, each refused or read"
	@echo "make sweep         every architecture of mlx-lm: built from a tiny random model, and answered as mlx-lm does, in batches too"
	@echo "make exits         end commands and programs that compute in 20 ways, 100 times each, with OpenBLAS and without"
	@echo "make chaos         disturb a server for two hours (MINUTES=120): nothing gets stuck, lost or bigger"
	@echo "make clients       LangChain JS, pydantic-ai, LlamaIndex, Haystack, smolagents, async-openai and Open WebUI, each against our server"
	@echo "make interop       every registry command at three registries, with the real oras, cosign, modctl and skopeo; the ollama command at our server"
	@echo "make benchmark     measure against what a user would pick instead"
	@echo "make newest        try the newest release of mlx-lm, whatever pyproject.toml allows, and name what it lacks"
	@echo "make recording     run the commands that the README shows, and record them in docs/recording.svg"
	@echo "make generated     write the JSON Schema and the generated pages anew"

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py $(wildcard toolchain/weights/*.c)
	@test -d $(VENV) || $(shell command -v $(PYTHON) || command -v python3) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[development]'
	@touch $@

demo: setup
	@BIN=$(BIN) sh examples/demo.sh

test: lint unit

test-all:
	tests/install_debian.sh
	MLXBUILD_REQUIRE_REAL_PARTS=1 $(MAKE) test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

models: setup
	$(BIN)/python -m tests.real.fetch

unit: setup models
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder  # the light ones come last

test-aarch64: setup
	tests/aarch64/run

mutations: setup
	MLXBUILD_MUTATIONS=20000 $(BIN)/pytest tests/toolchain/sources/gguf -k mutated
	MLXBUILD_MUTATIONS=2000 $(BIN)/pytest tests/registry/artifact tests/runtime -k mutated

sweep: setup
	MLXBUILD_SWEEP=1 $(BIN)/pytest tests/sweep --numprocesses $(JOBS)

exits: setup models
	$(BIN)/python -m tests.exits $(COUNT)

chaos: setup models
	$(BIN)/python -m tests.chaos $(MINUTES)

clients: setup
	MLXBUILD_REQUIRE_REAL_PARTS=1 $(BIN)/pytest -vv tests/clients/frameworks

interop: setup
	tests/interop/tools.sh
	MLXBUILD_REQUIRE_REAL_PARTS=1 $(BIN)/pytest tests/interop  # zot and modctl are left out by name where they are not

benchmark: setup models
	$(BIN)/python -m benchmarks

newest:
	PYTHON=$(PYTHON) tests/newest.sh

recording: setup
	$(BIN)/python docs/record.py

generated: setup
	$(BIN)/python -m mlxbuild.toolchain.spec.schema.generate
	$(BIN)/python -m mlxbuild.toolchain.events.schema
	$(BIN)/python docs/generate_commands.py
	$(BIN)/python docs/generate_completions.py
	$(BIN)/python docs/generate_errors.py
	$(BIN)/python docs/generate_texts.py

clean:
	rm -rf $(VENV) build *.egg-info .cache
