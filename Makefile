# make help lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

# The version is in the build information; it needs a git that accepts this
# tree. -buildvcs is said aloud because GOFLAGS may say otherwise.
VCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo auto || echo false)
# HTTP is only spoken to open a WebSocket, and that is HTTP/1.1: HTTP/2 would be
# 260 kB for nothing.
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -tags nethttpomithttp2
VERSION = $(shell scripts/version)
LDFLAGS = -s -w -X main.release=$(VERSION)

# What the everyday guest and the release guests run (scripts/test/vm).
VM_TESTS := ./bus/can ./bus/can/link ./bus/can/write ./gateway/clock
# The rooms of the product; scripts/ holds what needs a host, and runs programs
# whose sources the test cache does not see.
UNIT_TESTS = $$(go list ./... | grep -v '^fieldferry/scripts')
FUZZTIME := 10s
BENCH := .
POWERCUTS := 20

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build and run the demo: the whole product without hardware (ARGS="--for 30s" ends it)
	@bin/fieldferry demo $(ARGS)

.PHONY: build
build: ## build bin/fieldferry
	@$(GOBUILD) -ldflags='$(LDFLAGS)' -o bin/fieldferry ./cmd/fieldferry

.PHONY: test
test: ## everything: unit and end-to-end tests, SocketCAN in a guest, ARMv7 (installs what it needs as root)
	scripts/deps test
	go vet ./...
	go test $(UNIT_TESTS)
	go test -count=1 ./scripts/...
	$(MAKE) --no-print-directory test-vm-uml test-arm

.PHONY: test-vm-uml
test-vm-uml:
	scripts/test/vm/suite uml $(VM_TESTS)
	RUN=OfAGuest scripts/test/vm/suite uml ./gateway

# qemu-user stands for an ARMv7 machine but not for its kernel: it has no
# AF_CAN and no TCSETS2, so that a skip is no failure here, as it is natively.
.PHONY: test-arm
test-arm:
	@if command -v qemu-arm >/dev/null; then \
	  echo "go test for ARMv7 under qemu-arm"; \
	  CI= FIELDFERRY_QEMU_USER=1 GOOS=linux GOARCH=arm GOARM=7 CGO_ENABLED=0 go test -short -exec qemu-arm $(UNIT_TESTS); \
	elif [ "$${CI:-}" = true ]; then echo "qemu-arm is missing: scripts/deps test"; exit 1; \
	else echo "tests for ARMv7 skipped: qemu-arm is missing (scripts/deps test)"; fi

.PHONY: test-race
test-race: ## unit and end-to-end tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 30m ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, govulncheck, shellcheck
	@scripts/lint

# Inlining pays on the path of a record and in the arithmetic of a TLS handshake;
# elsewhere it would add 800 kB to the binary (docs/decisions/binary-size.md).
HOT := runtime/... $(addprefix internal/,bytealg byteorder runtime/... strconv sync) sync/atomic strconv unicode/utf8 encoding/binary math/bits hash/... \
  $(addprefix crypto/internal/,constanttime $(addprefix fips140/,aes/... bigmod edwards25519/field mlkem nistec/fiat sha256 sha3 subtle) fips140deps/byteorder) \
  $(addprefix github.com/klauspost/compress/,zstd internal/...) \
  fieldferry/bus/can fieldferry/bus/can/dbc \
  $(addprefix fieldferry/gateway/,payload/native source)
SMALL := -gcflags=all=-l $(foreach p,$(HOT),-gcflags=$(p)=)

# NAME:GOARCH:GOARM:PAGE of each binary, and where they go. PAGE is the largest
# page its kernels have, to which the parts of the file are aligned; Go would
# take 64 KiB for 32-bit ARM, which only has 4.
CROSS := armv6:arm:6:4096 armv7:arm:7:4096 arm64:arm64::65536 amd64:amd64::4096
DIST := dist

.PHONY: cross
cross: ## static binaries in dist/ for linux armv6, armv7, arm64, amd64
	@for target in $(CROSS); do \
	  IFS=: read -r name arch arm page <<< "$$target"; \
	  echo "$(DIST)/fieldferry-linux-$$name"; \
	  GOOS=linux GOARCH=$$arch GOARM=$$arm $(GOBUILD) -ldflags="$(LDFLAGS) -R=$$page" $(SMALL) -o $(DIST)/fieldferry-linux-$$name ./cmd/fieldferry; \
	done

# cross-armv7 and so on: one of them.
cross-%:
	@$(MAKE) --no-print-directory cross CROSS='$(filter $*:%,$(CROSS))'

# Those that look at complete packages; make test has the others.
DEB_TESTS := ^Test(Packages|Lintian)$$

.PHONY: deb
deb: cross ## Debian packages (armhf, arm64, amd64), archives of all binaries and SHA256SUMS in dist/
	@rm -f dist/*.deb dist/*.tar.gz dist/SHA256SUMS
	@scripts/deb/build armhf dist/fieldferry-linux-armv6 dist
	@scripts/deb/build arm64 dist/fieldferry-linux-arm64 dist
	@scripts/deb/build amd64 dist/fieldferry-linux-amd64 dist
	@for name in armv6 armv7 arm64 amd64; do scripts/deb/archive $$name dist/fieldferry-linux-$$name dist; done
	@cd dist && sha256sum *.deb *.tar.gz > SHA256SUMS
	@echo "testing what was packed, which takes minutes and prints nothing until it ends"
	FIELDFERRY_DEBS=$(CURDIR)/dist go test -count=1 -run '$(DEB_TESTS)' ./scripts/deb

# What make test runs at a smaller size. The bounds of time are meant for a machine
# that does nothing else.
.PHONY: commands-test
commands-test: ## the acceptance checks of commands at full size: 1,000 kills, 1,000 commands, a busy line (half an hour)
	scripts/deps test
	FIELDFERRY_COMMANDS=whole go test -count=1 -v -parallel 1 -timeout 60m -run 'Command|Fallback|Values|Retained|Broker|Examples' ./scripts/test/e2e

.PHONY: vm-test
vm-test: ## SocketCAN under user-mode-linux, an ARMv7 kernel and QEMU's CAN controllers, and POWERCUTS power cuts of the daemon
	scripts/deps vm
	VM_KINDS=uml,arm,arm64 go test -count=1 ./scripts/test/vm
	VM_KINDS=uml,arm go test -count=1 -run RealInterface ./scripts/test/e2e
	scripts/test/vm/suite uml $(VM_TESTS)
	RUN=OfAGuest scripts/test/vm/suite uml ./gateway
	scripts/test/vm/suite arm $(VM_TESTS)
	RUN=OfAGuest scripts/test/vm/suite arm ./gateway
	scripts/test/vm/suite arm64 $(VM_TESTS) ./scripts/test/controllers
	ARMCOST=check go test -count=1 -v -timeout 40m -run TestCost ./scripts/test/armcost
	POWERCUTS=$(POWERCUTS) go test -count=1 -v -timeout 60m ./scripts/test/powercut
	$(MAKE) --no-print-directory install-test

# A module of its own: the NATS server is no dependency of fieldferry. Half a
# minute for one run, and as much again to build the server the first time, is
# too long for make test.
.PHONY: cluster-test
cluster-test: ## nodes of a NATS cluster are killed under load (downloads nats-server)
	cd scripts/test/cluster && go vet ./... && go test -count=1 -v ./...

# The package and its unit where only a running systemd shows how they work. The
# Debian is made once, in two minutes.
.PHONY: install-test
install-test: ## the package's life under a booted systemd, from install to purge (takes root; makes a Debian)
	scripts/deps install
	INSTALL_TEST=1 go test -count=1 -v -timeout 60m ./scripts/test/systemd

# A module of its own: what drives the browser is no dependency of fieldferry. It
# takes more than a minute where cores are few, which is too long for make test.
.PHONY: browser-test
browser-test: ## the page in a real browser: widths, colour schemes, tasks, hostile names (needs chromium)
	scripts/deps browser
	cd scripts/test/browser && go vet ./... && go test -count=1 -timeout 30m ./...

.PHONY: screenshots
screenshots: ## the pictures of the README, as the page is now
	scripts/deps browser
	@rm -rf bin/shots && mkdir -p docs/img
	cd scripts/test/browser && FIELDFERRY_SHOTS=$(CURDIR)/bin/shots go test -count=1 -run 'TestPage/outage' .
	cp bin/shots/overview.png bin/shots/can.png docs/img/

.PHONY: bench
bench: ## run the benchmarks (BENCH=regexp picks some)
	@go test -trimpath -tags nethttpomithttp2 $(SMALL) -run '^$$' -bench '$(BENCH)' -benchmem $(UNIT_TESTS) ./scripts/test/pipeline | grep -v 'no test files'
	@if [ '$(BENCH)' != . ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v losetup mkfs.ext4 >/dev/null; then go run ./scripts/tool/bench; \
	else echo "bytes on the device left out: a loop device takes root and e2fsprogs (go run ./scripts/tool/bench)"; fi

.PHONY: bench-arm
bench-arm: ## instructions on the target, beside candump's: renews docs/benchmarks-arm.md (minutes)
	scripts/deps vm
	ARMCOST=write go test -count=1 -v -timeout 40m -run TestCost ./scripts/test/armcost

.PHONY: mutants
mutants: ## break each rule of commands once, and see that a test notices
	FIELDFERRY_MUTANTS=all go test -count=1 -v ./scripts/test/mutants

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built; downloads in .cache stay
	rm -rf bin dist
