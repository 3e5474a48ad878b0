# `make demo` sets up and runs the main job; `make test` sets up and passes all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SECONDS ?= 30
# The real cells of samples/, over and over; each image of a folder once: make demo IMAGES=DIR
IMAGES ?=
APT := apt-get -qq -o=Dpkg::Use-Pty=0

.PHONY: demo test recordings bench-check lint soak lock pythons clean mosquitto postgresql streams chromium prometheus family rivals long-test arm64-parity bundle deb deb-test board board-test

demo: $(VENV)/.demo
ifeq ($(IMAGES),)
	$(BIN)/leukoscope classify samples/fields --field --html demo-fields.html
endif
	$(BIN)/leukoscope demo $(if $(IMAGES),--images $(IMAGES)) --seconds $(DEMO_SECONDS)

# Percent of the branches that the tests run, in their own process; it may only rise.
COVERAGE ?= 74
test: $(VENV)/.dev mosquitto postgresql streams chromium prometheus
	@echo "The tests take 20 to 30 minutes on 2 cores. What skips is listed at the end, with what it needs (docs/architecture.md)."
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=
	@printf 'branch coverage, percent: '; $(BIN)/python -m coverage report --format=total --fail-under=$(COVERAGE)

# Every fault of delivery in random order, for as long as one likes: make soak SOAK_SECONDS=3600 SOAK_SEED=2
SOAK_SECONDS ?= 300
SOAK_SEED ?= 0
# So long every Nth read, write, sync or lock of the outbox fails, before that, and as long of the logger's database.
FAULTY_SECONDS ?= 60
# So many kills of daemon, broker and logger at random instants, after that: 200 take about 10 minutes.
SOAK_KILLS ?= 200
soak: $(VENV)/.dev mosquitto
	FAULTY_SECONDS=$(FAULTY_SECONDS) $(BIN)/python -m pytest --timeout 0 tests/edge/outbox/test_faulty_disk.py tests/edge/logger/test_faulty_store.py
	$(BIN)/python tests/soak.py --seconds $(SOAK_SECONDS) --seed $(SOAK_SEED)
	$(BIN)/python tests/kills.py --kills $(SOAK_KILLS) --seed $(SOAK_SEED)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict edge train export

# docs/recordings/*.cast and docs/figures/page-*.jpg anew, 2 minutes: make recordings RECORDED="--casts log doctor"
RECORDED ?=
recordings: $(VENV)/.dev mosquitto chromium
	$(BIN)/python tests/recordings.py $(RECORDED)

# Is it still as fast? Ratios of times that are taken in turn, so that it holds on any machine.
bench-check: $(VENV)/.dev mosquitto
	$(BIN)/python -m pytest -m speed tests/edge/bench/test_speed.py

# The table of the models that ship and their cards, from the files themselves.
family: $(VENV)/.dev
	$(BIN)/python -m export.family models/*.tflite --out models/README.md

# The paper's rivals on fold 1 of C-NMC, one after the other, every one with the same budget, then side by side
# (docs/rivals.md). Called again it goes on where it was stopped. The paper's own size, on a GPU:
#   make rivals BUDGET="--recipe paper" OURS=ours_1_0 RIVALS="alnett alexnet vgg16 googlenet resnet50 mma_mtl yolov4"
# Ours comes in four: a quarter of the width and the whole, from ImageNet weights (MOBILENET_WEIGHTS=FOLDER: the files
# of both widths, where Keras cannot download them) and from random ones, which all others begin with.
RIVALS ?= alexnet alnett googlenet mma_mtl yolov4_tiny resnet50
OURS ?= ours ours_random ours_1_0 ours_1_0_random
BUDGET ?= --recipe leukoscope --set model.smooth_passes=0 --set model.size=64 --set model.crop=256 --set model.bn_momentum=0.9 --epochs 10
RIVAL_RUNS ?= runs/rivals
RIVAL_WEIGHTS ?= none
MOBILENET_WEIGHTS ?=
TRAIN_RIVAL = $(BIN)/leukoscope train --data $(CNMC) --fold 1 --split image
rivals: $(VENV)/.dev
	@mkdir -p $(RIVAL_RUNS)
	@for run in $(OURS) $(RIVALS); do \
	  weights=$(RIVAL_WEIGHTS); changes="--network $$run"; \
	  case $$run in ours*) changes="--network mobilenet_m"; weights=none;; esac; \
	  case $$run in ours*1_0*) changes="$$changes --set model.alpha=1.0";; esac; \
	  case $$run in ours) weights=$(or $(wildcard $(MOBILENET_WEIGHTS)/mobilenet_2_5_*),imagenet);; \
	    ours_1_0) weights=$(or $(wildcard $(MOBILENET_WEIGHTS)/mobilenet_1_0_*),imagenet);; esac; \
	  out=$(RIVAL_RUNS)/$$run; echo "$$run"; \
	  if [ -e $$out/recipe.json ]; then $(TRAIN_RIVAL) --out $$out --weights $$weights --resume; \
	  else $(TRAIN_RIVAL) $(BUDGET) $$changes --weights $$weights --out $$out; fi || exit 1; done
	$(BIN)/leukoscope compare $(addprefix $(RIVAL_RUNS)/,$(OURS) $(RIVALS)) --data $(CNMC) $(NEW_PATIENTS) --out $(RIVAL_RUNS)/compared
NEW_PATIENTS ?= $(wildcard ../shared/new_patients)

# The tests that take minutes each: every rival from training to the box.
long-test: $(VENV)/.dev
	$(BIN)/python -m pytest -m long tests

# The same outputs on x86-64 and on 64-bit ARM, bit by bit; as root, with the packages debootstrap and qemu-user-static.
# A Debian tree for arm64 is unpacked once; then a minute a model.
ARM64_ROOT ?= $(HOME)/.cache/leukoscope-arm64/root
CNMC ?= ../shared/cnmc

$(ARM64_ROOT):
	tests/board/arm64_root.sh $@

arm64-parity: $(VENV)/.dev $(ARM64_ROOT)
	$(BIN)/python -m tests.board.arm64_parity --root $(ARM64_ROOT) --data $(CNMC) models/*.tflite

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml tests/dev.lock | $(VENV)/bin/python
	@echo "Installing what the demo needs into $(VENV): about a minute, longer on a slow line."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/dev.lock -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml tests/dev.lock | $(VENV)/bin/python
	@echo "Installing TensorFlow and the test tools into $(VENV): about 600 MB, 2 to 10 minutes, once."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/dev.lock -e '.[dev]'
	touch $@ $(VENV)/.demo

# The tests drive a real broker. As root it is installed; otherwise they skip and say why.
mosquitto:
	@if [ -z "$$(PATH=$$PATH:/usr/sbin command -v mosquitto)" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Mosquitto from the Debian package."; \
	    $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install --yes --no-install-recommends mosquitto mosquitto-clients jq; \
	  else echo "mosquitto is missing: apt install mosquitto; the tests that need it will skip"; fi; fi

# They store into a real PostgreSQL too; only its programs are needed, the tests start a server of their own.
postgresql:
	@if [ -z "$$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing PostgreSQL from the Debian package."; \
	    $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install --yes --no-install-recommends postgresql || \
	      echo "PostgreSQL could not be installed; the tests that need it will skip"; \
	  else echo "PostgreSQL is missing: apt install postgresql; the tests that need it will skip"; fi; fi

# A camera stream to test with: GStreamer's RTSP server and its Python bindings.
STREAMS := ffmpeg gstreamer1.0-tools gstreamer1.0-plugins-good python3-gi gir1.2-gst-rtsp-server-1.0
streams:
	@if ! /usr/bin/python3 -c "import gi; gi.require_version('GstRtspServer', '1.0')" 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing GStreamer's RTSP server from the Debian packages."; \
	    $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install --yes --no-install-recommends $(STREAMS); \
	  else echo "GStreamer's RTSP server is missing: apt install $(STREAMS); the tests that need it will skip"; fi; fi

# The alerts and the scrape configuration of a fleet's server, in Debian's Prometheus and its promtool.
prometheus:
	@if [ -z "$$(command -v promtool)" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Prometheus from the Debian package."; \
	    $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install --yes --no-install-recommends prometheus || \
	      echo "Prometheus could not be installed; the tests that need it will skip"; \
	  else echo "Prometheus is missing: apt install prometheus; the tests that need it will skip"; fi; fi

# The page is tested in Debian's Chromium, and with axe-core for contrast and labels if npm is there.
chromium: $(VENV)/bin/python
	@if [ -z "$$(command -v chromium)" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium from the Debian package."; \
	    $(APT) update && DEBIAN_FRONTEND=noninteractive $(APT) install --yes --no-install-recommends chromium fonts-dejavu-core || \
	      echo "Chromium could not be installed; the tests of the page will skip"; \
	  else echo "chromium is missing: apt install chromium; the tests of the page will skip"; fi; fi
	@if [ ! -e $(VENV)/axe/node_modules/axe-core/axe.min.js ] && command -v npm >/dev/null; then \
	  npm install --silent --no-audit --no-fund --prefix $(VENV)/axe axe-core@4 || \
	    echo "axe-core could not be fetched; contrast and labels are not checked"; fi

# For a box without internet: dist/leukoscope-VERSION-arm64.tar.gz with all wheels.
bundle: $(VENV)/bin/python
	PYTHON=$(BIN)/python systemd/bundle.sh dist

# A Debian package of the box: dist/leukoscope_VERSION_all.deb, which fetches the packages of the lock file when it is
# installed; with DEB_BUNDLE=dist/leukoscope-VERSION-arm64.tar.gz (make bundle) one for arm64 that needs no internet.
DEB_BUNDLE ?=
deb:
	systemd/deb.sh dist $(DEB_BUNDLE)

# The package installed, upgraded, removed and purged by apt in a clean Debian root, made by mmdebstrap: as root, about
# ten minutes. Another one: make deb-test DEB_SUITE=trixie
DEB_ROOTS ?= $(HOME)/.cache/leukoscope-roots
DEB_SUITE ?= bookworm
deb-test:
	tests/systemd/deb_in_root.sh $(DEB_ROOTS) $(DEB_SUITE)

# The packages of a box with their hashes: for systems with numpy 2, and with numpy 1 (Debian 12, JetPack 6). The tests
# and the demo run with the same versions, so that a release of tomorrow breaks nobody's clone. Run it when a
# dependency changes; the newest of all: make lock NEWEST=--upgrade
NEWEST ?=
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url \
  --custom-compile-command "make lock" pyproject.toml
BOX := systemd/build-requirements.in --extra box --generate-hashes
lock: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) $(BOX) $(NEWEST) --output-file systemd/box.lock
	echo 'numpy<2' | $(LOCK) $(BOX) $(NEWEST) --constraint - --output-file systemd/box-numpy1.lock
	$(LOCK) --extra dev $(NEWEST) --constraint systemd/box.lock --output-file tests/dev.lock

# The tests of edge on other Pythons than the one of .venv, the oldest and the newest that are supported, each in an
# environment of its own: make pythons PYTHONS="python3.10 python3.13" PYTHON_TESTS=tests/edge
PYTHONS ?= $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10 $(HOME)/.pyenv/versions/3.13.*/bin/python3.13)
PYTHON_TESTS ?= tests/edge/host tests/edge/imaging tests/edge/model tests/edge/outbox/test_outbox.py tests/edge/specimen tests/edge/test_records.py
pythons:
	@for python in $(or $(PYTHONS),none); do \
	  if [ $$python = none ]; then echo "no other Python here: make pythons PYTHONS=python3.13"; break; fi; \
	  folder=$(VENV)-$$(basename $$python); echo "tests of edge on $$($$python -V)"; \
	  [ -e $$folder/.ready ] || { $$python -m venv $$folder && \
	    $$folder/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/dev.lock -e '.[test]' && touch $$folder/.ready; } || exit 1; \
	  $$folder/bin/python -m pytest -p no:cacheprovider -r fE $(PYTHON_TESTS) || exit 1; done

# A virtual ARM box, built once outside the project (about an hour), and the project put through its paces on it.
BOARD ?= $(HOME)/.cache/leukoscope-board
board:
	tests/board/build.sh $(BOARD)

board-test: board bundle $(VENV)/.demo
	$(BIN)/python -m tests.board.run --board $(BOARD) --bundle dist

clean:
	rm -rf $(VENV) $(VENV)-python* build *.egg-info
