"""mosaicml-streaming: writes shards to the store while it makes them, and streams a shuffled epoch by several workers."""

import os

# Its own names for the endpoint.
os.environ["S3_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]

import boto3
from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader

from s3corpus import BUCKET, ENDPOINT, LARGE, WORK, body, same

SAMPLES = 300

data = body(LARGE)


def sample(i):
    at = i * 104729 % (LARGE - 100_000)
    return data[at : at + 1000 + i * 100]


if __name__ == "__main__":
    boto3.client("s3", endpoint_url=ENDPOINT).create_bucket(Bucket=BUCKET)
    with MDSWriter(out=f"s3://{BUCKET}/train", columns={"id": "int", "image": "bytes"}, size_limit=1 << 20, hashes=["sha1"]) as writer:
        for i in range(SAMPLES):
            writer.write({"id": i, "image": sample(i)})
    dataset = StreamingDataset(remote=f"s3://{BUCKET}/train", local=str(WORK / "local"), shuffle=True, batch_size=10, validate_hash="sha1")
    seen = []
    for batch in DataLoader(dataset, batch_size=10, num_workers=2, collate_fn=list):
        for row in batch:
            same(f"sample {row['id']}", row["image"], sample(row["id"]))
            seen.append(row["id"])
    same("samples", sorted(seen), list(range(SAMPLES)))
    if seen == sorted(seen):
        raise SystemExit("the epoch is not shuffled")
