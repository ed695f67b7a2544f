"""webdataset: writes shards through a pipe and reads a shuffled epoch of them back, through a pipe and by presigned URL."""

import boto3
from botocore.config import Config
import webdataset as wds

from s3corpus import BUCKET, ENDPOINT, FILES, LARGE, body, same

s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version="s3v4"))  # Presigns as of old otherwise.
s3.create_bucket(Bucket=BUCKET)
SHARDS, SAMPLES = 4, 25


def sample(i):
    at = i * 7919 % (LARGE - 200_000)
    return body_large[at : at + 10_000 + i * 1000]


body_large = body(LARGE)
for shard in range(SHARDS):
    with wds.TarWriter(f"pipe:aws s3 cp - s3://{BUCKET}/train-{shard:06d}.tar") as writer:
        for i in range(shard * SAMPLES, (shard + 1) * SAMPLES):
            writer.write({"__key__": f"{i:08d}", "jpg": sample(i), "cls": str(i % 10)})


def check(name, urls, **options):
    dataset = wds.WebDataset(urls, shardshuffle=SHARDS, **options).shuffle(50).to_tuple("__key__", "jpg", "cls")
    seen = {}
    for key, image, label in dataset:
        i = int(key)
        same(f"{name}, sample {i}", image, sample(i))
        same(f"{name}, label {i}", int(label), i % 10)
        seen[i] = True
    same(f"{name}, samples", sorted(seen), list(range(SHARDS * SAMPLES)))


check("pipe", f"pipe:aws s3 cp s3://{BUCKET}/train-{{000000..{SHARDS - 1:06d}}}.tar -")
urls = [s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": f"train-{i:06d}.tar"}) for i in range(SHARDS)]
check("presigned", [f"pipe:curl -s -f '{url}'" for url in urls])
