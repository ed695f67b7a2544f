#!/usr/bin/env bash
# restic: backs up a tree twice, verifies every byte of the repository, restores it, and prunes.
set -euo pipefail
export RESTIC_REPOSITORY=s3:$AWS_ENDPOINT_URL/$BUCKET/backup RESTIC_PASSWORD=penstock RESTIC_CACHE_DIR=$WORK/cache

restic init
cp -r "$CORPUS/tree" "$CORPUS/sizes" "$WORK"
cd "$WORK"
restic backup tree sizes
head -c 3000000 "$CORPUS/sizes/67108864" >tree/more
restic backup tree sizes
restic check --read-data
restic restore latest --target restored
diff -r tree restored/tree
diff -r sizes restored/sizes
restic forget --keep-last 1 --prune
restic check --read-data
[[ $(restic snapshots --json | grep -o '"short_id"' | wc -l) == 1 ]]
restic restore latest --target again
diff -r tree again/tree
