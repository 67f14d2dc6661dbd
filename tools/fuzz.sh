#!/usr/bin/env bash
# Runs every fuzz target there is, one after the other: tools/fuzz.sh TIME_EACH
set -euo pipefail
cd "$(dirname "$0")/.."

# Go's own list is used, so that a target in a file which is not built here is not counted as run.
count=0
for package in $(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		printf -- '--- %s %s for %s\n' "$package" "$target" "$1"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$package"
		count=$((count + 1))
	done
done
if [ "$count" = 0 ]; then
	echo 'no fuzz target was found' >&2
	exit 1
fi
echo "$count fuzz targets, $1 each"
