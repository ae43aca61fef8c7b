# make demo            stylize the example photo with two shipped styles (light: no TensorFlow)
# make install         set up everything that train.py and infer.py use
# make studio          set up the studio, and open it at http://127.0.0.1:7860/
# make serve           set up the HTTP service, and start it
# make cluster         set up what infer.py and train.py need for --cluster: Ray
# make wheel           build the package that pip installs, into dist/; see docs/install.md
# make test            set everything up and run the tests
# make test-processes  the tests that start, kill and connect whole trainings; minutes
# make test-browser    the tests of the studio in a browser; they need Chromium
# make test-cluster    the tests of --cluster, on clusters of this machine; they need Ray; minutes
# make test-lowest     the tests of inference with the lowest versions of its packages, without TensorFlow
# make fuzz            damaged pictures, clips and styles, a fixed number of each; minutes
# make check           linter and formatter, changing nothing

PYTHON ?= python3
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo install studio serve cluster wheel test test-processes test-browser test-cluster test-lowest fuzz check clean

demo: .venv/.infer
	.venv/bin/python infer.py examples/coffee.jpg --style composition_vii -o out/coffee_composition_vii.png
	.venv/bin/python infer.py examples/coffee.jpg --style udnie -o out/coffee_udnie.png
	@echo "Look at out/coffee_composition_vii.png and out/coffee_udnie.png"

install: .venv/.train

studio: .venv/.studio
	.venv/bin/python studio.py

serve: .venv/.serve
	.venv/bin/python serve.py

cluster: .venv/.cluster

wheel: .venv/.build
	.venv/bin/python -m hatchling build -t wheel -t sdist

test: .venv/.dev
	.venv/bin/python -m pytest -q -m "not processes and not browser and not cluster" --numprocesses auto --maxprocesses 8 --dist loadfile

test-processes: .venv/.dev
	.venv/bin/python -m pytest -q -m processes

test-browser: .venv/.dev
	.venv/bin/python -m pytest -q -m browser

test-cluster: .venv/.test-cluster
	.venv/bin/python -m pytest -q -m cluster

test-lowest: .venv-lowest/.done
	.venv-lowest/bin/python -m pytest -q -m "not processes and not browser and not cluster"

fuzz: .venv/.dev
	.venv/bin/python -m fuzz.picture --cases 10000
	.venv/bin/python -m fuzz.clip --cases 3000
	.venv/bin/python -m fuzz.style_json --cases 10000
	.venv/bin/python -m fuzz.onnx_style --cases 1000
	.venv/bin/python -m fuzz.meta_graph --cases 200

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed, $$($(PYTHON) --version) was found; try: make PYTHON=python3.12" >&2; exit 1; }
endef

.venv/bin/python:
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv

.venv-lowest/.done: requirements-lowest.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-lowest.txt
	@touch $@

.venv/.infer: .venv/bin/python requirements-infer.txt
	@echo "Installing the packages for inference (about 100 MB to download) ..."
	$(PIP) -r requirements-infer.txt
	@touch $@

.venv/.train: .venv/bin/python requirements-infer.txt requirements.txt
	@echo "Installing TensorFlow and the packages for training (about 700 MB to download) ..."
	$(PIP) -r requirements.txt
	@touch $@ .venv/.infer

.venv/.serve: .venv/.infer requirements-serve.txt
	@echo "Installing the packages for the HTTP service ..."
	$(PIP) -r requirements-serve.txt
	@touch $@

.venv/.studio: .venv/.infer requirements-serve.txt requirements-studio.txt
	@echo "Installing the packages for the studio (about 70 MB to download) ..."
	$(INSTALL_STUDIO)
	@touch $@

# gradio brings a Pillow that lacks corrections, but runs with the one that has them.
define INSTALL_STUDIO
$(PIP) -r requirements-studio.txt
	$(PIP) --no-deps -r requirements-infer.txt
endef

.venv/.cluster: .venv/.infer requirements-cluster.txt
	@echo "Installing Ray (about 170 MB to download) ..."
	$(PIP) -r requirements-cluster.txt
	@touch $@

# An S3-compatible server for the tests.
.venv/.test-cluster: .venv/.dev .venv/.cluster
	$(PIP) "moto[server]>=5.2"
	@touch $@

.venv/.build: .venv/bin/python requirements-dev.txt
	$(PIP) "$$(grep -o '^hatchling[^ ]*' requirements-dev.txt)"
	@touch $@

.venv/.dev: .venv/.train requirements-dev.txt requirements-openvino.txt requirements-serve.txt requirements-studio.txt
	@echo "Installing the packages for the tests ..."
	$(PIP) -r requirements-dev.txt
	$(INSTALL_STUDIO)
	@touch $@ .venv/.serve .venv/.studio .venv/.build

clean:
	rm -rf .venv .venv-lowest out dist
