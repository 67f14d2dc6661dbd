#!/usr/bin/env bash
# Looks for known vulnerabilities: tools/vuln.sh GOVULNCHECK DATABASE
#
# The database is on the network unless a copy is given (VULNDB=file:///usr/share/vulndb make vuln). Where it cannot be
# reached the check did not happen; that is said as loudly as it can be without stopping a build in a closed network. With
# VULN_REQUIRED=1, which belongs in a release, it is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
check=$1 database=$2

reach() {
	python3 - "$database" <<'PY'
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1].rstrip("/") + "/index/db.json", timeout=15).read()
except Exception as err:
    print(err)
    sys.exit(1)
PY
}

if ! why=$(reach); then
	printf '\n%s\n' '**********************************************************************'
	echo "NOT CHECKED FOR VULNERABILITIES: $database does not answer"
	echo "($why)"
	echo 'Run make vuln where it does, or with VULNDB=file:///path/to/a/copy.'
	printf '%s\n\n' '**********************************************************************'
	[ "${VULN_REQUIRED:-}" != 1 ]
	exit
fi
"$check" -db "$database" ./...
