# Two commands, each doing its own set-up:
#   make demo [INPUT=my.mp4]   deblur a clip with the light install, results in demo/
#   make test                  lint, types and tests
PYTHON ?= python3
ENVS := .venvs
DEMO_ENV := $(ENVS)/demo
TEST_ENV := $(ENVS)/test
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint clean

demo: $(DEMO_ENV)/.installed
	$(DEMO_ENV)/bin/python docs/examples/demo.py $(if $(INPUT),--input "$(INPUT)") --output demo

# several processes at once: one thread each
test: export OMP_NUM_THREADS ?= 1
test: $(TEST_ENV)/.installed lint
	$(TEST_ENV)/bin/python -m pytest --numprocesses auto --dist loadfile -m 'not fault and not full'
	$(TEST_ENV)/bin/python -m pytest -m 'fault and not full'

lint: $(TEST_ENV)/.installed
	$(TEST_ENV)/bin/ruff check .
	$(TEST_ENV)/bin/ruff format --check .
	$(TEST_ENV)/bin/mypy
	$(TEST_ENV)/bin/mypy tests docs/examples

$(DEMO_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO_ENV)
	$(DEMO_ENV)/bin/pip install --quiet --editable '.[demo]'
	$(DEMO_ENV)/bin/pip install --quiet --only-binary=:all: 'openvino>=2025.0' \
		|| echo 'no OpenVINO wheel for this machine: ONNX Runtime does the work'
	touch $@

$(TEST_ENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST_ENV)
	$(TEST_ENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(ENVS) demo build deblurrt.egg-info
