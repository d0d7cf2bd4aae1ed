# The whole toolchain: `make run`, `make test`, `make peers`, `make install`, `make uninstall`, `make lock`.
# The environment is .venv in this checkout, built from requirements.lock with hashes; it needs Python >= 3.11 and nothing else.

PYTHONS = $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PIP     = .venv/bin/python -m pip --quiet --disable-pip-version-check
UV      = uv

# Where a gateway keeps things; DESTDIR moves all of it under another root.
prefix    = /opt/hashwatt
bindir    = /usr/local/bin
unitdir   = /etc/systemd/system
configdir = /etc/hashwatt

export PIP_ROOT_USER_ACTION = ignore

.PHONY: env run test fuzz peers install uninstall lock

env: .venv/built

run: env
	@.venv/bin/python -m hil.demo $(if $(CONFIG),--config $(CONFIG))

# The fleet is measured by its own tests alone, so its branch coverage is not borrowed from an end-to-end run. Stories wait
# more than they work, so one of them fits beside the cores.
test: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/coverage erase
	.venv/bin/coverage run -m pytest -q -n auto tests/fleet
	.venv/bin/coverage combine -q
	.venv/bin/coverage report --skip-covered
	.venv/bin/pytest -q -n $$(($$(nproc) + 1)) --ignore=tests/fleet $(ARGS)

# Coverage-guided: 200,000 executions of each target, or RUNS=n of TARGETS="a b". The engine has an environment of its own.
RUNS = 200000
fuzz: .venv-fuzz/built
	PYTHONPATH=$(CURDIR):$(CURDIR)/tests .venv-fuzz/bin/python -m fuzz.run $(TARGETS) --runs $(RUNS) $(if $(JOBS),--jobs $(JOBS))

.venv-fuzz/built: .venv/bin/pip requirements-fuzz.lock
	@.venv/bin/python -m venv --clear .venv-fuzz
	@.venv-fuzz/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements-fuzz.lock
	@touch $@

peers:
	.ci/peers

.venv/built: .venv/bin/pip requirements.lock pyproject.toml
	@echo "Building .venv from requirements.lock"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/bin/pip:
	@for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    "$$python" -c 'import ensurepip' 2>/dev/null \
	        || { echo "$$python cannot make an environment: apt-get install python3-venv" >&2; exit 1; }; \
	    exec "$$python" -m venv --clear .venv; \
	done; \
	echo "Hashwatt needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.13" >&2; exit 1

# Everything is fetched and built before the installed copy is touched, so a network that fails leaves the gateway as it was.
# Configuration and state are never changed: an upgrade is `git pull && make install`.
install: env
	@set -eu; umask 022; wheels=$$(mktemp -d); trap 'rm -rf "$$wheels"' EXIT; \
	$(PIP) download --require-hashes --dest "$$wheels" -r requirements-gateway.lock; \
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir "$$wheels" .; \
	.venv/bin/python -m venv --clear "$(DESTDIR)$(prefix)"; \
	"$(DESTDIR)$(prefix)/bin/python" -m pip --quiet --disable-pip-version-check install --no-index --no-deps "$$wheels"/*
	install -d "$(DESTDIR)$(bindir)" "$(DESTDIR)$(unitdir)" "$(DESTDIR)$(configdir)" "$(DESTDIR)$(configdir)/pdus.d"
	ln -sfn "$(prefix)/bin/hashwatt" "$(DESTDIR)$(bindir)/hashwatt"
	sed 's|/opt/hashwatt|$(prefix)|g; s|/etc/hashwatt|$(configdir)|g' systemd/hashwatt.service > "$(DESTDIR)$(unitdir)/hashwatt.service"
	@test -e "$(DESTDIR)$(configdir)/hashwatt.toml" \
	    && echo "Kept $(configdir)/hashwatt.toml" \
	    || install -m 0644 docs/hashwatt.example.toml "$(DESTDIR)$(configdir)/hashwatt.toml"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; systemctl try-restart hashwatt; fi
	@echo "Installed in $(prefix). Next: edit $(configdir)/hashwatt.toml, hashwatt check, systemctl enable --now hashwatt"

uninstall:
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now hashwatt || true; fi
	rm -rf "$(DESTDIR)$(prefix)"
	rm -f "$(DESTDIR)$(bindir)/hashwatt" "$(DESTDIR)$(unitdir)/hashwatt.service"
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo "Kept your configuration in $(configdir), and journal and history in /var/lib/hashwatt; delete them by hand if you mean it."

# No URL and no host may get into a lock. The gateway's lock is the same pins without the tools that only test; the
# fuzzer's adds atheris, which has no wheel for every Python that we run on and therefore stays out of .venv.
LOCK = $(UV) pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock:
	$(LOCK) --extra test -o requirements.lock
	$(LOCK) -c requirements.lock -o requirements-gateway.lock
	$(LOCK) -c requirements.lock --extra fuzz -o requirements-fuzz.lock
