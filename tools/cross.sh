#!/usr/bin/env bash
# Builds the binary for every platform that releases are made for, and vets all code, tests too: tools/cross.sh [PLATFORM…]
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- linux/amd64 linux/arm64
for platform; do
	echo "--- $platform"
	export CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/}
	go build -trimpath -o /dev/null ./cmd/weir
	go vet ./...
done
