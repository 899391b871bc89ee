# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test install-oldest test-oldest clean

demo: $(VENV)/installed
	$(BIN)/crux scan --control untrained --out demo
	@echo "open demo/report.html in a browser"

test: $(VENV)/installed-dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

# The oldest transformers that is supported, laid over the environment, and the suite against it.
OLDEST := build/transformers-4.57

install-oldest: $(VENV)/installed-dev
	$(BIN)/pip install -q --no-deps --upgrade --target $(OLDEST) \
		"transformers==4.57.*" "huggingface_hub<1" "tokenizers>=0.22,<=0.23" \
		requests urllib3 idna certifi charset-normalizer

test-oldest:
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n 2

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[train]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build demo
