#!/usr/bin/env bash
# Installs Ansible and its linter from the distribution's packages where that can be done, lints, then runs the roles. What cannot be had is skipped, with its reason.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
binary=$(realpath -m "${1:-$root/bin/penstock}")
cd "$(dirname "$0")/.."
missing=()
command -v ansible-playbook >/dev/null || missing+=(ansible)
command -v ansible-lint >/dev/null || missing+=(ansible-lint)
command -v yamllint >/dev/null || missing+=(yamllint)
command -v mkfs.xfs >/dev/null || missing+=(xfsprogs)
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "skipped: ${missing[*]} missing, and only root on Debian or Ubuntu can install them"
		exit 0
	fi
	log=$(mktemp)
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
		tail -n 2 "$log"
		echo "skipped: ${missing[*]} cannot be installed"
		exit 0
	fi
fi
yamllint .
ansible-lint --offline
test/run.sh "$binary"
