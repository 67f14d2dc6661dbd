#!/usr/bin/env bash
# Builds the binary for every platform that releases are made for, and vets all code, tests too, on each system.
set -euo pipefail
cd "$(dirname "$0")/.."

for os in linux darwin windows; do
	for arch in amd64 arm64; do
		echo "--- build $os/$arch"
		CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -o /dev/null ./cmd/weir
	done
	echo "--- vet $os/amd64"
	CGO_ENABLED=0 GOOS=$os GOARCH=amd64 go vet ./...
done
