"""s3torchconnector: the AWS CRT client under a PyTorch data set, its three readers, and a checkpoint."""

import torch
from s3torchconnector import S3Checkpoint, S3ClientConfig, S3IterableDataset, S3MapDataset, S3ReaderConstructor
from s3torchconnector._s3client import S3Client

from s3corpus import BUCKET, ENDPOINT, FILES, LARGE, REGION, body, same

config = S3ClientConfig(force_path_style=True)
options = dict(region=REGION, endpoint=ENDPOINT, s3client_config=config)

import boto3  # Buckets are not the connector's business.

boto3.client("s3", endpoint_url=ENDPOINT).create_bucket(Bucket=BUCKET)

client = S3Client(REGION, endpoint=ENDPOINT, s3client_config=config)
for size in FILES:
    with client.put_object(BUCKET, f"sizes/{size}") as writer:
        writer.write(body(size))
for name, reader in {
    "sequential": S3ReaderConstructor.sequential(),
    "range": S3ReaderConstructor.range_based(buffer_size=1 << 20),
}.items():
    dataset = S3MapDataset.from_prefix(f"s3://{BUCKET}/sizes/", transform=lambda o: (o.key, o.read()), reader_constructor=reader, **options)
    got = dict(dataset[i] for i in range(len(dataset)))
    same(f"{name}: keys", sorted(got), sorted(f"sizes/{size}" for size in FILES))
    for size in FILES:
        same(f"{name}: {size} bytes", got[f"sizes/{size}"], body(size))
with client.get_object(BUCKET, f"sizes/{LARGE}") as reader:
    reader.seek(30_000_000)
    same("after a seek", reader.read(1_000_000), body(LARGE)[30_000_000:31_000_000])

dataset = S3IterableDataset.from_prefix(f"s3://{BUCKET}/sizes/", enable_sharding=True, transform=lambda o: (o.key, len(o.read())), **options)
seen = dict(pair for batch in torch.utils.data.DataLoader(dataset, num_workers=3, batch_size=None) for pair in [batch])
same("workers", seen, {f"sizes/{size}": size for size in FILES})

checkpoint = S3Checkpoint(**options)
state = {f"layer{i}": torch.randn(1000, 1000) for i in range(10)}
with checkpoint.writer(f"s3://{BUCKET}/checkpoints/1.pt") as writer:
    torch.save(state, writer)
with checkpoint.reader(f"s3://{BUCKET}/checkpoints/1.pt") as reader:
    back = torch.load(reader)
same("layers", sorted(back), sorted(state))
for name, tensor in state.items():
    assert torch.equal(back[name], tensor), name
