#!/usr/bin/env bash
# emulators.sh: two AWS endpoints that others have written, moto's server and MiniStack, on the loopback address.
#   emulators.sh install                  put both into virtual environments, unless they are there
#   emulators.sh up DIR moto|ministack PORT   start one and wait until it answers; what it writes is in DIR
#   emulators.sh down DIR                 stop what was started in DIR
# The environments are in $WEIR_EMULATORS (~/.cache/weir-ci/emulators), each under a name made of its pins. With DOCKER_HOST, MiniStack runs
# each task as containers there; else its tasks are on paper, as moto's always are.
set -euo pipefail

usage() {
	sed -n '2,5s/^# //p' "$0" >&2
	exit 2
}

moto="moto==5.2.5 Flask==3.1.3 flask-cors==6.0.5 Werkzeug==3.1.9 boto3==1.44.5 botocore==1.44.5 s3transfer==0.19.3 docker==7.2.0
	jsonpath-ng==1.8.0 py-partiql-parser==0.6.3 PyYAML==6.0.3 responses==0.26.3 requests==2.34.2 urllib3==2.8.0 xmltodict==1.0.4 cryptography==50.0.2
	cffi==2.1.1 Jinja2==3.1.6 MarkupSafe==3.0.4 click==8.5.1 blinker==1.9.0 itsdangerous==2.2.0 jmespath==1.1.0 python-dateutil==2.9.0.post0 six==1.17.0
	idna==3.20 certifi==2026.10.18 charset-normalizer==3.5.2 pycparser==3.12"
ministack="ministack==1.5.33 botocore==1.43.106 Hypercorn==0.18.0 docker==7.2.0 cryptography==50.0.2 cffi==2.1.1 defusedxml==0.7.1
	graphql-core==3.2.12 jsonata-python==0.7.1 PyYAML==6.0.3 requests==2.34.2 urllib3==2.8.0 h11==0.16.0 h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0
	priority==2.0.0 wsproto==1.3.2 jmespath==1.1.0 python-dateutil==2.9.0.post0 six==1.17.0 idna==3.20 certifi==2026.10.18 charset-normalizer==3.5.2
	pycparser==3.12"

python=$(command -pv python3) # the system's: a version manager's first on the PATH may have no venv
cache=${WEIR_EMULATORS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir-ci/emulators}

# place NAME: the folder of its environment, by its pins and Python's version.
place() { echo "$cache/$1-$({ echo "${!1}" && "$python" -V; } | cksum | cut -d' ' -f1)"; }

made=
trap 'rm -rf "$made"' EXIT

# venv NAME: made aside and moved, so that one that is there is whole.
venv() {
	local to
	to=$(place "$1")
	[ ! -x "$to/bin/python" ] || return 0
	mkdir -p "$cache"
	made=$(mktemp -d "$cache/new.XXXXXX")
	"$python" -m venv "$made"
	# shellcheck disable=SC2086 # one argument each
	"$made/bin/pip" install -q --no-deps --disable-pip-version-check ${!1}
	"$made/bin/pip" check -q --disable-pip-version-check
	mv -T "$made" "$to" 2>/dev/null || rm -rf "$made" # somebody else was first
	made=
}

install_all() {
	"$python" -c 'import ensurepip, venv' 2>/dev/null || {
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
	}
	venv moto
	venv ministack
}

# alive: the process that up has started runs, and not another one with its number.
alive() {
	local pid start
	read -r pid start 2>/dev/null <"$dir/pid" || return 1
	[ "$(cut -d' ' -f22 "/proc/$pid/stat" 2>/dev/null)" = "$start" ]
}

up() {
	local run health pid
	case $1 in
	moto)
		health=/moto-api/
		run=(-c 'import logging, sys; logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import main; main(sys.argv[1:])' -H 127.0.0.1 -p "$2")
		;;
	ministack)
		health=/_ministack/health
		run=(-m ministack)
		export BIND_HOST=127.0.0.1 GATEWAY_PORT=$2 MINISTACK_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 PERSIST_STATE=0 LOG_LEVEL=WARNING
		export STATE_DIR=$dir/state
		;;
	*) usage ;;
	esac
	mkdir -p "$dir/tmp"
	TMPDIR=$dir/tmp setsid nohup "$(place "$1")/bin/python" "${run[@]}" >"$dir/log" 2>&1 </dev/null &
	pid=$!
	echo "$pid $(cut -d' ' -f22 "/proc/$pid/stat")" >"$dir/pid"
	for _ in $(seq 600); do
		alive || break
		! "$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)' "http://127.0.0.1:$2$health" 2>/dev/null || return 0
		sleep 0.1
	done
	tail -n 20 "$dir/log" >&2
	echo "emulators.sh: $1 did not come up" >&2
	return 1
}

down() {
	local pid
	read -r pid _ <"$dir/pid" || return 0
	! alive || kill "$pid"
	for _ in $(seq 100); do
		alive || break
		sleep 0.1
	done
	! alive || kill -KILL "$pid"
	rm -rf "$dir"
}

case ${1:-} in
install) install_all ;;
up | down)
	[ -n "${2:-}" ] || usage
	mkdir -p "$2"
	dir=$(cd "$2" && pwd)
	if [ "$1" = up ]; then
		[ -n "${4:-}" ] || usage
		up "$3" "$4"
	else
		down
	fi
	;;
*) usage ;;
esac
