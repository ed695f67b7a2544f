#!/usr/bin/env bash
# Writes README.md beside it: every command once, with what it printed against a node that this script starts on loopback and stops again.
#	make build && tools/penstock/readme.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:-$here/../../bin/penstock}")
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir -p drive{1..8} bin
ln -s "$binary" bin/penstock
export PATH=$work/bin:$PATH HOME=$work PENSTOCK_ROOT_ACCESS_KEY=root-example PENSTOCK_ROOT_SECRET_KEY=root-example-secret PENSTOCK_SERVER=http://127.0.0.1:9731
serve() {
	penstock server --address 127.0.0.1:9731 --memory 256MiB --journal-segment 16MiB --bulk-segment 16MiB --log-format text drive{1..6} "$@" > server.log 2>&1 &
	pid=$!
	for _ in $(seq 300); do penstock health http://127.0.0.1:9731 > /dev/null 2>&1 && return; sleep 0.1; done
	cat server.log >&2
	exit 1
}
stop() { kill "$pid"; wait "$pid" || true; pid=; }
s3() { curl -sS -o /dev/null --fail-with-body --aws-sigv4 aws:amz:us-east-1:s3 --user root-example:root-example-secret -H x-amz-content-sha256:UNSIGNED-PAYLOAD "$@"; }

out=$here/README.md
say() { printf '%s\n' "$@" >> "$out"; }
# What runs: show 'COMMAND' [LINES]. The machine's own path is not of interest; secrets made here are worth nothing.
show() {
	say '```' "\$ ${1//$work//srv/penstock}"
	{ bash -c "$1" 2>&1 || true; } | sed -e "s|$work|/srv/penstock|g" -e 's/[[:space:]]*$//' -e 's/^\(secret key  \).*/\1(40 characters)/' | awk -v most="${2:-40}" 'NR <= most { print } NR == most + 1 { print "…" }' >> "$out"
	say '```' ''
}

: > "$out"
say '# The commands of penstock' '' \
	'Every command once, with what it printed. Those below `admin`, `drive` and `explain` are clients of the administration API and nothing more:' \
	'`--server` names the node, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` who asks, `--json` prints what the node answered.' \
	'`penstock completion bash|zsh|fish` writes completions; `penstock help COMMAND` has the flags. This file is written by `readme.sh`.' ''
say '## The program' ''
show 'penstock version'
show 'penstock help' 60
serve
s3 -X PUT http://127.0.0.1:9731/training
head -c 3000000 /dev/urandom > sample
for n in 1 2 3; do s3 -T sample http://127.0.0.1:9731/training/shard-$n.tar; done
for n in $(seq 40); do s3 -X PUT -d "label $n" http://127.0.0.1:9731/training/labels/$n; done
say '## A node' ''
show 'penstock health http://127.0.0.1:9731'
show 'penstock doctor --live drive{1...6}' 18
show 'penstock admin info'
show 'penstock admin config get' 60
show 'penstock admin config set log-level debug && penstock admin log level && penstock admin log level info'
show 'penstock admin log' 3
show 'penstock admin top --once --interval 1s'
( sleep 1; for n in 1 2 3; do s3 http://127.0.0.1:9731/training/shard-$n.tar; done; s3 http://127.0.0.1:9731/training/missing || true ) 2>/dev/null &
show 'penstock admin trace --bucket training --count 4'
show 'penstock admin profile heap'
show 'penstock admin support bundle --output bundle.tar.gz && tar tzf bundle.tar.gz' 12
show 'penstock admin service drain && penstock health http://127.0.0.1:9731; penstock admin service undrain'
say '## Drives, and what keeps the store whole' ''
show 'penstock drive list'
show "penstock drive add $work/drive7"
show "penstock drive drain $work/drive2 --remove"
show "penstock drive replace $work/drive3 $work/drive8"
show 'penstock drive list'
show 'penstock admin heal status'
show 'penstock admin heal stop && penstock admin heal start'
show 'penstock admin scrub status'
show 'penstock admin scrub stop && penstock admin scrub start'
show 'penstock admin verify'
for command in 'penstock admin bucket etag training' 'penstock admin compact status' 'penstock admin compact --wait'; do
	if bash -c "$command --help" 2>&1 | grep -q "^  $command"; then show "$command"; fi
done
say '## Buckets' ''
show 'penstock admin bucket usage'
show 'penstock admin bucket quota set training 10GiB && penstock admin bucket quota get training && penstock admin bucket quota clear training'
if penstock explain lifecycle --help 2>&1 | grep -q "^  penstock explain lifecycle"; then show 'penstock explain lifecycle training/labels/1'; fi
say '## Who may do what' ''
cat > readers.json <<'JSON'
{"Version":"2012-10-17","Statement":[
  {"Sid":"Look","Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::training","arn:aws:s3:::training/*"]},
  {"Sid":"NoLabels","Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::training/labels/*"}]}
JSON
show 'cat readers.json && penstock admin policy set readers readers.json && penstock admin policy list'
show 'penstock admin policy show readers'
show 'penstock admin user add alice --policy readers && penstock admin user list'
show 'penstock admin key add alice'
show 'penstock admin key list alice'
show 'penstock admin group add trainers --policy readwrite && penstock admin user join alice trainers && penstock admin group list'
show 'penstock admin user show alice'
show 'penstock explain access --help' 14
show 'penstock explain access --as user/alice s3:GetObject training/labels/1'
show 'penstock admin user disable alice && penstock admin user enable alice && penstock admin user leave alice trainers'
show 'penstock admin user remove alice && penstock admin group remove trainers && penstock admin policy remove readers'
show 'penstock admin role list && penstock admin provider list'
show 'penstock admin service stop; sleep 1; tail -n 2 server.log'
wait "$pid" || true
pid=
say '## Drives at rest' ''
show 'penstock verify drive1 drive{4...8}'
show 'penstock rebuild-index drive1 drive{4...8} 2>&1 | tail -n 2'
say '## Measuring' ''
rm -rf drive? && mkdir drive{1..6}
serve
show 'penstock bench put --size 64KiB --concurrent 4 --objects 64 --duration 3s http://127.0.0.1:9731'
show 'penstock bench --help' 40
stop
