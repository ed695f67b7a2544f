#!/usr/bin/env bash
# Runs the benchmarks. With a git reference it runs those of the reference and of the working tree ten times each, in
# turns so that a slow minute of the machine hits both, and compares them.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-}
packages=${PACKAGES:-./...}
run=(go test -run '^$' -bench "${BENCH:-.}" -benchmem -timeout 0)

if [[ -z $base ]]; then
	"${run[@]}" $packages
	exit
fi

work=$(mktemp -d)
trap 'git worktree remove --force "$work/base"; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$base"
for round in {1..10}; do
	echo "round $round of 10" >&2
	(cd "$work/base" && "${run[@]}" $packages) >>"$work/base.txt"
	"${run[@]}" $packages >>"$work/new.txt"
done
if command -v benchstat >/dev/null; then
	benchstat "base=$work/base.txt" "new=$work/new.txt"
else
	go run golang.org/x/perf/cmd/benchstat@latest "base=$work/base.txt" "new=$work/new.txt"
fi
