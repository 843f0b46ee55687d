# make all       set up, then run every lesson in order     PRESET=default|full|smoke DATA=auto|real|embedded
# make 08        run one lesson                             DATA_DIR=folder DEVICE=auto|cpu|gpu
# make test      the tests; test-slow: the long ones, too   make smoke   a few steps of every lesson
# make data      fetch every real data set now              make doctor  what is installed, and does the GPU compute?
# make readme    write the numbers into the READMEs         make bench   side by side with the tutorials' forms; PEERS=1: and PyTorch
# make notebooks the lessons as notebooks            make site
# make test-site the site in a real browser         make clean   remove what is not published
#
# GNU make 3.81, POSIX sh and BSD tools are enough.

PRESET = default
DATA = auto
DATA_DIR =
DEVICE =
JOBS = 2
CUDA =
PEERS =

PYTHON_IN_VENV = .venv/bin/python
KIT = PYTHONPATH=src $(PYTHON_IN_VENV) -m
LESSONS = $(sort $(patsubst src/%.py,%,$(wildcard src/[0-9][0-9]_*.py)))
NUMBERS = $(foreach lesson,$(LESSONS),$(firstword $(subst _, ,$(lesson))))
STAMPS = $(LESSONS:%=build/stamps/%)
SHARED_CODE = $(shell find src/lessonkit -name '*.py')
FLAGS = --preset $(PRESET) --data $(DATA) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(if $(DEVICE),--device $(DEVICE))

.PHONY: all lessons setup smoke test test-slow test-latest test-site kills data doctor notebooks site site-weights readme bench clean FORCE $(NUMBERS)
.DELETE_ON_ERROR:

# A lesson that fails does not stop the others; it is named at the end, and make ends with status 2.
all: .venv/installed
	@rm -f build/begun.csv
	@$(MAKE) --keep-going --no-print-directory lessons || $(if $(FAMILIES),$(MAKE) --no-print-directory READS= $(FAMILIES) ||) true
	@$(KIT) lessonkit.course table

lessons: $(STAMPS)

# One lesson by its number, always anew.
$(NUMBERS): .venv/installed
	$(PYTHON_IN_VENV) $(wildcard src/$@_*.py) $(FLAGS)

build/stamps/%: src/%.py $(SHARED_CODE) build/settings | .venv/installed
	@mkdir -p build/stamps && rm -f $@
	@$(KIT) lessonkit.course begin $*
	@$(PYTHON_IN_VENV) src/$*.py $(FLAGS)
	@touch $@

# Lesson 28 reads what these generated: it comes after them, also with -j2, and anew after each of them. If one of
# them fails, `all` calls it with READS= once the others are done: it does without the missing ones, and names them.
FAMILIES = $(filter build/stamps/28_%,$(STAMPS))
READS = $(foreach n,13 20 21 22 24 25 26,$(filter build/stamps/$(n)_%,$(STAMPS)))
build/stamps/28_FashionMNIST_families: $(READS)

# Other settings make every stamp old; the same ones leave this file as it is.
build/settings: FORCE
	@mkdir -p build
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@

setup: .venv/installed

# With CUDA=1 the TensorFlow of requirements.txt is replaced by the one that brings NVIDIA's libraries.
.venv/installed: requirements.txt
	@for python in "$$PYTHON" python3.11 python3.12 python3.10 python3 python; do \
		test -n "$$python" && "$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && break; \
		python=; \
	done; \
	if test -z "$$python"; then \
		echo "setup: no Python 3.10, 3.11 or 3.12 here; install one (brew install python@3.11, or apt-get install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi; \
	echo "setup: making .venv with $$($$python --version)"; \
	"$$python" -m venv .venv || { echo "setup: $$python cannot make an environment; install its venv module (apt-get install python3-venv)" >&2; exit 2; }
	@echo "setup: installing what requirements.txt asks for (a few minutes, some 600 MB)"
	@if test -n "$(CUDA)"; then \
		mkdir -p build && sed 's/^tensorflow-cpu==\([0-9.]*\).*/tensorflow[and-cuda]==\1/' requirements.txt > build/requirements-cuda.txt && \
		.venv/bin/pip install -q --disable-pip-version-check -r build/requirements-cuda.txt; \
	else \
		.venv/bin/pip install -q --disable-pip-version-check -r requirements.txt; \
	fi
	@sh -c 'command -v dot || brew install graphviz || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends graphviz; } || sudo -n apt-get install -y -qq --no-install-recommends graphviz' >/dev/null 2>&1 || \
		echo "setup: warning: the program dot is missing, so model diagrams become .dot files; install Graphviz (brew install graphviz, or sudo apt-get install graphviz)"
	@touch $@

smoke: .venv/installed
	@for lesson in $(LESSONS); do $(PYTHON_IN_VENV) src/$$lesson.py --preset smoke || exit 1; done

test: .venv/installed
	$(PYTHON_IN_VENV) -m ruff check -q src tests
	$(PYTHON_IN_VENV) -m pytest -n $(JOBS) --dist loadfile $(if $(DEVICE),--device $(DEVICE))

# Every test, also those that take long (a run of each suggested command, ...): some 20 minutes.
test-slow: .venv/installed
	$(PYTHON_IN_VENV) -m pytest -n $(JOBS) --dist loadfile --slow $(if $(DEVICE),--device $(DEVICE))

# The same tests with the newest TensorFlow and Keras (Linux): the pins are there for Metal's sake.
test-latest: .venv-latest/installed
	.venv-latest/bin/python -m pytest -n $(JOBS) --dist loadfile

.venv-latest/installed: requirements.txt .venv/installed
	@mkdir -p build
	@sed -e '/^tensorflow-m/d' -e 's/^\(tensorflow[a-z-]*\)==[0-9.]*/\1/' -e 's/^keras==.*/keras/' -e 's/^numpy.*/numpy/' requirements.txt > build/requirements-latest.txt
	$(PYTHON_IN_VENV) -m venv .venv-latest
	.venv-latest/bin/pip install -q --disable-pip-version-check -r build/requirements-latest.txt
	@touch $@

# Slow: a smoke run of every lesson is killed three times at random moments, and must end as an unbroken one.
kills: .venv/installed
	$(PYTHON_IN_VENV) -m pytest tests/test_resume.py --kills 3

data: .venv/installed
	@$(KIT) lessonkit.datasets

doctor: .venv/installed
	@$(KIT) lessonkit.doctor

bench: .venv/installed $(if $(PEERS),.venv-peers/installed)
	@PYTHONPATH=src $(PYTHON_IN_VENV) tests/benchmarks

.venv-peers/installed: tests/benchmarks/peers/requirements.txt .venv/installed
	$(PYTHON_IN_VENV) -m venv .venv-peers
	.venv-peers/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

notebooks: .venv/installed
	@$(KIT) lessonkit.notebooks

# The site: the notes in both languages, to be read in a browser, from the folder or from a server.
site: .venv-site/installed
	@mkdir -p build/pages
	.venv-site/bin/mkdocs build --strict -q -f docs/site/mkdocs.yml

# The networks of the live examples, anew, from the checkpoints of the lessons' last runs.
site-weights: .venv/installed
	@PYTHONPATH=src $(PYTHON_IN_VENV) docs/site/weights.py

test-site: site
	.venv-site/bin/python -m pytest -q -c /dev/null --confcutdir tests/site -p no:cacheprovider tests/site

.venv-site/installed: docs/site/requirements.txt .venv/installed
	$(PYTHON_IN_VENV) -m venv .venv-site
	.venv-site/bin/pip install -q --disable-pip-version-check -r docs/site/requirements.txt
	@touch $@

readme: .venv/installed
	@$(KIT) lessonkit.readme

clean:
	rm -rf build .venv .venv-latest .venv-site .venv-peers output/.partial-* output/*/checkpoints
