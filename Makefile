# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AXE := build/axe
# Two workers of one thread each: threads of their own would be in each other's way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: demo test install-oldest test-oldest docs wheel clean exports pictures

demo: $(VENV)/installed
	$(BIN)/crux scan --control untrained --out demo
	@echo "open demo/report.html in a browser"

test: $(VENV)/installed-dev $(AXE)/installed
	$(BIN)/ruff check src tests benchmarks docs/hooks examples
	$(BIN)/ruff format --check src tests benchmarks docs/hooks examples
	$(BIN)/mypy
	$(PYTEST)

# The oldest transformers that is supported, laid over the environment, and the suite against it.
OLDEST := build/transformers-4.57

install-oldest: $(VENV)/installed-dev
	$(BIN)/pip install -q --no-deps --upgrade --target $(OLDEST) \
		"transformers==4.57.*" "huggingface_hub<1" "tokenizers>=0.22,<=0.23" \
		requests urllib3 idna certifi charset-normalizer

# axe-core, which looks for what keeps people from reading a report, for the tests in a browser. The
# package that brings it along would install a browser of its own.
$(AXE)/installed: $(VENV)/installed-dev
	$(BIN)/pip install -q --no-deps --upgrade --target $(AXE) axe-playwright-python==0.1.8
	touch $@

# The pictures of the README, by headless Chromium.
pictures: $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python -m report.pictures docs

# Without what runs no model.
MODELLESS := docs examples numerics plans/exports report results runtime studies \
	cli/test_interrupts.py testbed/test_families.py testbed/test_reading.py testbed/test_row.py

test-oldest:
	PYTHONPATH=$(OLDEST) $(PYTEST) $(addprefix --ignore=tests/,$(MODELLESS))

# The documentation as a site in build/site: every link is checked, and nothing is fetched.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The package as a wheel in dist/; then the tutorial with it, in an environment that has nothing.
wheel: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel -d dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python tests/docs/consoles.py docs/tutorial.md --empty

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	touch $@

# The tools that plans are exported to, laid over the environment, in two of their own (ms-swift wants
# older versions of what others share); the tests of the exports with them; the table they verify.
EXPORTS := build/exports
OVERLAID := $(EXPORTS)/tools/installed $(EXPORTS)/swift/installed
PURELIB := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
$(EXPORTS)/tools/installed: TOOLS := trl==1.16.0 mergekit==0.1.5 lm-eval==0.4.13
$(EXPORTS)/swift/installed: TOOLS := ms-swift==4.6.0

exports: $(OVERLAID)
	rm -f $(EXPORTS)/evidence.json
	$(EXPORTS)/swift/bin/python -m pytest -n 0 tests/plans/exports/test_ms_swift.py \
		--exports-evidence $(EXPORTS)/evidence.json
	$(EXPORTS)/tools/bin/python -m pytest -n 0 tests/plans/exports \
		--exports-evidence $(EXPORTS)/evidence.json --write-exports-table

$(OVERLAID): $(VENV)/installed-dev
	$(BIN)/python -m venv --without-pip $(@D)
	echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" \
		> "$$($(@D)/bin/python $(PURELIB))/base.pth"
	$(BIN)/pip list --format=freeze | grep '^torch==' > $(@D)/torch.txt
	$(@D)/bin/python -m pip install -q -c $(@D)/torch.txt $(TOOLS)
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[train,clusters]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build demo dist
