// AWS SDK for Java v2: bodies, streams, parts by the transfer manager, odd keys, conditions, ranges, checksums.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import software.amazon.awssdk.core.ResponseInputStream;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.transfer.s3.S3TransferManager;

public class Client {
  static final URI ENDPOINT = URI.create(System.getenv("AWS_ENDPOINT_URL"));
  static final String BUCKET = System.getenv("BUCKET");
  static final Path CORPUS = Path.of(System.getenv("CORPUS")), WORK = Path.of(System.getenv("WORK"));
  static final S3Client s3 =
      S3Client.builder().endpointOverride(ENDPOINT).region(Region.US_EAST_1).forcePathStyle(true).build();

  static void same(String what, byte[] got, byte[] want) {
    if (!Arrays.equals(got, want)) {
      throw new AssertionError(what + ": got " + got.length + " bytes that differ from the " + want.length + " stored");
    }
  }

  static void same(String what, Object got, Object want) {
    if (!got.equals(want)) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  static void refused(String what, String code, Runnable call) {
    try {
      call.run();
    } catch (S3Exception e) {
      same(what, e.awsErrorDetails() == null ? "" + e.statusCode() : e.awsErrorDetails().errorCode(), code);
      return;
    }
    throw new AssertionError(what + ": accepted");
  }

  static byte[] get(String bucket, String key) {
    return s3.getObjectAsBytes(b -> b.bucket(bucket).key(key)).asByteArray();
  }

  public static void main(String[] args) throws Exception {
    s3.createBucket(b -> b.bucket(BUCKET));
    refused("second create", "BucketAlreadyOwnedByYou", () -> s3.createBucket(b -> b.bucket(BUCKET)));

    Path large = null;
    try (var files = Files.list(CORPUS.resolve("sizes"))) {
      for (Path file : files.toList()) {
        byte[] body = Files.readAllBytes(file);
        String name = file.getFileName().toString();
        s3.putObject(b -> b.bucket(BUCKET).key("sizes/" + name), RequestBody.fromFile(file));
        same(name, get(BUCKET, "sizes/" + name), body);
        s3.putObject(
            b -> b.bucket(BUCKET).key("streams/" + name),
            RequestBody.fromInputStream(new ByteArrayInputStream(body), body.length));
        same("stream of " + name, get(BUCKET, "streams/" + name), body);
        if (large == null || body.length > Files.size(large)) {
          large = file;
        }
      }
    }
    byte[] want = Files.readAllBytes(large);
    Path source = large, back = WORK.resolve("back");
    try (S3AsyncClient async =
            S3AsyncClient.builder()
                .endpointOverride(ENDPOINT)
                .region(Region.US_EAST_1)
                .forcePathStyle(true)
                .multipartEnabled(true)
                .multipartConfiguration(c -> c.minimumPartSizeInBytes(5L << 20).thresholdInBytes(8L << 20))
                .build();
        S3TransferManager manager = S3TransferManager.builder().s3Client(async).build()) {
      manager.uploadFile(b -> b.source(source).putObjectRequest(p -> p.bucket(BUCKET).key("large"))).completionFuture().join();
      manager.downloadFile(b -> b.destination(back).getObjectRequest(g -> g.bucket(BUCKET).key("large"))).completionFuture().join();
    }
    same("large", Files.readAllBytes(back), want);
    String etag = s3.headObject(b -> b.bucket(BUCKET).key("large")).eTag();
    if (!etag.matches("\"[0-9a-f]{32}-[0-9]+\"")) {
      throw new AssertionError("ETag of parts: " + etag);
    }
    try (ResponseInputStream<GetObjectResponse> in = s3.getObject(b -> b.bucket(BUCKET).key("large").range("bytes=1048575-2097160"))) {
      same("range", in.readAllBytes(), Arrays.copyOfRange(want, 1048575, 2097161));
    }

    String bucket = BUCKET + "-keys";
    List<String> keys = keys();
    s3.createBucket(b -> b.bucket(bucket));
    for (String key : keys) {
      s3.putObject(b -> b.bucket(bucket).key(key), RequestBody.fromString("body of " + key));
    }
    List<String> listed = new ArrayList<>();
    s3.listObjectsV2Paginator(b -> b.bucket(bucket).maxKeys(7)).contents().forEach(o -> listed.add(o.key()));
    List<String> sorted = new ArrayList<>(keys);
    sorted.sort((a, b) -> Arrays.compareUnsigned(a.getBytes(StandardCharsets.UTF_8), b.getBytes(StandardCharsets.UTF_8)));
    same("keys", listed, sorted);
    List<ObjectIdentifier> ids = new ArrayList<>();
    for (String key : keys) {
      same(key, new String(get(bucket, key), StandardCharsets.UTF_8), "body of " + key);
      ids.add(ObjectIdentifier.builder().key(key).build());
    }
    same("deleted", s3.deleteObjects(b -> b.bucket(bucket).delete(d -> d.objects(ids))).deleted().size(), keys.size());
    s3.deleteBucket(b -> b.bucket(bucket));

    s3.putObject(b -> b.bucket(BUCKET).key("manifest").ifNoneMatch("*"), RequestBody.fromString("one"));
    refused("If-None-Match", "PreconditionFailed",
        () -> s3.putObject(b -> b.bucket(BUCKET).key("manifest").ifNoneMatch("*"), RequestBody.fromString("two")));
    for (ChecksumAlgorithm algorithm : List.of(ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32_C, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256)) {
      s3.putObject(b -> b.bucket(BUCKET).key("sum-" + algorithm).checksumAlgorithm(algorithm), RequestBody.fromBytes(want));
      same("sum-" + algorithm,
          s3.getObjectAsBytes(b -> b.bucket(BUCKET).key("sum-" + algorithm).checksumMode(ChecksumMode.ENABLED)).asByteArray(), want);
    }
    refused("wrong checksum", "BadDigest",
        () -> s3.putObject(b -> b.bucket(BUCKET).key("wrong").checksumCRC32("AAAAAA=="), RequestBody.fromString("x")));
    s3.copyObject(b -> b.sourceBucket(BUCKET).sourceKey("large").destinationBucket(BUCKET).destinationKey("copied 100% +"));
    same("copied", get(BUCKET, "copied 100% +"), want);
    refused("missing key", "NoSuchKey", () -> get(BUCKET, "missing"));
    System.exit(0); // Idle threads of the clients would keep the machine up.
  }

  /** Reads the array of strings in keys.json; the runtime has no JSON parser. */
  static List<String> keys() throws Exception {
    List<String> keys = new ArrayList<>();
    Matcher m = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(Files.readString(CORPUS.resolve("keys.json")));
    while (m.find()) {
      StringBuilder key = new StringBuilder();
      String text = m.group(1);
      for (int i = 0; i < text.length(); i++) {
        if (text.charAt(i) != '\\') {
          key.append(text.charAt(i));
        } else if (text.charAt(++i) == 'u') {
          key.append((char) Integer.parseInt(text.substring(i + 1, i + 5), 16));
          i += 4;
        } else {
          key.append(text.charAt(i)); // The corpus escapes quotes and backslashes in no other way.
        }
      }
      keys.add(key.toString());
    }
    return keys;
  }
}
