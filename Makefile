# make setup | demo [FOR=60] [LOG=access.log HOST=name] | test | chaos [SEEDS=3] | sweep [POINTS=200] | bench [EVENTS=5000000] | lint | clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
CLI := node bin/web-traffic.js

.PHONY: help setup demo test chaos sweep bench bench-live bench-open-windows bench-years lint eslint imports prettier types docs-check format clean

help:
	@echo 'make demo [FOR=60] [LOG=access.log HOST=www.example.com]   the whole pipeline, live or on a log of yours'
	@echo 'make test                                                  lint, types and all tests, on real servers'
	@echo 'make chaos [SEEDS=20]                                      faults of every kind on real servers, and an exact count after them'
	@echo 'make sweep [POINTS=200] [FIRST=1]                          pipelines of many shapes and sizes, each compared exactly; resumes'
	@echo 'make bench [EVENTS=1000000]                                how fast a topic is loaded, beside what kafkajs alone can do'
	@echo 'make bench-live [RATES=1000,20000]                         how soon a window is visible, and what it asks of Temporal'
	@echo 'make bench-open-windows [WINDOWS=10000]                            a long history whose windows are all open at once'
	@echo 'make bench-years [ROWS=20000000]                           how soon the dashboard has its answers from a year of windows'
	@echo 'make setup                                                 install and build'

setup: dist/.built

# npm writes this file last, so it is as new as the last install that went through.
node_modules/.package-lock.json: package.json package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

dist/.built: node_modules/.package-lock.json $(shell find src trials -type f) tsconfig.json tsconfig.build.json
	rm -rf dist
	npm run --silent build
	@touch $@

demo: setup
	@$(CLI) demo $(if $(FOR),--for $(FOR)) $(if $(LOG),--log '$(LOG)') $(if $(HOST),--host $(HOST)) $(if $(RATE),--rate $(RATE))

# Side by side: each of them keeps one core busy.
lint: setup
	@$(MAKE) --no-print-directory --jobs eslint imports prettier types docs-check

eslint:
	npm run --silent lint

imports:
	npm run --silent lint:imports

prettier:
	npm run --silent format:check

types:
	npm run --silent types

docs-check:
	npm run --silent docs:check

test: lint
	npx jest

# FIRST=7 begins with seed 7; SHORT=1 takes a few faults a seed; JSON=1 prints JSON.
chaos: setup
	@node dist/trials/chaos/main.js $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(if $(SHORT),--short) $(if $(JSON),--json)

# FIRST=7 begins with point 7; OUT=sweep.jsonl has the results; STALLED=60 seconds without progress fail a point; RETRY=1 runs failed points again.
sweep: setup
	@node dist/trials/sweep/main.js $(if $(POINTS),--points $(POINTS)) $(if $(FIRST),--first $(FIRST)) $(if $(OUT),--out '$(OUT)') $(if $(STALLED),--stalled $(STALLED)) $(if $(RETRY),--retry)

# WORKERS=1,2,4 loads once with each, of a topic of PARTITIONS=8, events over WINDOWS=100; JSON=1 prints JSON.
bench: setup
	@node dist/trials/bench/main.js load $(if $(EVENTS),--events $(EVENTS)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(JSON),--json)

# RATES=1000,20000 PARTITIONS=4 WORKERS=1 WINDOWS=50 SIZE=5s FLUSH=5s; JSON=1 prints JSON.
bench-live: setup
	@node dist/trials/bench/main.js live $(if $(RATES),--rates $(RATES)) $(if $(PARTITIONS),--partitions $(PARTITIONS)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(SIZE),--size $(SIZE)) $(if $(FLUSH),--flush $(FLUSH)) $(if $(JSON),--json)

# WINDOWS=10000 EVENTS=500000; JSON=1 prints JSON.
bench-open-windows: setup
	@node dist/trials/bench/main.js open-windows $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(EVENTS),--events $(EVENTS)) $(if $(JSON),--json)

# ROWS=20000000 in each table of counts; each question is asked TIMES=40; JSON=1 prints JSON.
bench-years: setup
	@node dist/trials/bench/main.js years $(if $(ROWS),--rows $(ROWS)) $(if $(TIMES),--times $(TIMES)) $(if $(JSON),--json)

format: setup
	npm run --silent format

clean:
	rm -rf dist node_modules coverage
