# make book   build the website into _build/html          make test   run every check
# make lab    open the book in JupyterLab                 make execute   run the chapters, store their outputs
# make install  set everything up, and no more          make check     run style, and the tests of what changed
# make seeds  seeds 0 to 4, and twice the steps         make clean     delete what the others made
# make student  the chapters without solutions          make slides    the chapters as slides, a file each
# make figures  every stored figure as a file           make pdf       the built site as one PDF
# make notebooks  a branch of notebooks for Colab
#
# Each target sets up what it needs in .venv, once, and again only when the pinned versions change.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
QUIET  ?= --quiet
PIP    := $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --constraint constraints.txt
FAILED := { echo "the installation failed: run make again with QUIET= to see why"; exit 1; }
PINS   := pyproject.toml constraints.txt
CHAPTER ?=
LAB ?=

# What the site is made of and a reader does not open; files of one's own are shown, whatever their kind.
HIDDEN := ['_*', 'api', 'extra', 'drafts', 'noise_lab*', 'gallery_lab*', '[0-9][0-9]_*.md', 'index.md', 'reproduction.md', 'evening.md', 'metric_learning_today.md', 'formulas.md', 'glossary.md', 'quiz.md', 'lecturers.md', 'bibliography.md', 'references.bib', '*~']

.PHONY: book test check install lab execute seeds student notebooks slides figures pdf clean

$(VENV)/made:
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): name one that there is, as make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, $$($(PYTHON) --version) was found: try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "Python's venv is missing; on Debian: apt install python3-venv"; exit 1; }
	@touch $@

# The site is made of stored outputs: Jupyter Book, and the library's source for the API pages, without torch.
$(VENV)/book: $(VENV)/made $(PINS)
	@echo "installing Jupyter Book into $(VENV) …"
	@$(PIP) 'setuptools>=77' $$($(BIN)/python tests/extras.py book) || $(FAILED)
	@$(PIP) --no-deps --no-build-isolation --editable . || $(FAILED)
	@touch $@

$(VENV)/all: $(VENV)/book
	@echo "installing PyTorch, JupyterLab and the test tools into $(VENV); the first time this takes some minutes …"
	@$(PIP) --no-build-isolation --editable '.[book,lab,test]' || $(FAILED)
	@touch $@

book: $(VENV)/book
	$(BIN)/jupyter-book build book -W -n --keep-going --all
	@$(BIN)/python tests/site_is_whole.py
	@echo "open _build/html/index.html"

test: $(VENV)/all
	$(BIN)/python tests/run.py

check: $(VENV)/all
	BASE=$(BASE) $(BIN)/python tools/check.py

install: $(VENV)/all

lab: $(VENV)/all
	$(BIN)/jupyter lab --ContentsManager.hide_globs="$(HIDDEN)" $(LAB) book/00_start_here.ipynb

execute: $(VENV)/all
	$(BIN)/python tools/execute.py $(CHAPTER)

seeds: $(VENV)/all
	$(BIN)/python tools/execute.py --seeds $(CHAPTER)

student: $(VENV)/book
	$(BIN)/python tools/student.py

notebooks: $(VENV)/book
	$(BIN)/python tools/notebooks.py

figures: $(VENV)/all
	$(BIN)/python tools/figures.py

pdf: $(VENV)/all book
	$(BIN)/python tools/pdf.py

slides: $(VENV)/book
	$(BIN)/python tools/slides.py $(CHAPTER)

clean:
	rm -rf _build .vendored book/.ipynb_checkpoints .pytest_cache .ruff_cache course_lib.egg-info $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
