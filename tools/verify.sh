#!/usr/bin/env bash
# Checks that what can be derived is current: tools/verify.sh GOFUMPT
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
fail() {
	echo "verify: $1" >&2
	failed=1
}

for module in . tools; do
	go -C "$module" mod tidy -diff || fail "$module/go.mod is not tidy: run go -C $module mod tidy"
done

unformatted=$("$1" -l $(git ls-files -co --exclude-standard '*.go'))
[ -z "$unformatted" ] || fail "not formatted, run gofumpt -w on: $unformatted"

# What generating changes is found by content, so that this works in a checkout with edits in it.
sums() { git ls-files -co --exclude-standard -z | sort -z | xargs -0 cksum 2>/dev/null || true; }
before=$(sums)
make --no-print-directory generate
changed=$(diff <(echo "$before") <(sums) | awk '/^[<>]/ { print $4 }' | sort -u)
[ -z "$changed" ] || fail "generated files were not current (they are now): $changed"

[ "$failed" = 0 ] && echo 'verify: modules, formatting and generated files are current'
