"""Evaluates every query of a Grafana dashboard: panels.py DASHBOARD PROMETHEUS NODE. Keeps some load on the node meanwhile, as curl sends it."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

dashboard, prometheus, node = sys.argv[1:]
VARIABLES = {"$job": "penstock", "$instance": ".*", "$__rate_interval": "15s"}
LIMIT = 180  # Seconds until every panel must have shown something.


def s3(method, path, body=b""):
    command = ["curl", "-s", "-o", "/dev/null", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", "dashboard-test:dashboard-test-secret",
               "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", node + path]
    if body:
        command += ["--data-binary", "@-"]
    subprocess.run(command, input=body, check=True)


def load(i):
    s3("PUT", f"/bucket/small{i}", b"x" * 4096)
    s3("PUT", f"/bucket/large{i}", b"x" * 300000)
    s3("GET", f"/bucket/small{i}")
    s3("GET", f"/bucket/large{i}")
    s3("GET", "/bucket/none")
    s3("GET", "/bucket?list-type=2")


def query(expr):
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    url = prometheus + "/api/v1/query?" + urllib.parse.urlencode({"query": expr})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [r for r in json.load(answer)["data"]["result"] if r["value"][1] != "NaN"]
    except urllib.error.HTTPError as err:
        sys.exit(f"{expr}: {json.load(err)['error']}")
    except (urllib.error.URLError, ConnectionError):
        return []  # Prometheus still starts.


s3("PUT", "/bucket")
with open(dashboard, encoding="utf-8") as f:
    panels = [p for p in json.load(f)["panels"] if p["type"] != "row"]
missing = {(p["title"], t["expr"]) for p in panels for t in p["targets"]}
total, begun, i = len(missing), time.monotonic(), 0
while missing and time.monotonic() - begun < LIMIT:
    load(i)
    i += 1
    missing = {m for m in missing if not query(m[1])}
    time.sleep(0.2)
for title, expr in sorted(missing):
    print(f"empty: {title}: {expr}")
print(f"{total - len(missing)} of {total} queries of {len(panels)} panels show something")
sys.exit(1 if missing else 0)
