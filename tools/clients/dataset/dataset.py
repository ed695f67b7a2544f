"""What it is all for: a sharded image data set is written, one shuffled epoch of it is streamed by several workers, and a
checkpoint is saved and loaded again in parts.

Images are made up, but are real PNG files that are decoded again, each pixel of which is known. With --torch the loader
is PyTorch's; without, it is a few processes.
"""

import hashlib
import io
import multiprocessing
import random
import struct
import sys
import tarfile
import zlib

import boto3
from boto3.s3.transfer import TransferConfig

from s3corpus import BUCKET, ENDPOINT, same

SHARDS, IMAGES, SIDE, WORKERS = 8, 64, 96, 4
CHECKPOINT_LEN = 96 << 20


def client():
    return boto3.client("s3", endpoint_url=ENDPOINT)


def pixels(i):
    """SIDE x SIDE grey pixels of image i."""
    return random.Random(i).randbytes(SIDE * SIDE)


def encode_png(raw):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + raw[y * SIDE : (y + 1) * SIDE] for y in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def decode_png(png):
    at, data = 8, b""
    while at < len(png):
        (n,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + n]
        at += 12 + n
    rows = zlib.decompress(data)
    return b"".join(rows[y * (SIDE + 1) + 1 : (y + 1) * (SIDE + 1)] for y in range(SIDE))


def write_shards():
    s3 = client()
    for shard in range(SHARDS):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for i in range(shard * IMAGES, (shard + 1) * IMAGES):
                for name, content in ((f"{i:06d}.png", encode_png(pixels(i))), (f"{i:06d}.cls", str(i % 10).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        s3.put_object(Bucket=BUCKET, Key=f"train/{shard:04d}.tar", Body=tar.getvalue())


def stream(keys, seed):
    """Yields (number, pixels, label) of the samples in the shards, as they come off the wire, through a shuffle buffer."""
    s3, rng, buffer = client(), random.Random(seed), []
    for key in keys:
        body = s3.get_object(Bucket=BUCKET, Key=key)["Body"]
        with tarfile.open(fileobj=body, mode="r|") as archive:
            sample = {}
            for member in archive:
                name, kind = member.name.split(".")
                sample[kind] = archive.extractfile(member).read()
                if len(sample) == 2:
                    buffer.append((int(name), decode_png(sample["png"]), int(sample["cls"])))
                    sample = {}
                if len(buffer) > 50:
                    yield buffer.pop(rng.randrange(len(buffer)))
    rng.shuffle(buffer)
    yield from buffer


def list_shards(epoch):
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="train/", PaginationConfig={"PageSize": 3})
    keys = [o["Key"] for page in pages for o in page["Contents"]]
    same("shards", keys, [f"train/{i:04d}.tar" for i in range(SHARDS)])
    random.Random(epoch).shuffle(keys)
    return keys


def work(args):
    keys, seed = args
    return [(i, hashlib.sha256(image).digest(), label) for i, image, label in stream(keys, seed)]


def plain_epoch(keys):
    with multiprocessing.Pool(WORKERS) as pool:
        for samples in pool.imap_unordered(work, [(keys[w::WORKERS], w) for w in range(WORKERS)]):
            yield from samples


def torch_epoch(keys):
    import torch.utils.data

    class Shards(torch.utils.data.IterableDataset):
        def __iter__(self):
            info = torch.utils.data.get_worker_info()
            for i, image, label in stream(keys[info.id :: info.num_workers], info.id):
                yield i, hashlib.sha256(image).digest(), label

    for batch in torch.utils.data.DataLoader(Shards(), batch_size=32, num_workers=WORKERS, collate_fn=list):
        yield from batch


def check_epoch(epoch):
    order = []
    for i, digest, label in epoch:
        same(f"image {i}", digest, hashlib.sha256(pixels(i)).digest())
        same(f"label {i}", label, i % 10)
        order.append(i)
    same("samples", sorted(order), list(range(SHARDS * IMAGES)))
    if order == sorted(order):
        raise SystemExit("the epoch is not shuffled")


def check_checkpoint(save, load):
    config = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=WORKERS)
    s3, saved = client(), save()
    s3.upload_fileobj(io.BytesIO(saved), BUCKET, "checkpoints/step-100", Config=config)
    parts = -(-len(saved) // (8 << 20))
    if not s3.head_object(Bucket=BUCKET, Key="checkpoints/step-100")["ETag"].endswith(f'-{parts}"'):
        raise SystemExit("the checkpoint was not saved in parts")
    loaded = io.BytesIO()
    s3.download_fileobj(BUCKET, "checkpoints/step-100", loaded, Config=config)
    same("checkpoint", loaded.getvalue(), saved)
    load(loaded)


def main(with_torch):
    client().create_bucket(Bucket=BUCKET)
    write_shards()
    keys = list_shards(epoch=1)
    if not with_torch:
        check_epoch(plain_epoch(keys))
        check_checkpoint(lambda: random.Random(7).randbytes(CHECKPOINT_LEN), lambda f: None)
        return
    import torch

    check_epoch(torch_epoch(keys))
    state = {f"layer{i}": torch.randn(1024, 1024) for i in range(CHECKPOINT_LEN >> 22)}

    def save():
        f = io.BytesIO()
        torch.save(state, f)
        return f.getvalue()

    def load(f):
        f.seek(0)
        back = torch.load(f)
        for name, tensor in state.items():
            assert torch.equal(back[name], tensor), name

    check_checkpoint(save, load)


if __name__ == "__main__":
    main("--torch" in sys.argv[1:])
