# make demo   stylize the example photo with a shipped style (light: no TensorFlow)
# make test   set everything up and run the tests
# make check  linter and formatter, changing nothing

PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check clean

demo: .venv/.infer
	.venv/bin/python infer.py examples/coffee.jpg --style starry_night -o out/coffee_starry_night.png
	.venv/bin/python infer.py examples/coffee.jpg --style great_wave -o out/coffee_great_wave.png
	@echo "Look at out/coffee_starry_night.png and out/coffee_great_wave.png"

test: .venv/.dev
	.venv/bin/python -m pytest -q

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed, $$($(PYTHON) --version) was found; try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.infer: .venv/bin/python requirements-infer.txt
	@echo "Installing the inference packages (some tens of megabytes) ..."
	$(PIP) -r requirements-infer.txt
	@touch $@

.venv/.dev: .venv/bin/python requirements-infer.txt requirements.txt requirements-dev.txt
	@echo "Installing TensorFlow and the test packages (some 600 megabytes) ..."
	$(PIP) -r requirements-dev.txt
	@touch $@ .venv/.infer

clean:
	rm -rf .venv out
