# make demo    set everything up, build the sample kernels and images of them
# make prove   set everything up, boot every kind of image on a real Xen in QEMU, and write docs/explanation/boots.md
# make prove-os   set everything up, boot every recipe of a whole system to its login prompt; root makes all of them
# make test    set everything up, run the linters and the tests
# make test-long   the sweeps that take longer: kills and faults at every call of a publication
.DELETE_ON_ERROR:
.PHONY: setup demo prove prove-os test test-long lint bench lock docs kernels clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
KERNELS := build/kernels
WORKERS ?= 3

setup:
	@tools/setup

kernels:
	@$(MAKE) -s -C recipes/kernels OUT=$(CURDIR)/$(KERNELS)

demo: setup kernels
	@tools/demo

prove: setup kernels
	@tools/prove --write

prove-os: setup
	@tools/prove-os --write

test: setup kernels lint
	@tools/setup-openstack
	pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term --cov-fail-under=95

test-long: setup kernels
	@tools/setup-openstack
	pytest -n $(WORKERS) -m long

lint: setup
	ruff check
	ruff format --check
	mypy
	lint-imports
	codespell

bench: setup kernels
	python -m bench.bench

lock:
	tools/lock

docs: setup
	python tools/reference

clean:
	rm -rf build dist demo .venv .venv-openstack .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
