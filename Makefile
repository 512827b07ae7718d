# make setup | demo [FOR=60] [LOG=access.log HOST=name] | test | chaos [SEEDS=3] | sweep [POINTS=200] | bench [EVENTS=5000000] | lint | clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
CLI := node bin/web-traffic.js

.PHONY: help setup demo check pure test chaos sweep bench bench-live bench-open-windows bench-years lint eslint imports prettier types docs-check format clean

help:
	@echo 'make setup                                                 install and build'
	@echo 'make demo [FOR=60] [LOG=access.log HOST=www.example.com]   run the whole pipeline on live traffic or your log'
	@echo 'make check                                                 run lint, type checks and the tests that need no server'
	@echo 'make test                                                  run lint, type checks and all tests, on real servers'
	@echo 'make chaos [SEEDS=20]                                      attack the pipeline with faults, then compare every count'
	@echo 'make sweep [POINTS=200] [FIRST=1]                          run pipelines of many shapes and sizes; compare every count'
	@echo 'make bench [EVENTS=1000000]                                measure how fast a topic is loaded, next to kafkajs alone'
	@echo 'make bench-live [RATES=1000,20000]                         measure how soon windows of live traffic are visible'
	@echo 'make bench-open-windows [WINDOWS=10000]                    measure a history whose windows are all open at once'
	@echo "make bench-years [ROWS=20000000]                           measure the dashboard's queries on a year of windows"

setup: dist/.built

# npm writes this file last, so it is as new as the last successful install.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

dist/.built: node_modules/.package-lock.json $(shell find src trials -type f) tsconfig.json tsconfig.build.json
	rm -rf dist
	npm run --silent build
	@touch $@

demo: setup
	@$(CLI) demo $(if $(FOR),--for $(FOR)) $(if $(LOG),--log '$(LOG)') $(if $(HOST),--host $(HOST)) $(if $(RATE),--rate $(RATE))

# In parallel, because each uses one core.
lint: setup
	@$(MAKE) --no-print-directory --jobs eslint imports prettier types docs-check

# What `make check` has checked before it checks again only if it has changed.
CACHE := node_modules/.cache/check
ifdef CACHED
eslint: FLAGS = --cache --cache-strategy content --cache-location $(CACHE)/eslint
prettier: FLAGS = --cache --cache-location $(CACHE)/prettier
types: FLAGS = --incremental --tsBuildInfoFile $(CACHE)/types
endif

eslint:
	npx eslint . --max-warnings 0 $(FLAGS)

imports:
	npx depcruise src trials

prettier:
	npx prettier --check . $(FLAGS)

types:
	npx tsc --noEmit $(FLAGS)
	npx tsc --noEmit -p src/dashboard/page $(if $(FLAGS),$(FLAGS)-page)

# The tests that need neither a server nor the build. SEEDS=3000 runs more seeds of the simulation.
pure: node_modules/.package-lock.json
	SEEDS=$(or $(SEEDS),300) npx jest --config jest.pure.config.js --silent

check: node_modules/.package-lock.json
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target CACHED=1 pure eslint imports prettier types docs-check

docs-check:
	npm run --silent docs:check

test: lint
	npx jest

# FIRST=7 starts with seed 7; SHORT=1 runs a few faults per seed; JSON=1 prints JSON.
chaos: setup
	@node dist/trials/chaos/main.js $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(if $(SHORT),--short) $(if $(JSON),--json)

# FIRST=7 starts with point 7; OUT=sweep.jsonl is the results file; STALLED=60 fails a point after 60 s without progress; RETRY=1 reruns failed points.
sweep: setup
	@node dist/trials/sweep/main.js $(if $(POINTS),--points $(POINTS)) $(if $(FIRST),--first $(FIRST)) $(if $(OUT),--out '$(OUT)') $(if $(STALLED),--stalled $(STALLED)) $(if $(RETRY),--retry)

# WORKERS=1,2,4 loads once with each number of workers; PARTITIONS=8; WINDOWS=100 spreads the events over 100 windows; JSON=1 prints JSON.
bench: setup
	@node dist/trials/bench/main.js load $(if $(EVENTS),--events $(EVENTS)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(JSON),--json)

# RATES=1000,20000 PARTITIONS=4 WORKERS=1 WINDOWS=50 SIZE=5s FLUSH=5s; JSON=1 prints JSON.
bench-live: setup
	@node dist/trials/bench/main.js live $(if $(RATES),--rates $(RATES)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(SIZE),--size $(SIZE)) $(if $(FLUSH),--flush $(FLUSH)) $(if $(JSON),--json)

# WINDOWS=10000 EVENTS=500000; JSON=1 prints JSON.
bench-open-windows: setup
	@node dist/trials/bench/main.js open-windows $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(EVENTS),--events $(EVENTS)) $(if $(JSON),--json)

# ROWS=20000000 in each table of counts; TIMES=40 runs each query 40 times; JSON=1 prints JSON.
bench-years: setup
	@node dist/trials/bench/main.js years $(if $(ROWS),--rows $(ROWS)) $(if $(TIMES),--times $(TIMES)) $(if $(JSON),--json)

format: setup
	npm run --silent format

clean:
	rm -rf dist node_modules coverage
