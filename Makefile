# `make` builds the release. The rest is CMake's: see CMakePresets.json.

build:
	tools/setup build
	cmake --preset release
	cmake --build --preset release --target perigee

# make run ARGS="--port 8080"
run: build
	build/release/perigee serve scripts $(ARGS)

# Always with the sanitizers, and with no warning left.
test:
	tools/setup test
	tests/run

# What an issue claims, shown by the release build.
acceptance: build
	tools/setup acceptance
	tests/run acceptance

# Autobahn|Testsuite against scripts/echo.lua, and against `perigee connect`.
conformance: build
	tests/conformance/run

# Seconds a target, and which: make fuzz FUZZ_S=600 TARGET=json
FUZZ_S = 60
fuzz:
	tools/setup fuzz
	tests/fuzz/run --seconds $(FUZZ_S) $(TARGET)

# All that clients do, mixed at random, and nothing may be left: make soak SOAK_S=3600 SEED=7
SOAK_S = 120
SEED =
soak: build
	tools/setup test
	build/venv/bin/python tests/soak/run --seconds $(SOAK_S) $(if $(SEED),--seed $(SEED))

# perigee beside the least that a server can do and beside other servers: make bench ARGS="--rounds 9"
bench: build
	tools/setup bench
	tests/bench/run $(ARGS)

# In under three minutes, perigee and that least alone.
bench-quick: build
	tools/setup bench-quick
	tests/bench/run --quick $(ARGS)

# What a message costs, beside what is recorded: make instructions ARGS=--record
instructions: build
	tools/setup test
	build/venv/bin/python tests/bench/instructions $(ARGS)

lint:
	tools/setup lint
	tools/lint

# build/perigee_VERSION_ARCH.deb
deb:
	tools/deb

format:
	tools/setup test
	find core tests tools -name '*.[ch]' | xargs build/venv/bin/clang-format -i
	build/venv/bin/ruff format -q tests tests/run tests/fuzz/run tests/soak/run tests/bench/run \
	  tests/bench/instructions tools/docs tools/train

# The tables of docs/configuration.md, from those in the code.
docs: build
	cmake --build --preset release --target settings_tables
	tools/docs build/release/settings_tables

# Keeps what tools/setup fetched.
clean:
	rm -rf build/release build/debug build/asan build/tsan build/fuzz build/results build/deb build/*.deb

.PHONY: build run test acceptance conformance fuzz soak bench bench-quick instructions lint deb format docs \
  clean
