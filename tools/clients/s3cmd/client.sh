#!/usr/bin/env bash
# s3cmd: puts and gets files of every size, syncs a tree of odd names both ways, and compares its MD5s.
set -euo pipefail
host=${AWS_ENDPOINT_URL#http://}
cat >"$WORK/s3cfg" <<CONFIG
[default]
host_base = $host
host_bucket = $host/%(bucket)
use_https = False
access_key = $AWS_ACCESS_KEY_ID
secret_key = $AWS_SECRET_ACCESS_KEY
multipart_chunk_size_mb = 8
max_retries = 1
CONFIG
s3() { s3cmd --config "$WORK/s3cfg" --no-progress --quiet "$@"; }

s3 mb "s3://$BUCKET"
for file in "$CORPUS"/sizes/*; do
	name=$(basename "$file")
	s3 put "$file" "s3://$BUCKET/sizes/$name"
	s3 get "s3://$BUCKET/sizes/$name" "$WORK/$name"
	cmp "$file" "$WORK/$name"
done
s3 sync "$CORPUS/tree/" "s3://$BUCKET/tree/"
s3 sync "s3://$BUCKET/tree/" "$WORK/tree/"
diff -r "$CORPUS/tree" "$WORK/tree"
s3 cp "s3://$BUCKET/sizes/67108864" "s3://$BUCKET/copied"
s3 mv "s3://$BUCKET/copied" "s3://$BUCKET/moved"
s3 get "s3://$BUCKET/moved" "$WORK/moved"
cmp "$CORPUS/sizes/67108864" "$WORK/moved"
[[ $(s3cmd --config "$WORK/s3cfg" ls --recursive "s3://$BUCKET/tree/" | wc -l) == $(find "$CORPUS/tree" -type f | wc -l) ]]
s3 del --recursive --force "s3://$BUCKET"
s3 rb "s3://$BUCKET"
