#!/usr/bin/env bash
# rclone: copies a tree of odd names and files of every size both ways and checks them against its own hashes.
set -euo pipefail
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_P_TYPE=s3 RCLONE_CONFIG_P_PROVIDER=Other RCLONE_CONFIG_P_ENV_AUTH=true
export RCLONE_CONFIG_P_ENDPOINT=$AWS_ENDPOINT_URL RCLONE_CONFIG_P_REGION=us-east-1 RCLONE_CONFIG_P_FORCE_PATH_STYLE=true
export RCLONE_RETRIES=1 RCLONE_LOW_LEVEL_RETRIES=1

# The bucket is made by the first write, as rclone has it.
rclone copy "$CORPUS/tree" "p:$BUCKET/tree"
rclone copy "$CORPUS/sizes" "p:$BUCKET/sizes" --s3-upload-cutoff 8M --s3-chunk-size 8M
rclone check --download "$CORPUS/tree" "p:$BUCKET/tree"
rclone check "$CORPUS/sizes" "p:$BUCKET/sizes"
rclone copy "p:$BUCKET/tree" "$WORK/tree"
diff -r "$CORPUS/tree" "$WORK/tree"
rclone copy "p:$BUCKET/sizes" "$WORK/sizes" --multi-thread-cutoff 10M
diff -r "$CORPUS/sizes" "$WORK/sizes"

rclone rcat "p:$BUCKET/piped" <"$CORPUS/tree/large"
rclone cat "p:$BUCKET/piped" | cmp - "$CORPUS/tree/large"
rclone copyto "p:$BUCKET/piped" "p:$BUCKET/copied"
rclone cat "p:$BUCKET/copied" --offset 1000000 --count 5000 | cmp - <(tail -c +1000001 "$CORPUS/tree/large" | head -c 5000)
rclone sync "$CORPUS/sizes" "p:$BUCKET/tree"
diff <(rclone lsf "p:$BUCKET/tree" | sort) <(ls "$CORPUS/sizes" | sort)
rclone purge "p:$BUCKET"
if rclone lsf "p:$BUCKET" 2>/dev/null; then echo 'the bucket is still there'; exit 1; fi
