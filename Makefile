# The two commands of the README are `make demo` and `make test`; each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long format check setup clean
setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup          ## make synthetic subjects, run every stage, print the scores
	$(BIN)/medseg demo

format: setup        ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup         ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check          ## everything that must hold, within ten minutes
	$(BIN)/pytest -m 'not long' -n 2

test-long: check     ## what takes longer: kill tests, exports, real trainings
	$(BIN)/pytest -m long

clean:
	rm -rf .venv work .pytest_cache .mypy_cache .ruff_cache .hypothesis
