#!/usr/bin/env bash
# engine.sh: a real Docker Engine in a folder, on a socket of its own, for tests and benchmarks. Debian and its kin, as root.
#   engine.sh install       install docker.io and iptables, where they are missing
#   engine.sh up DIR        start containerd and dockerd on unix://DIR/docker.sock and wait until the engine answers;
#                           DOCKERD_FLAGS has more flags, such as --live-restore
#   engine.sh images DIR    make weir-test/busybox and weir-test/python from Debian packages: there is no registry to ask
#   engine.sh kill DIR      kill dockerd with SIGKILL: containers stay, an "up" brings it back
#   engine.sh stop DIR      stop dockerd as a service manager does
#   engine.sh down DIR      remove all containers, stop both, remove the folder
set -euo pipefail

usage() {
	sed -n '2,9s/^# //p' "$0" >&2
	exit 2
}

cmd=${1:-}
case $cmd in
install) ;;
up | images | kill | stop | down)
	[ -n "${2:-}" ] || usage
	mkdir -p "$2"
	dir=$(cd "$2" && pwd)
	sock=$dir/docker.sock
	;;
*) usage ;;
esac

# alive NAME: the process that was started as NAME runs; a killed one may stay a zombie for a while.
alive() {
	local pid
	pid=$(cat "$dir/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
}

answers() { DOCKER_HOST=unix://$sock docker version >/dev/null 2>&1; }

# wait_for SECONDS COMMAND...
wait_for() {
	local end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

dead() { ! alive "$1"; }

install_engine() {
	command -v dockerd >/dev/null && command -v docker >/dev/null && command -v iptables >/dev/null && return
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables tini >/dev/null
}

up() {
	! answers || return 0
	# containerd is a service of its own, as on a real host, so that containers outlive a killed dockerd.
	if ! alive containerd; then
		cat >"$dir/containerd.toml" <<-END
			version = 2
			root = "$dir/containerd"
			state = "$dir/containerd-state"
			disabled_plugins = ["io.containerd.grpc.v1.cri"]
			[grpc]
			address = "$dir/containerd.sock"
		END
		setsid nohup containerd --config "$dir/containerd.toml" >"$dir/containerd.log" 2>&1 </dev/null &
		echo $! >"$dir/containerd.pid"
		wait_for 60 test -S "$dir/containerd.sock"
	fi
	alive dockerd || rm -f "$dir/dockerd.pid"
	# Engines side by side share the bridge docker0, and would take each other's rules away: no job of a test needs any. They start one
	# after the other, since each looks for the bridge and makes it.
	exec 9>/tmp/weir-engine.lock
	flock 9
	# shellcheck disable=SC2086 # the flags are several words
	setsid nohup dockerd --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" -H "unix://$sock" \
		--containerd "$dir/containerd.sock" --exec-opt native.cgroupdriver=cgroupfs --iptables=false --ip-masq=false \
		${DOCKERD_FLAGS:-} >>"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
	wait_for 90 answers || {
		tail -n 20 "$dir/dockerd.log" >&2
		echo "engine.sh: dockerd did not come up" >&2
		return 1
	}
	exec 9>&-
}

download() { (cd "$dir/debs" && apt-get download -qq "$@" 2> >(grep -v '^W:' >&2)); }

# root_of FOLDER PACKAGES...: unpacks Debian packages, and busybox's applets beside them.
root_of() {
	local root=$1 package applet
	shift
	rm -rf "$dir/debs" "$root"
	mkdir -p "$dir/debs" "$root"/{tmp,proc,sys,dev,etc,root,run,var/tmp}
	download busybox-static "$@" 2>/dev/null || { # a machine that has no lists of packages, or old ones
		apt-get update -qq
		download busybox-static "$@"
	}
	for package in "$dir"/debs/*.deb; do dpkg-deb -x "$package" "$root"; done
	rm -rf "$root"/usr/share/{doc,man,locale,lintian}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	for applet in $("$root/bin/busybox" --list); do [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"; done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
}

# import ROOT NAME
import() {
	tar -C "$1" --numeric-owner -cf - . | DOCKER_HOST=unix://$sock docker import \
		-c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD ["sh"]' - "$2" >/dev/null
	rm -rf "$1" "$dir/debs"
}

images() {
	local have
	have=$(DOCKER_HOST=unix://$sock docker images -q weir-test/python:1)
	[ -z "$have" ] || return 0
	root_of "$dir/root" # nothing but busybox
	import "$dir/root" weir-test/busybox:1
	local python
	python=$(apt-cache depends python3-minimal | sed -nE 's/.*Depends: (python3\.[0-9]+)-minimal.*/\1/p' | head -1)
	root_of "$dir/root" libc6 zlib1g libexpat1 "lib$python-minimal" "lib$python-stdlib" "$python-minimal" libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1 \
		libsqlite3-0 libgcc-s1 libcrypt1
	[ -e "$dir/root/lib64" ] || ln -s lib "$dir/root/lib64"
	ln -sf "$python" "$dir/root/usr/bin/python3"
	import "$dir/root" weir-test/python:1
}

kill_engine() {
	! alive dockerd || kill -KILL "$(cat "$dir/dockerd.pid")"
	wait_for 60 dead dockerd
}

stop_engine() {
	! alive dockerd || kill -TERM "$(cat "$dir/dockerd.pid")"
	wait_for 60 dead dockerd
}

down() {
	local pid mount left
	if answers; then
		left=$(DOCKER_HOST=unix://$sock docker ps -aq)
		# shellcheck disable=SC2086 # one argument each
		[ -z "$left" ] || DOCKER_HOST=unix://$sock docker rm -f $left >/dev/null
	fi
	stop_engine
	! alive containerd || kill -TERM "$(cat "$dir/containerd.pid")"
	wait_for 60 dead containerd
	for pid in $(pgrep -f "^.*containerd-shim.* -address $dir/" || true); do kill -KILL "$pid" 2>/dev/null || true; done
	awk -v d="$dir/" 'index($2, d) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount" || true; done
	rm -rf "$dir"
}

case $cmd in
install) install_engine ;;
up) install_engine && up ;;
images) images ;;
kill) kill_engine ;;
stop) stop_engine ;;
down) down ;;
esac
