#!/usr/bin/env bash
# Runs every fuzz target there is, one after the other: tools/fuzz.sh TIME_EACH
set -euo pipefail
cd "$(dirname "$0")/.."

# fuzz runs one target. Go's fuzzing engine now and then reports its own end of time as a failure, "context deadline
# exceeded" and nothing else; a target that fails always says more: the input it wrote, a panic, an error of the test.
fuzz() {
	local log code=0
	log=$(mktemp)
	# Inputs that reach something new are minimized for 10 tries, not for the engine's 60 s each: a parser reaches something new all the
	# time, and made 7 executions a second where it now makes hundreds.
	go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" -fuzzminimizetime 10x "$1" 2>&1 | tee "$log" || code=$?
	if [ "$code" != 0 ] && grep -qx '    context deadline exceeded' "$log" && [ "$(grep -c '^    ' "$log")" = 1 ] &&
		! grep -qE 'Failing input|panic|hung or terminated' "$log"; then
		echo "$2: the time was up while an input was being tried; no failure was found"
		code=0
	fi
	rm -f "$log"
	return "$code"
}

# Go's own list is used, so that a target in a file which is not built here is not counted as run.
count=0
for package in $(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		printf -- '--- %s %s for %s\n' "$package" "$target" "$1"
		fuzz "$package" "$target" "$1"
		count=$((count + 1))
	done
done
if [ "$count" = 0 ]; then
	echo 'no fuzz target was found' >&2
	exit 1
fi
echo "$count fuzz targets, $1 each"
