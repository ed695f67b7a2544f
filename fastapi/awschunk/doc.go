// Package awschunk reads bodies in the aws-chunked encoding of S3, in its three kinds:
//
//	signed          2000;chunk-signature=<64 hex>\r\n  8192 bytes  \r\n
//	                0;chunk-signature=<64 hex>\r\n
//	                \r\n
//
//	signed, with    2000;chunk-signature=<64 hex>\r\n  8192 bytes  \r\n
//	trailers        0;chunk-signature=<64 hex>\r\n
//	                x-amz-checksum-crc32c:sOO8/Q==\r\n
//	                x-amz-trailer-signature:<64 hex>\r\n
//	                \r\n
//
//	unsigned, with  2000\r\n  8192 bytes  \r\n
//	trailers        0\r\n
//	                x-amz-checksum-crc32c:sOO8/Q==\r\n
//	                \r\n
//
// The length of a chunk is in hex. A chunk may be as short as a byte: S3 asks for 8 KiB, but clients
// cut streams as they come. Trailer lines may also end in "\n", if "\r\n" then follows the last of
// them: minio-go writes them so, and so does the example in the S3 documentation.
//
// A [Reader] takes no byte more or less than that. What it returns is verified only once it has
// returned io.EOF: a chunk may be larger than any buffer, so its bytes are handed out before its
// signature can be checked. Whoever reads must commit nothing before io.EOF.
//
// The package does not compute the checksums that trailers carry; see [Reader.Trailers].
package awschunk
