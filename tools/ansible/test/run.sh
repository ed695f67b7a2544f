#!/usr/bin/env bash
# Runs the role for real against this machine: three loop devices as drives, no systemd. It changes /etc/penstock, /usr/lib/penstock, /usr/bin/penstock, the
# user penstock and /srv/penstock-test, and removes them again; it refuses to begin if any of them is there. Needs root, Ansible, loop devices and XFS.
#	tools/ansible/test/run.sh [BINARY]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
binary=$(realpath "${1:-$here/../../bin/penstock}")
skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip 'this test mounts file systems and needs root'
for tool in ansible-playbook losetup mkfs.xfs blkid start-stop-daemon; do command -v $tool >/dev/null || skip "$tool is not installed"; done
[ -x "$binary" ] || { echo "build the binary first: make build" >&2; exit 2; }
for path in /etc/penstock /usr/lib/penstock /usr/bin/penstock /srv/penstock-test; do
	[ ! -e "$path" ] || { echo "$path exists: this test would change it" >&2; exit 2; }
done
! getent passwd penstock >/dev/null || { echo 'there is a user penstock: this test would remove it' >&2; exit 2; }

work=$(mktemp -d)
loops=()
cleanup() {
	[ ! -x /usr/lib/penstock/penstock-ctl ] || /usr/lib/penstock/penstock-ctl stop || true
	for n in 1 2 3; do umount "/srv/penstock-test/d$n" 2>/dev/null || true; done
	for loop in "${loops[@]}"; do losetup -d "$loop" || true; done
	cp "$work/fstab" /etc/fstab 2>/dev/null || true
	rm -rf /etc/penstock /usr/lib/penstock /usr/bin/penstock /srv/penstock-test /run/penstock.pid /var/log/penstock.log "$work"
	userdel penstock 2>/dev/null || true
	groupdel penstock 2>/dev/null || true
}
trap cleanup EXIT
cp /etc/fstab "$work/fstab"
for n in 1 2 3 4; do
	truncate -s 1G "$work/disk$n"
	loops+=("$(losetup --find --show "$work/disk$n")") || skip 'no loop devices here'
done
mkfs.xfs -q "${loops[3]}"
mount "${loops[3]}" /mnt || skip 'the kernel mounts no XFS'
umount /mnt

cat > "$work/inventory.yml" <<INVENTORY
all:
  children:
    penstock:
      hosts:
        localhost:
          ansible_connection: local
          ansible_python_interpreter: /usr/bin/python3
      vars:
        penstock_devices: [${loops[0]}, ${loops[1]}, ${loops[2]}]
        penstock_root: /srv/penstock-test
        penstock_binary: $binary
        penstock_service_manager: none
        penstock_address: "127.0.0.1:19000"
        penstock_settings: { memory: 256MiB, journal-segment: 16MiB, bulk-segment: 16MiB }
        penstock_root_access_key: ansible-test
        penstock_root_secret_key: ansible-test-secret
        penstock_sysctl: {}
        penstock_allow: [clock]
INVENTORY
play() { # play NAME PLAYBOOK [ARGS…]
	local name=$1 book=$2
	shift 2
	(cd "$here" && ANSIBLE_NOCOLOR=1 ansible-playbook -i "$work/inventory.yml" "$book" "$@") > "$work/$name.log" 2>&1
}
good() { # As play, and it must end well.
	play "$@" || { cat "$work/$1.log"; echo "FAIL: $1"; exit 1; }
	echo "ok: $1: $(grep -h 'ok=' "$work/$1.log" | sed 's/  */ /g')"
}
refused() { # refused NAME TEXT PLAYBOOK [ARGS…]: it must end badly, and say so.
	local name=$1 text=$2
	shift 2
	! play "$name" "$@" || { cat "$work/$name.log"; echo "FAIL: $name was not refused"; exit 1; }
	tr -s '[:space:]' ' ' < "$work/$name.log" | grep -qF "$text" || { cat "$work/$name.log"; echo "FAIL: $name does not say: $text"; exit 1; }
	echo "ok: $name: refused, and says why"
}
s3() { # s3 METHOD PATH [CURL ARGS…]
	local method=$1 path=$2
	shift 2
	curl -sS --fail -X "$method" --aws-sigv4 aws:amz:us-east-1:s3 -u ansible-test:ansible-test-secret -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:19000$path" "$@"
}

refused 'a disk of the root file system' 'is on the root file system' site.yml -e '{"penstock_devices": [], "penstock_directories": ["/srv/penstock-test/x"]}'
refused 'a device with data' 'holds data that is not Penstock' site.yml -e "{\"penstock_devices\": [\"${loops[3]}\"]}"
refused 'a device that is not there' '/dev/nothing is not there' site.yml -e '{"penstock_devices": ["/dev/nothing"]}'
refused 'two programs' 'exactly one of penstock_package and penstock_binary' site.yml -e penstock_package=x.deb
good check site.yml --check
[ ! -e /usr/bin/penstock ] || { echo 'FAIL: --check changed something'; exit 1; }
good first site.yml
s3 PUT /bucket
head -c 300000 /dev/urandom > "$work/body"
s3 PUT /bucket/key -T "$work/body"
good second site.yml
grep -q 'changed=0 ' "$work/second.log" || { grep -B1 'changed:' "$work/second.log"; echo 'FAIL: the second run changed something'; exit 1; }
good 'second check' site.yml --check
grep -q 'changed=0 ' "$work/second check.log" || { echo 'FAIL: --check would change something'; exit 1; }
before=$(sha256sum < /usr/bin/penstock)

cp "$binary" "$work/new"
printf 'a later build\n' >> "$work/new" # Bytes behind an ELF file's end do no harm.
good upgrade upgrade.yml -e "penstock_binary=$work/new"
[ "$(sha256sum < /usr/bin/penstock)" = "$(sha256sum < "$work/new")" ] || { echo 'FAIL: not upgraded'; exit 1; }
s3 GET /bucket/key | cmp - "$work/body"
good rollback rollback.yml
[ "$(sha256sum < /usr/bin/penstock)" = "$before" ] || { echo 'FAIL: not rolled back'; exit 1; }
printf '#!/bin/sh\nexit 1\n' > "$work/broken"
refused 'a broken upgrade' 'the one of before serves again' upgrade.yml -e "penstock_binary=$work/broken" -e penstock_ready_timeout=10
[ "$(sha256sum < /usr/bin/penstock)" = "$before" ] || { echo 'FAIL: the broken program stayed'; exit 1; }
s3 GET /bucket/key | cmp - "$work/body"
echo 'passed'
