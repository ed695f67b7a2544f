#!/usr/bin/env bash
# Starts a node and Debian's Prometheus beside it, puts some load on the node, and evaluates every panel of the dashboard: none may be empty. Also checks and tests the
# alert rules. Both servers listen on loopback alone.
#	tools/grafana/test/run.sh [BINARY]
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
binary=$(realpath -m "${1:-$root/bin/penstock}")
cd "$(dirname "$0")/.."
[ -x "$binary" ] || { echo "build the binary first: make build" >&2; exit 2; }
for tool in python3 curl; do command -v $tool >/dev/null || { echo "skipped: no $tool"; exit 0; }; done
if ! command -v promtool >/dev/null || ! command -v prometheus >/dev/null; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo 'skipped: no prometheus, and only root on Debian or Ubuntu can install it'
		exit 0
	fi
	log=$(mktemp)
	# Installed for its programs: the service must not start.
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends prometheus; } > "$log" 2>&1; then
		tail -n 2 "$log"
		echo 'skipped: prometheus cannot be installed'
		exit 0
	fi
fi
promtool check rules alerts.yml
promtool test rules alerts_test.yml

work=$(mktemp -d)
pids=()
cleanup() {
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
mkdir -p "$work"/d{1,2,3}
PENSTOCK_ROOT_ACCESS_KEY=dashboard-test PENSTOCK_ROOT_SECRET_KEY=dashboard-test-secret PENSTOCK_METRICS_TOKEN=dashboard-test-token \
	"$binary" server --address "127.0.0.1:$port" --memory 128MiB --journal-segment 16MiB --bulk-segment 16MiB "$work/d{1...3}" > "$work/node.log" 2>&1 &
pids+=($!)
node=http://127.0.0.1:$port
for _ in $(seq 300); do "$binary" health "$node" >/dev/null 2>&1 && break; sleep 0.2; done
"$binary" health "$node" || { cat "$work/node.log"; exit 1; }
curl -sf -H 'Authorization: Bearer dashboard-test-token' "$node/penstock/metrics" > "$work/metrics"
promtool check metrics < "$work/metrics" > "$work/lint" 2>&1 || { cat "$work/lint"; exit 1; }

prometheus_port=$(free_port)
cat > "$work/prometheus.yml" <<CONFIG
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [$PWD/alerts.yml]
scrape_configs:
  - job_name: penstock
    metrics_path: /penstock/metrics
    authorization: { credentials: dashboard-test-token }
    static_configs: [{ targets: ["127.0.0.1:$port"] }]
CONFIG
promtool check config "$work/prometheus.yml" >/dev/null
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$prometheus_port" > "$work/prometheus.log" 2>&1 &
pids+=($!)
python3 test/panels.py penstock.json "http://127.0.0.1:$prometheus_port" "$node" || { tail -n 5 "$work/prometheus.log" "$work/node.log"; exit 1; }
