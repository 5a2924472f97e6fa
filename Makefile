# `make demo` and `make test` do all the set-up; nothing else is needed than
# Python 3.11+, git and make. For an accelerator: make demo EXTRAS=cuda12
PYTHON ?= python3
EXTRAS ?=
VENV := .venv
COMMA := ,
BIN := $(VENV)/bin
# Other extras are another installation.
INSTALLED := $(VENV)/.installed$(addprefix -,$(EXTRAS))
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check

.PHONY: demo test test-slow lint format clean

# First a real photograph, by the network that ships; then everything in small.
# Huge pages spare the kernel clearing memory in 4 kB steps; where the C library
# or the kernel has none, this changes nothing.
demo: $(INSTALLED)
	$(BIN)/python -m experiments.reconstruct --photos=docs/images/london_photo.jpg \
	  --viewer --output=runs/face
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m experiments.demo --workdir=runs/demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadscope

# Khronos' validator of GLB files, and servers that speak the protocols of s3://
# and gs://; without them the tests that want them are skipped.
test-slow: $(VENV)/.installed-dev
	-$(PIP) "moto[server]>=5.0" "s3fs>=2024.6"
	-$(PIP) "gcp-storage-emulator>=2026.7" "gcsfs>=2024.6"
	-npm install --silent --prefix $(VENV) gltf-validator@2.0.0-dev.3.10
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than Python 3.11; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[detect$(addprefix $(COMMA),$(EXTRAS))]"
	touch $@

$(VENV)/.installed-dev: $(INSTALLED)
	$(PIP) --editable ".[detect,test,dev]"
	touch $@
