# What a change goes through before it is sent; `make ci` is all of it.

LINT_VERSION := $(shell cat .ci/golangci-lint.version)
LINT_DIR     := $(CURDIR)/bin/$(LINT_VERSION)
LINT         := $(LINT_DIR)/golangci-lint

.PHONY: build test test-sqlite test-postgres test-mariadb race lint fuzz bench run ci

build:
	go build ./...
	CGO_ENABLED=0 go build ./...

test:
	go test ./...

# Everything that has to do with a database, on one of them. The latter two
# install and start a server of their own (Debian, as root).
test-sqlite:
	go test -count=1 ./storage/... ./handlers/... ./examples/...

test-postgres:
	.ci/databases postgres -count=1

test-mariadb:
	.ci/databases mariadb -count=1

race:
	go test -race ./...

lint: $(LINT)
	$(LINT) run

$(LINT): .ci/golangci-lint.version
	GOBIN=$(LINT_DIR) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

fuzz:
	.ci/fuzz 10000

bench:
	go test -run '^$$' -bench . -benchmem ./...

run:
	go run ./examples/standalone

ci:
	.ci/run
