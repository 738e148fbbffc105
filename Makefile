# swarmctl: `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help build up down test unit integration check proto bpf bench need-go need-docker

export PATH := $(CURDIR)/bin/tools:$(PATH):/usr/sbin:/sbin:/usr/local/go/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TAGS := hashicorpmetrics
# Versions of the generators; go.mod has those of everything else.
BUF := github.com/bufbuild/buf/cmd/buf@v1.75.0
PROTOC_GEN_GO := google.golang.org/protobuf/cmd/protoc-gen-go
PROTOC_GEN_GO_GRPC := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 22

build: need-go ## build bin/swarmctl, one static binary
	CGO_ENABLED=0 go build -tags $(TAGS) -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/swarmctl .

up: need-docker build ## make a cluster of this machine and show a service of three replicas
	@CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/demo ./integration/demo
	@integration/demo/up

down: ## take away what `make up` made
	@integration/demo/down

test: unit integration ## everything: unit tests with the race detector, then scenarios on real engines

unit: need-docker ## unit tests with the race detector; needs root and a Docker Engine
	@integration/need race
	CGO_ENABLED=1 go test -race -tags $(TAGS) $$(go list ./... | grep -vE '/integration/(hosts|scenarios|parity)$$')

integration: need-go ## scenarios on real Docker Engines in namespaces, and a real Docker Swarm to compare with; needs root
	@integration/need engines
	go test -v -p 1 -tags $(TAGS) -timeout 70m ./integration/hosts ./integration/scenarios ./integration/parity

check: need-go ## formatting, vet, the import law, and whether generated code is current
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet -tags $(TAGS) ./...
	go test ./integration/law
	@old=$$(mktemp -d); trap 'rm -rf $$old' EXIT; cp api/wire/*.pb.go $$old; $(MAKE) proto; \
	for f in $$old/*; do cmp -s $$f api/wire/$$(basename $$f) || { echo "api/wire/$$(basename $$f) was not current: commit it as it is now"; exit 1; }; done

proto: need-go bin/tools/buf bin/tools/protoc-gen-go bin/tools/protoc-gen-go-grpc ## generate the code of the protocol between nodes
	buf generate

bpf: need-go ## compile the programs for the kernel
	@integration/need bpf
	cd network/fastpath && GOPACKAGE=fastpath go run github.com/cilium/ebpf/cmd/bpf2go@$$(go list -m -f '{{.Version}}' github.com/cilium/ebpf) -target bpfel,bpfeb \
		-cflags "-O2 -Wall -Werror -I/usr/include/$$(uname -m)-linux-gnu -DSOURCE=\\\"$$(sha256sum < fastpath.c | cut -c1-64)\\\"" kernel fastpath.c

bench: need-go ## measure swarmctl beside Docker Swarm and bare engines; BENCH="-n 1 -rows create" for less
	@integration/need bench
	go run -tags $(TAGS) ./integration/bench $(BENCH)

bin/tools/buf:
	GOBIN=$(CURDIR)/bin/tools go install $(BUF)
bin/tools/protoc-gen-go: go.mod
	GOBIN=$(CURDIR)/bin/tools go install $(PROTOC_GEN_GO)
bin/tools/protoc-gen-go-grpc:
	GOBIN=$(CURDIR)/bin/tools go install $(PROTOC_GEN_GO_GRPC)

need-go:
	@integration/need go
need-docker:
	@integration/need docker
