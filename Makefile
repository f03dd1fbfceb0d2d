# The words of this project. `make help` lists them; CI calls the same ones.
# Everything they fetch or build lands in folders that git ignores: target/, .cache/, data/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
ASSAY := target/release/assay

.PHONY: help run stack test test-full check bench load train train-setup model docs onnxruntime onnxruntime-gpu docker-check build prerequisites clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r word what; do \
	  printf '  make %-15s %s\n' "$$word" "$$what"; done

run: prerequisites onnxruntime build ## Set up everything, serve on 127.0.0.1:8080 and send simulated payments; Ctrl-C ends both
	@scripts/run.sh

stack: prerequisites onnxruntime build ## The stack on this machine: Kafka, PostgreSQL, FerretDB, assay and simulated payments; Ctrl-C ends all
	@scripts/stack.sh

test: prerequisites onnxruntime ## Everything the tests need, then the tests, then the commands of the README
	@scripts/test.sh

test-full: prerequisites onnxruntime ## The long suite: the tests with longer runs, docs/WALKTHROUGH.md, then 60 s of fuzzing a reader
	@ASSAY_LONG=1 scripts/test.sh
	@scripts/fuzz.sh

check: prerequisites ## Format, lints, rustdoc, scripts, Dockerfile, and what tracked files must not say
	@scripts/check.sh

bench: prerequisites onnxruntime ## Microbenchmarks (criterion): observe, encode, explain and the steps around them
	$(CARGO) bench --locked --workspace --profile release

load: prerequisites onnxruntime build ## Load test: a fresh server on a data folder of its own, against an empty handler
	@scripts/load.sh

train: prerequisites onnxruntime build train-setup ## Train a model, report on it and package it; ARGS="--help" says from what and how
	@models/train/run.sh $(ARGS)

train-setup: ## The Python environment of training in .cache/train, pinned
	@models/train/setup.sh

model: prerequisites onnxruntime build train-setup ## Make models/fraud/1 again from simulated payments, the same bytes on the same machine
	@scripts/model.sh

docs: build ## Write the tables of docs/FEATURES.md from the catalogue of features
	@$(ASSAY) catalogue --write docs/FEATURES.md

onnxruntime: prerequisites ## Fetch ONNX Runtime's shared library into .cache/ (pinned version and hash)
	@scripts/onnxruntime.sh

onnxruntime-gpu: prerequisites ## The same with CUDA 13, for model.device = "cuda:0"
	@scripts/onnxruntime.sh gpu

docker-check: prerequisites ## Run the Dockerfile's steps in an empty Debian root and start what comes out (root, Debian or Ubuntu)
	@scripts/docker-check.sh

build: prerequisites ## The release binary
	$(CARGO) build --release --locked --workspace

prerequisites: ## Say in one line what is missing on this machine
	@scripts/prerequisites.sh

clean: ## Remove everything that was built or fetched; data/ (the log of decisions) stays
	rm -rf target .cache fuzz/target
