"""boto3: bodies, odd keys, parts, streams, conditions, ranges, presigned URLs, checksums and copies."""

import io
import urllib.request

import boto3
from botocore.config import Config
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from s3corpus import BUCKET, ENDPOINT, FILES, KEYS, LARGE, WORK, body, same, sort_keys

s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))  # Presigns as of old otherwise.


def refused(what, code, call, **args):
    try:
        call(**args)
    except ClientError as e:
        same(what, e.response["Error"]["Code"], code)
        return
    raise SystemExit(f"{what}: accepted")


def get(key, **args):
    return s3.get_object(Bucket=BUCKET, Key=key, **args)["Body"].read()


s3.create_bucket(Bucket=BUCKET)
refused("second create", "BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=BUCKET)

for size in FILES:
    if size != LARGE:
        s3.put_object(Bucket=BUCKET, Key=f"sizes/{size}", Body=body(size))
        same(f"{size} bytes", get(f"sizes/{size}"), body(size))
        same(f"length of {size}", s3.head_object(Bucket=BUCKET, Key=f"sizes/{size}")["ContentLength"], size)

# A file in parts, by several threads, and back in ranges.
config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
s3.upload_file(str(FILES[LARGE]), BUCKET, "large", Config=config)
s3.download_file(BUCKET, "large", str(WORK / "large"), Config=config)
same("large", (WORK / "large").read_bytes(), body(LARGE))
assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-8"')
same("part 3", get("large", PartNumber=3), body(LARGE)[16 << 20 : 24 << 20])


class Pipe(io.RawIOBase):
    """A stream that cannot seek and does not know its length."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, n=-1):
        return self.data.read(min(n, 10_000) if n > 0 else n)


s3.upload_fileobj(Pipe(body(LARGE)[: 20 << 20]), BUCKET, "piped", Config=config)
same("piped", get("piped"), body(LARGE)[: 20 << 20])

for key in KEYS:
    s3.put_object(Bucket=BUCKET + "-keys", Key=key, Body=f"body of {key}".encode()) if key != KEYS[0] else (
        s3.create_bucket(Bucket=BUCKET + "-keys"),
        s3.put_object(Bucket=BUCKET + "-keys", Key=key, Body=f"body of {key}".encode()),
    )
for operation in ("list_objects_v2", "list_objects"):
    pages = s3.get_paginator(operation).paginate(Bucket=BUCKET + "-keys", PaginationConfig={"PageSize": 7})
    same(operation, [o["Key"] for page in pages for o in page.get("Contents", [])], sort_keys(KEYS))
for key in KEYS:
    same(key, s3.get_object(Bucket=BUCKET + "-keys", Key=key)["Body"].read(), f"body of {key}".encode())
answer = s3.delete_objects(Bucket=BUCKET + "-keys", Delete={"Objects": [{"Key": k} for k in KEYS]})
same("deleted", len(answer["Deleted"]), len(KEYS))
s3.delete_bucket(Bucket=BUCKET + "-keys")

s3.put_object(Bucket=BUCKET, Key="manifest", Body=b"one", IfNoneMatch="*")
refused("If-None-Match", "PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="manifest", Body=b"two", IfNoneMatch="*")
etag = s3.head_object(Bucket=BUCKET, Key="manifest")["ETag"]
s3.put_object(Bucket=BUCKET, Key="manifest", Body=b"three", IfMatch=etag)
refused("If-Match", "PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="manifest", Body=b"four", IfMatch=etag)
same("manifest", get("manifest"), b"three")
refused("If-None-Match on GET", "304", s3.get_object, Bucket=BUCKET, Key="manifest", IfNoneMatch=s3.head_object(Bucket=BUCKET, Key="manifest")["ETag"])

same("range", get("large", Range="bytes=1048575-3145729"), body(LARGE)[1048575:3145730])
same("suffix", get("large", Range="bytes=-7"), body(LARGE)[-7:])
same("open range", get("large", Range=f"bytes={LARGE - 9}-"), body(LARGE)[-9:])
refused("range past the end", "InvalidRange", s3.get_object, Bucket=BUCKET, Key="large", Range=f"bytes={LARGE}-")

for algorithm in ("CRC32", "SHA1", "SHA256"):  # CRC32C and CRC64NVME need the CRT.
    put = s3.put_object(Bucket=BUCKET, Key=algorithm, Body=body(4096), ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=BUCKET, Key=algorithm, ChecksumMode="ENABLED")
    same(algorithm, head[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"])
refused("wrong checksum", "BadDigest", s3.put_object, Bucket=BUCKET, Key="wrong", Body=b"x", ChecksumCRC32="AAAAAA==")
refused("after a wrong checksum", "404", s3.head_object, Bucket=BUCKET, Key="wrong")

s3.put_object(Bucket=BUCKET, Key="described", Body=b"x", ContentType="a/b", Metadata={"camera": "X 100"}, CacheControl="no-store")
s3.copy_object(Bucket=BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "described"})
head = s3.head_object(Bucket=BUCKET, Key="copied")
same("metadata", (head["ContentType"], head["Metadata"], head["CacheControl"]), ("a/b", {"camera": "X 100"}, "no-store"))
s3.copy({"Bucket": BUCKET, "Key": "large"}, BUCKET, "large copy", Config=config)  # In parts.
same("large copy", get("large copy"), body(LARGE))

url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "sizes/4096"})
same("presigned GET", urllib.request.urlopen(url).read(), body(4096))
url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "presigned"})
urllib.request.urlopen(urllib.request.Request(url, data=body(4096), method="PUT", headers={"Content-Type": ""}))
same("presigned PUT", get("presigned"), body(4096))
