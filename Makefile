# What a person does with this repository. Each target installs what it needs.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup dev test soak bench matrix lint release

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@latest
PROGRESS := bin/testprogress
FUZZED := hostile:FuzzFrames hostile:FuzzScan hostile:FuzzSession internal/wire:FuzzAnswers internal/sqltext:FuzzScanner
FUZZTIME := 10m
# The time limit of one package: a machine that is busy is no reason to fail.
TIMEOUT := 30m
# The packages that run longest start first, so that none runs alone at the end.
PACKAGES := ./service/httpapi . ./service/console ./cmd/poolproof ./corpus ./service/rbac ./hostile/fidelity ./service/migrations ./service/legacy ./service/internal/oracle ./...

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the other targets need (PostgreSQL, poolers, a browser)
	@scripts/setup test

dev: ## Run poolproof with a private database, a pooler and demo data
	@scripts/setup dev
	@go build -o bin/poolproof ./cmd/poolproof
	@exec bin/poolproof dev $(ARGS)

# Less work: links leave out what debuggers read (-w), and garbage is collected
# less often (GOGC), by what the tests build and start too.
test: ## Vet and test everything, with the race detector
	@scripts/setup test
	@go vet ./...
	@go build -o $(PROGRESS) ./scripts/testprogress
	@GOGC=400 GOFLAGS="$${GOFLAGS:-} -ldflags=-w" go test -vet=off -race -p 4 -timeout $(TIMEOUT) -json $(PACKAGES) | $(PROGRESS)

soak: ## The tests with many more rounds (up to two hours), then fuzzing (FUZZTIME=10m each)
	@scripts/setup test
	@go build -o $(PROGRESS) ./scripts/testprogress
	@POOLPROOF_SOAK=1 go test -race -timeout 120m -count 1 -json $(PACKAGES) | $(PROGRESS)
	@for target in $(FUZZED); do go test -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZTIME) "./$${target%:*}"; done

bench: ## Measure scopes against the alternatives, side by side
	@scripts/setup test
	@cd bench && go run .

matrix: ## Measure drivers through poolers into docs/matrix/ and docs/matrix.html (ARGS="-for 10m"; ARGS=-help)
	@scripts/setup test
	@go run ./scripts/matrix $(ARGS)

lint: ## Run golangci-lint
	@go run $(GOLANGCI_LINT) run ./...

release: ## Build the programs of a release into dist/ (VERSION=v1.2.3, default: the git tag)
	@go run ./scripts/release -version "$(VERSION)"
