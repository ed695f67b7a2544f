#!/usr/bin/env bash
# release.sh VERSION COMMIT makes dist/: for amd64 and arm64 a static binary in a tar file and a Debian package; a bill of materials; and SHA256SUMS.
# The same commit gives the same bytes.
set -euo pipefail
version=$1 commit=$2
cd "$(dirname "$0")/../.."
export SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) GOFLAGS=-buildvcs=false GOEXPERIMENT= CGO_ENABLED=0 TZ=UTC LC_ALL=C
sbom=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
# A tree of its own: what is not committed does not ship.
rm -rf dist && mkdir -p dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
native=$(go env GOHOSTARCH)
for arch in "$native" $(printf '%s\n' amd64 arm64 | grep -vx "$native"); do
	name=penstock-$version-linux-$arch
	mkdir -p "$work/$name"
	GOARCH=$arch go build -trimpath -ldflags "-s -w -X main.version=$version -X main.commit=$commit" -o "$work/$name/penstock" ./tools/penstock
	size=$(stat -c %s "$work/$name/penstock")
	[ "$size" -lt $((40 << 20)) ] || { echo "the $arch binary has $size bytes; 40 MiB are the limit" >&2; exit 1; }
	cp LICENSE README.md tools/systemd/penstock.service tools/release/penstock.yaml "$work/$name/"
	tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w -C "$work" -c "$name" | gzip -9n > "dist/$name.tar.gz"
	if command -v dpkg-deb >/dev/null; then
		NATIVE="$work/penstock-$version-linux-$native/penstock" tools/release/deb.sh "$work/$name/penstock" "$arch" "$version" "dist/penstock_${version}_$arch.deb"
	else
		echo 'no dpkg-deb here: no Debian package' >&2
	fi
done
# Of the binary, which names the modules that are in it, not of those that tests need.
go run "$sbom" bin -json -licenses -noserial -std -version "$version" -output "dist/penstock-$version.cdx.json" "$work/penstock-$version-linux-$native/penstock" 2>"$work/sbom.log" || {
	tail -3 "$work/sbom.log" >&2
	exit 1
}
# The time of its making is all that differs between two runs.
sed -i '/"timestamp":/s/"[0-9T:+Z-]*"\(,\?\)$/"'"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"'"\1/' "dist/penstock-$version.cdx.json"
(cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS)
