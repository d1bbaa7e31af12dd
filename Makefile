# Each command makes the virtual environment it needs; the second time that is done already.
PYTHON ?= python3
BIN := .venv/bin
# Apart from the rest: torchmetrics would import it in every command.
SKLEARN := scikit-learn==1.9.0 scipy==1.17.1 joblib==1.6.0 threadpoolctl==3.8.0 narwhals==2.29.0
TRANSFORMERS := transformers==5.24.0 tokenizers==0.23.3 regex==2026.11.19
# Apart for the same reason. torchvision's compiled part fits the build for CUDA alone: see tests/helpers/operators.py.
TIMM := timm==1.0.31 torchvision==0.28.0
# Apart because it asks for an older protobuf, with which the other loggers' newest versions would not go.
SWANLAB := swanlab==0.10.3 nvidia-ml-py==13.615.71 orjson==3.13.0 prettytable==3.18.0 pwinput==1.0.3 \
	pydantic-settings==2.16.3 pyecharts==2.1.0 pyroaring==1.2.0 watchdog==7.1.0

CONFIGS := -c configs/data/digits.yaml -c configs/model/simplenet.yaml

.PHONY: quick demo test test-all lint bench mutations docs pictures release

# A project in `build/quick`, its own tests, and one training: what to run while you work
quick: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf build/quick
	$(BIN)/copier copy --quiet --defaults --vcs-ref HEAD . build/quick
	cd build/quick && ../../$(BIN)/python -m pytest --quiet
	cd build/quick && ../../$(BIN)/python src/main.py fit $(CONFIGS) --test_after_fit true

demo: .venv/installed
	$(BIN)/python docs/demo.py

test: .venv/installed
	$(BIN)/python -m pytest

# With the sweeps, which repeat on many more cases what a test of `make test` holds for a few
test-all: .venv/installed
	$(BIN)/python -m pytest -m ''

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/ruff format --check --config 'target-version="py314"' template
	MYPY_CACHE_DIR=build/mypy $(BIN)/mypy
	$(BIN)/copier copy --quiet --defaults --overwrite --vcs-ref HEAD . build/lint
	cd build/lint && MYPY_CACHE_DIR=../mypy ../../$(BIN)/mypy
	$(BIN)/copier copy --quiet --defaults --overwrite --vcs-ref HEAD --data 'tooling=[github_actions]' . build/workflows
	$(BIN)/zizmor --offline --quiet build/workflows

bench: .venv/installed
	$(BIN)/python benchmarks/bench.py $(FIGURES)

# Some thirty mistakes, one at a time, and the tests that notice each: an hour, or BREAKS="resume" for some of them
mutations: .venv/installed
	$(BIN)/python benchmarks/mutations.py $(BREAKS)

docs: .venv/installed
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/site

pictures: .venv/installed
	$(BIN)/python docs/pictures.py

release: .venv/installed
	$(BIN)/python docs/release.py $(VERSION)

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/sklearn $(SKLEARN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/timm $(TIMM)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/transformers $(TRANSFORMERS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/swanlab $(SWANLAB)
	touch $@
