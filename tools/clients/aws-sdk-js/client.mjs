// @aws-sdk/client-s3 with lib-storage: buffers and streams, parts, odd keys, conditions, ranges, presigned URLs.
import assert from "node:assert/strict";
import { createReadStream, readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";

// The packages are in the cache, not beside this file.
const modules = createRequire(join(process.env.CACHE, "npm-" + basename(import.meta.dirname), "package.json"));
const load = async (name) => import(pathToFileURL(modules.resolve(name)));
const { S3Client, ...api } = await load("@aws-sdk/client-s3");
const { Upload } = await load("@aws-sdk/lib-storage");
const { getSignedUrl } = await load("@aws-sdk/s3-request-presigner");

const { BUCKET: Bucket, CORPUS, AWS_ENDPOINT_URL: endpoint } = process.env;
const s3 = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });
const call = (name, input) => s3.send(new api[name + "Command"]({ Bucket, ...input }));
const bytes = async (output) => Buffer.from(await output.Body.transformToByteArray());
const same = (what, got, want) => assert.ok(Buffer.compare(got, want) === 0, `${what}: got ${got.length} bytes that differ from the ${want.length} stored`);
const refused = async (what, name, promise) => {
	await assert.rejects(promise, (e) => e.name === name, what);
};

await call("CreateBucket", {});
await refused("second create", "BucketAlreadyOwnedByYou", call("CreateBucket", {}));

const sizes = readdirSync(join(CORPUS, "sizes"));
for (const size of sizes) {
	const path = join(CORPUS, "sizes", size);
	const want = readFileSync(path);
	await call("PutObject", { Key: `sizes/${size}`, Body: want });
	same(`${size} bytes`, await bytes(await call("GetObject", { Key: `sizes/${size}` })), want);
	// A file's stream has no length: it goes out in HTTP chunks around aws-chunked ones.
	await call("PutObject", { Key: `streams/${size}`, Body: createReadStream(path), ContentLength: Number(size) });
	same(`stream of ${size}`, await bytes(await call("GetObject", { Key: `streams/${size}` })), want);
	assert.equal((await call("HeadObject", { Key: `streams/${size}` })).ContentLength, Number(size));
}

const large = String(Math.max(...sizes.map(Number)));
const want = readFileSync(join(CORPUS, "sizes", large));
for (const [Key, Body] of [["parts", want], ["streamed parts", Readable.from(createReadStream(join(CORPUS, "sizes", large)))]]) {
	await new Upload({ client: s3, params: { Bucket, Key, Body }, partSize: 5 << 20, queueSize: 4 }).done();
	const output = await call("GetObject", { Key });
	assert.match(output.ETag, /-13"$/);
	same(Key, await bytes(output), want);
}
same("range", await bytes(await call("GetObject", { Key: "parts", Range: "bytes=5242879-5242890" })), want.subarray(5242879, 5242891));
same("part 2", await bytes(await call("GetObject", { Key: "parts", PartNumber: 2 })), want.subarray(5 << 20, 10 << 20));

const keys = JSON.parse(readFileSync(join(CORPUS, "keys.json")));
await call("CreateBucket", { Bucket: Bucket + "-keys" });
for (const Key of keys) {
	await call("PutObject", { Bucket: Bucket + "-keys", Key, Body: "body of " + Key });
}
const listed = [];
for await (const page of api.paginateListObjectsV2({ client: s3, pageSize: 7 }, { Bucket: Bucket + "-keys", EncodingType: "url" })) {
	listed.push(...(page.Contents ?? []).map((o) => decodeURIComponent(o.Key.replaceAll("+", " "))));
}
assert.deepEqual(listed, [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
for (const Key of keys) {
	const output = await call("GetObject", { Bucket: Bucket + "-keys", Key });
	assert.equal(await output.Body.transformToString(), "body of " + Key);
}
const deleted = await call("DeleteObjects", { Bucket: Bucket + "-keys", Delete: { Objects: keys.map((Key) => ({ Key })) } });
assert.equal(deleted.Deleted.length, keys.length);
await call("DeleteBucket", { Bucket: Bucket + "-keys" });

await call("PutObject", { Key: "manifest", Body: "one", IfNoneMatch: "*" });
await refused("If-None-Match", "PreconditionFailed", call("PutObject", { Key: "manifest", Body: "two", IfNoneMatch: "*" }));
for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
	const put = await call("PutObject", { Key: ChecksumAlgorithm, Body: want.subarray(0, 70000), ChecksumAlgorithm });
	const get = await call("GetObject", { Key: ChecksumAlgorithm, ChecksumMode: "ENABLED" });
	same(ChecksumAlgorithm, await bytes(get), want.subarray(0, 70000));
	assert.equal(get["Checksum" + ChecksumAlgorithm], put["Checksum" + ChecksumAlgorithm]);
}
await refused("wrong checksum", "BadDigest", call("PutObject", { Key: "wrong", Body: "x", ChecksumCRC32: "AAAAAA==" }));

await call("CopyObject", { Key: "copied", CopySource: `${Bucket}/parts` });
same("copied", await bytes(await call("GetObject", { Key: "copied" })), want);
const url = await getSignedUrl(s3, new api.GetObjectCommand({ Bucket, Key: "copied" }), { expiresIn: 60 });
same("presigned", Buffer.from(await (await fetch(url, { headers: { range: "bytes=100-199" } })).arrayBuffer()), want.subarray(100, 200));
await refused("missing key", "NoSuchKey", call("GetObject", { Key: "missing" }));
