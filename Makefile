# The two commands of the README are `make demo` and `make test`; each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

# The image: `make image`, with MODEL=FOLDER baked in, from WHEELS=FOLDER alone, or with more BUILD_ARGS.
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo podman)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= medseg:$(VERSION)
OFFLINE ?= /var/tmp/medseg-container

DATA ?= $(MEDSEG_TEST_DATA)

.PHONY: demo model test test-long bench format check docs results setup image container-test clean
setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup          ## make synthetic subjects, run every stage, print the scores
	$(BIN)/medseg demo

model: setup         ## train the tissue model that ships with medseg, on synthetic people; an hour or two on one core
	$(BIN)/python -m pipelines.commands.brain_tissue

format: setup        ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup         ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check          ## everything that must hold, within ten minutes
	$(BIN)/pytest -m 'not long and not container' -n 2

test-long: check     ## what takes longer: kill tests, exports, real trainings; screenshots in screenshots/
	MEDSEG_SCREENSHOTS=$${MEDSEG_SCREENSHOTS:-$(CURDIR)/screenshots} $(BIN)/pytest -m long

bench: .venv/.bench  ## medseg and its peers in turn on this machine: a table within half an hour; ARGS='--only voting'
	$(BIN)/python -m benchmarks $(ARGS)

.venv/.bench: .venv/.ready
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,bench]'
	touch $@

docs: setup          ## the site of docs/ as pages that work offline: site/index.html
	$(BIN)/sphinx-build -q -W --keep-going -d site/.doctrees docs site

results: setup       ## train, evaluate, write docs/results.md: all rows or ROW=name, with DATA=folder, SEED=n; REPEAT=1 compares
	$(BIN)/python -m benchmarks.make_results $(DATA) $(if $(ROW),--row $(ROW)) $(if $(SEED),--seed $(SEED)) \
		$(if $(REPEAT),--repeat)

image:               ## build the container image with docker or podman
	$(ENGINE) build --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
		$(if $(MODEL),--build-context model=$(MODEL)) \
		$(if $(WHEELS),--build-context wheels=$(WHEELS) --build-arg PIP_NO_INDEX=1) $(BUILD_ARGS) .

container-test: setup  ## build the image from debootstrap and wheels, and run it locked up (root, podman, runc)
	PIP=$(BIN)/pip container/offline.sh $(OFFLINE) localhost/medseg:test
	CONTAINERS_CONF=$${CONTAINERS_CONF:-$(OFFLINE)/containers.conf} MEDSEG_ENGINE=podman \
		MEDSEG_IMAGE=localhost/medseg:test $(BIN)/pytest -m container tests/container

clean:
	rm -rf .venv work site .pytest_cache .mypy_cache .ruff_cache .hypothesis
