#!/usr/bin/env bash
# Measures the tree, and with a git reference that one as well, and writes bench/RESULTS.md: the machine, what it could do at best, the goals
# and what was reached, and what changed since the reference. Both sides run in turns, so that a slow minute of the machine hits both.
#
#   ROUNDS=5      repetitions
#   PACKAGES=…    packages whose benchmarks are run; BENCH=… which of them, BENCHTIME=0.2s for how long
#   LOADS=…       regular expression of the end-to-end loads
#
# What stands in bench/RESULTS.md from "## What binds" on is written by hand, and stays.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-}
rounds=${ROUNDS:-5}
packages=${PACKAGES:-./erasure ./fastapi/... ./meta ./ioring ./engine/journal}
benchmarks=(go test -run '^$' -bench "${BENCH:-.}" -benchtime "${BENCHTIME:-0.2s}" -benchmem -timeout 0)
benchstat=(go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da)
results=bench/RESULTS.md

work=$(mktemp -d)
clean() {
	[[ -z $base ]] || git worktree remove --force "$work/base" || true
	rm -rf "$work"
}
trap clean EXIT

goals=(-reps "$rounds" -run "${LOADS:-.}" -out "$work")
if [[ -n $base ]]; then
	git worktree add --quiet --detach "$work/base" "$base"
	(cd "$work/base" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/penstock-base" ./tools/penstock)
	goals+=(-base "$work/penstock-base")
fi
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/penstock" ./tools/penstock
mkdir "$work"/d{1..6}
"$work/penstock" bench host --file "$work/host.json" "$work/d{1...6}" >"$work/host"
go run ./tools/goals "${goals[@]}" >"$work/goals.md"

for ((round = 1; round <= rounds; round++)); do
	echo "package benchmarks, round $round of $rounds" >&2
	if [[ -n $base ]]; then
		(cd "$work/base" && "${benchmarks[@]}" $packages) >>"$work/packages-base.txt"
	fi
	"${benchmarks[@]}" $packages >>"$work/packages-new.txt"
done

kept=$(sed -n '/^## What binds/,$p' "$results" 2>/dev/null || true)
{
	echo "# Results"
	echo
	echo "Written by \`make bench${base:+ BASE=$base}\` on $(date -u +%F), commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- '*.go' || echo ', with changes'); $rounds repetitions."
	echo "CPU is that of the server process. 4+2 on six directories of $(df --output=fstype "$work" | tail -n 1), one core for the server, another for the load generator, which is part of"
	echo "the binary: \`penstock bench\`; the loads stand in [loads.go](../tools/goals/loads.go). 16 clients below 10 MiB, 8 above, unless the name says otherwise."
	echo
	echo "## The machine"
	echo
	echo '```'
	cat "$work/host"
	echo "load average while measuring: $(cut -d' ' -f1-3 /proc/loadavg)"
	echo '```'
	echo
	echo "## Goals"
	echo
	cat "$work/goals.md"
	if [[ -n $base ]]; then
		echo
		echo "## Against $(git rev-parse --short "$base"), end to end"
		echo
		echo '```'
		"${benchstat[@]}" "base=$work/base.txt" "new=$work/new.txt"
		echo '```'
		echo
		echo "## Against $(git rev-parse --short "$base"), packages"
		echo
		echo '```'
		"${benchstat[@]}" "base=$work/packages-base.txt" "new=$work/packages-new.txt"
		echo '```'
	else
		echo
		echo "## Packages"
		echo
		echo '```'
		"${benchstat[@]}" "new=$work/packages-new.txt"
		echo '```'
	fi
	if [[ -n $kept ]]; then
		echo
		echo "$kept"
	fi
} >"$work/results.md"
mv "$work/results.md" "$results"
echo "wrote $results" >&2
