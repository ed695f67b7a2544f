"""s3fs/fsspec: files through the file interface, ranges, a tree, exclusive creation, and many keys at once."""

import fsspec
import s3fs

from s3corpus import BUCKET, ENDPOINT, FILES, LARGE, TREE, WORK, body, same

fs = s3fs.S3FileSystem(endpoint_url=ENDPOINT, default_block_size=8 << 20)
fs.mkdir(BUCKET)

for size in FILES:
    with fs.open(f"{BUCKET}/sizes/{size}", "wb") as f:
        f.write(body(size))
    same(f"{size} bytes", fs.cat_file(f"{BUCKET}/sizes/{size}"), body(size))
    same(f"length of {size}", fs.info(f"{BUCKET}/sizes/{size}")["size"], size)
same("listing", sorted(fs.ls(f"{BUCKET}/sizes")), sorted(f"{BUCKET}/sizes/{size}" for size in FILES))

with fs.open(f"{BUCKET}/sizes/{LARGE}", "rb", block_size=1 << 20) as f:
    f.seek(30_000_000)
    same("after a seek", f.read(3_000_000), body(LARGE)[30_000_000:33_000_000])
    f.seek(-11, 2)
    same("the end", f.read(), body(LARGE)[-11:])
ranges = [(0, 10), (1 << 20, (1 << 20) + 5), (LARGE - 3, LARGE)]
got = fs.cat_ranges([f"{BUCKET}/sizes/{LARGE}"] * 3, [a for a, _ in ranges], [b for _, b in ranges])
same("ranges", got, [body(LARGE)[a:b] for a, b in ranges])

odd = ["plus+sign", "plus sign", "per%2Fcent", "emoji-😀", "semi;colon", "deep/er/and deeper"]
fs.pipe({f"{BUCKET}/odd/{name}": name.encode() for name in odd})
same("odd names", {k.removeprefix(f"{BUCKET}/odd/"): v for k, v in fs.cat(fs.find(f"{BUCKET}/odd")).items()}, {n: n.encode() for n in odd})

fs.put(str(TREE), f"{BUCKET}/tree", recursive=True)
fs.get(f"{BUCKET}/tree", str(WORK / "tree"), recursive=True)
for path in TREE.rglob("*"):
    if path.is_file():
        same(str(path), (WORK / "tree" / path.relative_to(TREE)).read_bytes(), path.read_bytes())

fs.pipe_file(f"{BUCKET}/exclusive", b"first", mode="create")
try:
    fs.pipe_file(f"{BUCKET}/exclusive", b"second", mode="create")
    raise SystemExit("an exclusive creation of what is there was accepted")
except FileExistsError:
    pass
same("exclusive", fs.cat_file(f"{BUCKET}/exclusive"), b"first")

fs.cp_file(f"{BUCKET}/sizes/{LARGE}", f"{BUCKET}/copied")
same("copied", fs.cat_file(f"{BUCKET}/copied"), body(LARGE))
with fsspec.open(f"s3://{BUCKET}/sizes/4096", "rb", endpoint_url=ENDPOINT) as f:
    same("by URL", f.read(), body(4096))

fs.rm(BUCKET, recursive=True)
fs.invalidate_cache()
if fs.exists(BUCKET):
    raise SystemExit("the bucket is still there")
