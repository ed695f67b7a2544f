package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// showStart tells whoever started the node where it is and how to try it. It goes to standard output, apart from the log, because it may hold
// the secret key: a fresh pair is shown this once.
func showStart(p *process, endpoint, region string, root credentials, fresh bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nPenstock serves S3 at %s\n\n", endpoint)
	fmt.Fprintf(&b, "  access key  %s\n", root.AccessKey)
	secret := "..."
	switch {
	case fresh && isJournal(p.stdout, p.getenv):
		// Whatever systemd takes from here it keeps and shows to every reader of the journal.
		fmt.Fprintf(&b, "  secret key  in %s on the drives\n", rootFile)
	case fresh:
		secret = root.SecretKey
		fmt.Fprintf(&b, "  secret key  %s\n\nThe secret key is not shown again; it is kept in %s on the drives.\n", root.SecretKey, rootFile)
	default:
		fmt.Fprintf(&b, "  secret key  not shown; it is the one given, or else in %s on the drives\n", rootFile)
	}
	// S3 wants the header, and curl before 8.3 sends it only when told to.
	curl := fmt.Sprintf("curl --aws-sigv4 aws:amz:%s:s3 --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" -H x-amz-content-sha256:UNSIGNED-PAYLOAD", region)
	fmt.Fprintf(&b, "\nTry it:\n\n")
	fmt.Fprintf(&b, "  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s\n", shellQuote(root.AccessKey), secret, region)
	fmt.Fprintf(&b, "  %s -X PUT %s/photos\n", curl, endpoint)
	fmt.Fprintf(&b, "  %s -T README.md %s/photos/README.md\n", curl, endpoint)
	fmt.Fprintf(&b, "  %s '%s/photos?list-type=2'\n\n", curl, endpoint)
	fmt.Fprintf(&b, "Or any S3 client, such as: aws --endpoint-url %s s3 ls s3://photos\n\n", endpoint)
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// shellQuote leaves alone what the shell does, as generated keys are.
func shellQuote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// isJournal tells whether w ends in systemd's journal, which names itself to the services it reads from.
func isJournal(w io.Writer, getenv func(string) string) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
