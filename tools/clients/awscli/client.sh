#!/usr/bin/env bash
# AWS CLI: copies files of every size up and down, syncs a tree of odd names both ways, and stores odd keys.
set -euo pipefail
export AWS_CONFIG_FILE=$WORK/config # Without it, presign signs as of old, which no new region takes.
printf '[default]\ns3 =\n  signature_version = s3v4\n' >"$AWS_CONFIG_FILE"

aws s3 mb "s3://$BUCKET"
for file in "$CORPUS"/sizes/*; do
	name=$(basename "$file")
	aws s3 cp --only-show-errors "$file" "s3://$BUCKET/sizes/$name"
	aws s3 cp --only-show-errors "s3://$BUCKET/sizes/$name" "$WORK/$name"
	cmp "$file" "$WORK/$name"
done
# From and to a pipe, where the length is not known beforehand.
aws s3 cp --only-show-errors - "s3://$BUCKET/piped" <"$CORPUS/tree/large"
aws s3 cp --only-show-errors "s3://$BUCKET/piped" - | cmp - "$CORPUS/tree/large"

aws s3 sync --only-show-errors "$CORPUS/tree" "s3://$BUCKET/tree"
aws s3 sync --only-show-errors "s3://$BUCKET/tree" "$WORK/tree"
diff -r "$CORPUS/tree" "$WORK/tree"
[[ -z $(aws s3 sync --dryrun --size-only "$CORPUS/tree" "s3://$BUCKET/tree") ]] || { echo 'a second sync finds differences'; exit 1; }
aws s3 cp --only-show-errors --recursive "s3://$BUCKET/tree" "s3://$BUCKET/copied"
[[ $(aws s3 ls --recursive "s3://$BUCKET/copied/" | wc -l) == $(find "$CORPUS/tree" -type f | wc -l) ]]

# Keys that "s3" takes for directories go through "s3api".
aws s3api create-bucket --bucket "$BUCKET-keys" >/dev/null
python - <<'PYTHON'
import json, os, subprocess, sys

bucket = os.environ["BUCKET"] + "-keys"
keys = json.load(open(os.environ["CORPUS"] + "/keys.json"))[::3]  # Each costs two starts of the interpreter.
work = os.environ["WORK"]

def aws(*args):
    return subprocess.run(["aws", "s3api", *args], check=True, stdout=subprocess.PIPE).stdout

for i, key in enumerate(keys):
    with open(f"{work}/body", "w") as f:
        f.write(f"body of {key}")
    aws("put-object", "--bucket", bucket, "--key", key, "--body", f"{work}/body")
listed = [o["Key"] for o in json.loads(aws("list-objects-v2", "--bucket", bucket, "--page-size", "7", "--output", "json"))["Contents"]]
if listed != sorted(keys, key=lambda k: k.encode()):
    sys.exit(f"listed {listed}")
for key in keys:
    aws("get-object", "--bucket", bucket, "--key", key, f"{work}/back")
    if open(f"{work}/back").read() != f"body of {key}":
        sys.exit(f"{key!r} came back as {open(f'{work}/back').read()!r}")
delete = {"Objects": [{"Key": k} for k in keys], "Quiet": True}
with open(f"{work}/delete.json", "w") as f:
    json.dump(delete, f)
aws("delete-objects", "--bucket", bucket, "--delete", f"file://{work}/delete.json")
PYTHON
aws s3 rb "s3://$BUCKET-keys"

url=$(aws s3 presign "s3://$BUCKET/sizes/4096")
python -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' "$url" | cmp - "$CORPUS/sizes/4096"
aws s3 rb --force "s3://$BUCKET" >/dev/null
if aws s3 ls "s3://$BUCKET" 2>/dev/null; then echo 'the bucket is still there'; exit 1; fi
