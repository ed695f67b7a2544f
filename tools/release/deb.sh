#!/usr/bin/env bash
# deb.sh BINARY ARCH VERSION OUT makes a Debian package of a binary, the same bytes each time for the same input and SOURCE_DATE_EPOCH.
set -euo pipefail
binary=$1 arch=$2 version=$3 out=$4
command -v dpkg-deb >/dev/null || { echo 'deb.sh: no dpkg-deb here: Debian packages are made on Debian or Ubuntu' >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
umask 022

install -Dm755 "$binary" "$tree/usr/bin/penstock"
install -Dm644 "$root/tools/systemd/penstock.service" "$tree/lib/systemd/system/penstock.service"
install -Dm644 "$root/tools/release/penstock.yaml" "$tree/etc/penstock/penstock.yaml"
install -Dm644 "$root/LICENSE" "$tree/usr/share/doc/penstock/copyright"
install -Dm644 "$root/README.md" "$tree/usr/share/doc/penstock/README.md"
install -d "$tree/usr/share/bash-completion/completions" "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/fish/vendor_completions.d"
# The completions are the same for every architecture: they come from a binary that runs here.
native=${NATIVE:-$binary}
"$native" completion bash > "$tree/usr/share/bash-completion/completions/penstock"
"$native" completion zsh > "$tree/usr/share/zsh/vendor-completions/_penstock"
"$native" completion fish > "$tree/usr/share/fish/vendor_completions.d/penstock.fish"

install -d "$tree/DEBIAN"
# A tag such as v1.2.3 is a version; anything else sorts before all of them, by the time of its commit.
case ${version#v} in
[0-9]*.[0-9]*) version=${version#v} ;;
*) version="0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$version" ;;
esac
version=${version//-/+}
cat > "$tree/DEBIAN/control" <<CONTROL
Package: penstock
Version: $version
Architecture: $arch
Maintainer: The Penstock authors <penstock@localhost>
Section: net
Priority: optional
Depends: adduser
Recommends: xfsprogs
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Description: S3 data node for bare metal
 Penstock turns NVMe drives and a fast link into object storage for training,
 checkpoints and model serving: S3 in front, erasure-coded bytes behind.
CONTROL
echo /etc/penstock/penstock.yaml > "$tree/DEBIAN/conffiles"
cat > "$tree/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	if ! getent passwd penstock >/dev/null; then
		adduser --system --group --no-create-home --home /nonexistent --quiet penstock
	fi
	install -d -o penstock -g penstock -m 0750 /srv/penstock
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
		# An upgrade goes on with the new binary; a first installation waits until its drives are named.
		if [ -n "$2" ] && systemctl is-active --quiet penstock; then
			systemctl restart penstock
		fi
	fi
fi
SCRIPT
cat > "$tree/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now penstock || true
fi
SCRIPT
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$(dirname "$out")"
dpkg-deb --root-owner-group -Zxz --build "$tree" "$out" >/dev/null
