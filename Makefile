.DEFAULT_GOAL := help
.PHONY: help up down status logs build test lint format demo bench-projector bench-sender

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Start PostgreSQL and the Kafka broker, installing what is missing
	@deploy/local/stack up

down: ## Stop the local stack (ARGS=--purge also deletes its data)
	@deploy/local/stack down $(ARGS)

status: ## Show what runs
	@deploy/local/stack status

logs: ## Show the logs (ARGS="NAME -f" for one, followed)
	@deploy/local/stack logs $(ARGS)

build: ## Build everything with its tests, as the demo and the tests use it
	swift build --build-tests

test: ## Install, build and run every test (ARGS="--filter NAME" for some)
	@deploy/local/test $(ARGS)

lint: ## Check the formatting of Swift and the shell scripts
	swift format lint --strict --parallel --recursive Services Shared Tests Package.swift
	@if command -v shellcheck >/dev/null; then \
	    set -x; shellcheck -a deploy/local/stack deploy/local/test deploy/local/bench deploy/local/demo .ci/run; \
	else \
	    echo "shellcheck is not installed: the shell scripts are not checked"; \
	fi

format: ## Format Swift in place
	swift format --in-place --parallel --recursive Services Shared Tests Package.swift

demo: ## Start everything and send a blast to look at
	@deploy/local/demo $(ARGS)

bench-projector: ## The projector against its SQL alone and a peer (ARGS=--quick for a short run; --help)
	@deploy/local/bench projector $(ARGS)

bench-sender: ## The sender against Postfix's smtp-source and \copy (ARGS=--quick for a short run; --help)
	@deploy/local/bench sender $(ARGS)
