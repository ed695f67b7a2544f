"""pyarrow: files and directories through its S3 file system, and a partitioned Parquet dataset."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from s3corpus import ACCESS, BUCKET, ENDPOINT, FILES, LARGE, SECRET, body, same

s3 = fs.S3FileSystem(access_key=ACCESS, secret_key=SECRET, endpoint_override=ENDPOINT, scheme="http", region="us-east-1",
                     allow_bucket_creation=True, allow_bucket_deletion=True)
s3.create_dir(BUCKET)

for size in FILES:
    with s3.open_output_stream(f"{BUCKET}/sizes/{size}") as f:
        f.write(body(size))
    with s3.open_input_stream(f"{BUCKET}/sizes/{size}") as f:
        same(f"{size} bytes", f.read(), body(size))
with s3.open_input_file(f"{BUCKET}/sizes/{LARGE}") as f:
    same("size", f.size(), LARGE)
    same("read_at", f.read_at(1_000_001, 20_000_000), body(LARGE)[20_000_000:21_000_001])
    same("last bytes", f.read_at(100, LARGE - 50), body(LARGE)[-50:])

for name in ("plus+sign", "plus sign", "per%2Fcent", "emoji-😀"):
    with s3.open_output_stream(f"{BUCKET}/odd/{name}") as f:
        f.write(name.encode())
    with s3.open_input_stream(f"{BUCKET}/odd/{name}") as f:
        same(name, f.read(), name.encode())

table = pa.table({"split": ["train", "test", "train", "val"] * 50_000, "id": range(200_000), "text": [f"row {i}" for i in range(200_000)]})
ds.write_dataset(table, f"{BUCKET}/dataset", filesystem=s3, format="parquet", partitioning=["split"], partitioning_flavor="hive")
found = s3.get_file_info(fs.FileSelector(f"{BUCKET}/dataset", recursive=True))
same("partitions", sorted(i.base_name for i in found if i.type == fs.FileType.Directory), ["split=test", "split=train", "split=val"])
back = ds.dataset(f"{BUCKET}/dataset", filesystem=s3, partitioning="hive").to_table().sort_by("id")
same("rows", back.column("text").to_pylist(), table.column("text").to_pylist())
pq.write_table(table, f"{BUCKET}/one.parquet", filesystem=s3, row_group_size=10_000)
ids = pq.read_table(f"{BUCKET}/one.parquet", filesystem=s3, columns=["id"], filters=[("id", ">", 199_990)])
same("filtered", ids.column("id").to_pylist(), list(range(199_991, 200_000)))

s3.move(f"{BUCKET}/one.parquet", f"{BUCKET}/moved.parquet")
same("moved", [i.type for i in s3.get_file_info([f"{BUCKET}/one.parquet", f"{BUCKET}/moved.parquet"])], [fs.FileType.NotFound, fs.FileType.File])
s3.delete_dir(f"{BUCKET}/dataset")
s3.delete_dir_contents(BUCKET)
s3.delete_dir(BUCKET)
same("bucket", s3.get_file_info(BUCKET).type, fs.FileType.NotFound)
