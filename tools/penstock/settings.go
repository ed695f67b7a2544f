package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"penstock/engine"
	"penstock/fastapi"
)

// envPrefix stands before the name of a setting in the environment: --log-level is PENSTOCK_LOG_LEVEL.
const envPrefix = "PENSTOCK_"

// metricsTokenEnv names the bearer token that Prometheus shows. With _FILE after the name it is in a file.
const metricsTokenEnv = envPrefix + "METRICS_TOKEN"

// auditTokenEnv names the bearer token that is shown to the audit webhook. With _FILE after the name it is in a file.
const auditTokenEnv = envPrefix + "AUDIT_WEBHOOK_TOKEN"

// unset is the value of a number that nobody chose.
const unset = -1

// settings are what an operator may choose. Every field but root is a flag, an environment variable and a key of the
// configuration file; see resolve for which of them wins.
type settings struct {
	flags   *pflag.FlagSet // Those of all fields.
	config  string         // File with the rest.
	address string
	drives  []string // Directories, expanded.

	drivesSource string // Where they were named.

	parity         int   // unset = chosen from the number of drives.
	numaNode       int   // unset = the whole machine.
	memory         int64 // 0 = a share of the machine's.
	indexDir       string
	io             string
	journalSegment int64 // 0 = chosen from the size of the drives.
	bulkSegment    int64
	healRate       int64 // Bytes a second; 0 = no limit.
	replaceEmpty   bool
	balance        int   // Percent; unset = never.
	scrubRate      int64 // Bytes a second; 0 = the engine's default.
	scrubDays      int   // unset = never.

	region  string // "" = any, announced as fastapi.DefaultRegion.
	domains []string

	trustedProxies []netip.Prefix
	newBuckets     string // "private" or "open".
	etags          string // "md5" or "opaque".

	tlsAddress    string // "" = TLS at address, if there is a certificate.
	tlsCert       []string
	tlsKey        []string
	adminClientCA string // "" = administrators need no certificate.

	zeroCopySend string // "on" or "off".

	rulesDay time.Duration // What lifecycle rules count in.

	logLevel  string
	logFormat string

	auditLog      string // File; "" = none.
	auditLogSize  int64
	auditLogFiles int
	auditWebhook  string // URL; "" = none.
	auditToken    string // Of the environment alone.

	metrics      string      // Who may read them.
	metricsToken string      // Of the environment alone, too.
	root         credentials // Of the environment alone: a flag would show in the list of processes.
}

// The rungs of the I/O ladder an operator may start from, best first. "auto" starts from the best.
var ioRungs = []string{"auto", "ring", "ring-nofixed", "ring-plain", "threads"}

// defaultAddress is the loopback interface, so that a trial run is not open to the network. Serving others
// takes one flag: --address :9000.
const defaultAddress = "127.0.0.1:9000"

// newSettings returns the defaults and the flags that change them.
func newSettings() (*settings, *pflag.FlagSet) {
	s := &settings{
		address: defaultAddress, parity: unset, numaNode: unset, io: ioRungs[0], metrics: "admin", newBuckets: "private", etags: "md5", zeroCopySend: "off",
		auditLogFiles: 10, scrubDays: 14, balance: 10, rulesDay: engine.Day, logLevel: "info", logFormat: "auto",
	}
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags.SortFlags = false // In the order of importance, as listed here.
	flags.Var(addressValue(&s.address), "address", "where to serve S3; \":9000\" is every interface")
	flags.Var(numberValue(&s.parity, 0, 16, "auto"), "parity",
		"drives that may fail without loss; auto is 0 for one drive, 1 for two or three, 2 up to eleven, then 4")
	flags.Var(sizeValue(&s.memory, engine.MinMemory, "auto"), "memory",
		"ceiling for I/O buffers and caches; auto is an eighth of the memory this process may use")
	flags.Var(numberValue(&s.numaNode, 0, 1023, "all"), "numa-node", "run on the CPUs and memory of this NUMA node alone")
	flags.Var(textValue(&s.indexDir, "DIR"), "index-dir", "keep the index here instead of on the first drive")
	flags.Var(choiceValue(&s.io, ioRungs...), "io", "first rung of the I/O ladder to try: "+strings.Join(ioRungs, ", "))
	flags.Var(textValue(&s.region, "NAME"), "region",
		"region this node is in; unless set it says "+fastapi.DefaultRegion+" and takes requests signed for any")
	flags.Var(domainsValue(&s.domains), "domain", "also serve buckets as hosts below this domain; may be given again")
	flags.Var(networksValue(&s.trustedProxies), "trusted-proxy",
		"believe X-Forwarded-For and X-Forwarded-Proto of proxies in this network; may be given again")
	flags.Var(choiceValue(&s.newBuckets, "private", "open"), "new-buckets",
		"private: as with Amazon today, public access is blocked and access control lists mean nothing until somebody changes that; open: neither, as before 2023")
	flags.Var(choiceValue(&s.etags, "md5", "opaque"), "etags",
		"ETags of objects in buckets that were not told otherwise by \"penstock admin bucket etag\": md5, of their bytes; opaque: random, which makes writing cheaper by half and more")
	flags.Var(filesValue(&s.tlsCert), "tls-cert", "certificate chain in PEM; serves HTTPS, read again when it changes; may be given again for other host names")
	flags.Var(filesValue(&s.tlsKey), "tls-key", "private key in PEM for --tls-cert")
	flags.Var(addressValue(&s.tlsAddress), "tls-address", "serve HTTPS here and plain HTTP at --address (default: HTTPS at --address if there is a certificate)")
	flags.Var(textValue(&s.adminClientCA, "FILE"), "admin-client-ca",
		"authorities in PEM; the administration API then serves only clients with a certificate of theirs")
	flags.Var(choiceValue(&s.zeroCopySend, "off", "on"), "zero-copy-send",
		"on sends large bodies from where they lie, without TLS; a connection stops it when it sees that the kernel copies after all")
	flags.Var(choiceValue(&s.metrics, "admin", "open"), "metrics",
		"who may read /penstock/metrics: admin, which is also whoever shows the bearer token in "+metricsTokenEnv+", or open, which is everybody")
	flags.Var(textValue(&s.auditLog, "FILE"), "audit-log", "write a line of JSON for every request to this file")
	flags.Var(sizeValue(&s.auditLogSize, 1<<20, "auto"), "audit-log-size", "begin a new audit file at this size; auto is 100MiB")
	flags.Var(numberValue(&s.auditLogFiles, 1, 10000, "all"), "audit-log-files", "keep this many full audit files")
	flags.Var(urlValue(&s.auditWebhook), "audit-webhook",
		"post the audit log's lines to this URL, with the bearer token in "+auditTokenEnv+" if there is one")
	flags.Var(choiceValue(&s.logLevel, "debug", "info", "warn", "error"), "log-level", "least level to log: debug, info, warn, error")
	flags.Var(choiceValue(&s.logFormat, "auto", "text", "json"), "log-format", "text, json, or auto: text on a terminal")
	flags.Var(sizeValue(&s.journalSegment, engine.MinJournalSegment, "auto"), "journal-segment", "size of a new journal segment on each drive")
	flags.Var(sizeValue(&s.bulkSegment, engine.MinBulkSegment, "auto"), "bulk-segment", "size of a new bulk segment on each drive")
	flags.Var(sizeValue(&s.healRate, 1<<20, "all"), "heal-rate", "bytes a second that healing and moving shards may write; all is no limit but that clients go first")
	flags.Var(numberValue(&s.balance, 1, 100, "never"), "balance",
		"move what is stored to emptier drives when the fullest is fuller than the emptiest by so many percent of what a drive can hold")
	flags.Var(switchValue(&s.replaceEmpty), "replace-empty",
		"take an empty directory where a drive of the store was as its replacement; without this it is left alone, for its file system may not be mounted")
	flags.Var(numberValue(&s.scrubDays, 1, 3650, "never"), "scrub-days", "verify every segment within so many days")
	flags.Var(sizeValue(&s.scrubRate, 1<<20, "auto"), "scrub-rate", "bytes a second that verifying may read; auto is 100MiB")
	flags.Var(durationValue(&s.rulesDay, time.Second, engine.Day), "lifecycle-day", "what lifecycle rules take for a day, so that a test need not wait for one")
	if err := flags.MarkHidden("lifecycle-day"); err != nil {
		panic(err)
	}
	flags.Var(textValue(&s.config, "FILE"), "config", "YAML file with any of these settings, and drives")
	flags.Lookup("replace-empty").NoOptDefVal = "true"
	s.flags = flags
	return s, flags
}

// check looks at the settings together, once each of them is known to be well-formed.
func (s *settings) check() error {
	switch {
	case len(s.drives) == 0:
		return fmt.Errorf("no drives: name at least one directory, such as /mnt/nvme{1...6}")
	case s.parity >= len(s.drives):
		return fmt.Errorf("--parity %d needs more than %s: parity and at least one data shard lie on different drives",
			s.parity, plural(len(s.drives), "drive"))
	case len(s.tlsCert) != len(s.tlsKey):
		return fmt.Errorf("--tls-cert and --tls-key go together: there are %d of one and %d of the other", len(s.tlsCert), len(s.tlsKey))
	case len(s.tlsCert) == 0 && s.tlsAddress != "":
		return fmt.Errorf("--tls-address needs --tls-cert and --tls-key")
	case len(s.tlsCert) == 0 && s.adminClientCA != "":
		return fmt.Errorf("--admin-client-ca needs --tls-cert and --tls-key: without TLS clients show no certificates")
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// A value is one setting as text: what pflag wants of a flag, and what serves the environment and the file as well.
type value struct {
	set  func(string) error
	text func() string
	kind string // Shown in the usage.
	list bool   // Every Set adds one.

	source string // Where it was set, if not by a flag.
}

func (v *value) Set(s string) error { return v.set(s) }
func (v *value) String() string {
	if v.text == nil { // A zero value, which pflag asks for what it would print.
		return ""
	}
	return v.text()
}
func (v *value) Type() string { return v.kind }

func textValue(p *string, kind string) *value {
	return &value{kind: kind, text: func() string { return *p }, set: func(s string) error {
		if s == "" {
			return fmt.Errorf("is empty")
		}
		*p = s
		return nil
	}}
}

// filesValue adds a file each time.
func filesValue(p *[]string) *value {
	return &value{kind: "FILE", list: true, text: func() string { return strings.Join(*p, ",") }, set: func(s string) error {
		if s == "" {
			return fmt.Errorf("is empty")
		}
		*p = append(*p, s)
		return nil
	}}
}

// switchValue takes true and false, and is on by its name alone on the command line.
func switchValue(p *bool) *value {
	return &value{kind: "BOOL", text: func() string { return strconv.FormatBool(*p) }, set: func(s string) error {
		on, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		*p = on
		return nil
	}}
}

func urlValue(p *string) *value {
	return &value{kind: "URL", text: func() string { return *p }, set: func(s string) error {
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%q is not a URL such as https://logs.example.com/penstock", s)
		}
		*p = s
		return nil
	}}
}

func choiceValue(p *string, choices ...string) *value {
	return &value{kind: "NAME", text: func() string { return *p }, set: func(s string) error {
		if !slices.Contains(choices, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(choices, ", "))
		}
		*p = s
		return nil
	}}
}

// numberValue takes a number, or the word that stands for unset.
func numberValue(p *int, least, most int, word string) *value {
	return &value{kind: "N", set: func(s string) error {
		if s == word {
			*p = unset
			return nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q is not a number from %d to %d, nor %q", s, least, most, word)
		}
		*p = n
		return nil
	}, text: func() string {
		if *p == unset {
			return word
		}
		return strconv.Itoa(*p)
	}}
}

// durationValue takes a time such as 10s.
func durationValue(p *time.Duration, least, most time.Duration) *value {
	return &value{kind: "TIME", set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("%q is not a time from %v to %v, such as 10s", s, least, most)
		}
		*p = d
		return nil
	}, text: func() string { return p.String() }}
}

// sizeValue takes a number of bytes, or the word that stands for a size chosen at start.
func sizeValue(p *int64, least int64, word string) *value {
	return &value{kind: "SIZE", set: func(s string) error {
		if s == word {
			*p = 0
			return nil
		}
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		if n < least {
			return fmt.Errorf("%s is less than the %s it takes", s, formatSize(least))
		}
		*p = n
		return nil
	}, text: func() string {
		if *p == 0 {
			return word
		}
		return formatSize(*p)
	}}
}

// addressValue takes HOST:PORT with a numeric port; the host may be empty.
func addressValue(p *string) *value {
	return &value{kind: "HOST:PORT", text: func() string { return *p }, set: func(s string) error {
		_, port, err := net.SplitHostPort(s)
		if err != nil {
			return fmt.Errorf("%q is not HOST:PORT", s)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("port of %q is not a number from 0 to 65535", s)
		}
		*p = s
		return nil
	}}
}

// networksValue adds a network each time, or a single address.
func networksValue(p *[]netip.Prefix) *value {
	return &value{kind: "NETWORK", list: true, text: func() string {
		var all []string
		for _, network := range *p {
			all = append(all, network.String())
		}
		return strings.Join(all, ",")
	}, set: func(s string) error {
		network, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is not a network such as 10.0.0.0/8, or an address", s)
		}
		*p = append(*p, network.Masked())
		return nil
	}}
}

// domainsValue adds a domain each time; below it, a host name's first label is the bucket.
func domainsValue(p *[]string) *value {
	return &value{kind: "NAME", list: true, text: func() string { return strings.Join(*p, ",") }, set: func(s string) error {
		domain := strings.ToLower(strings.Trim(s, "."))
		if domain == "" || strings.ContainsAny(domain, "/:@ ") || net.ParseIP(domain) != nil {
			return fmt.Errorf("%q is not a domain name", s)
		}
		if !slices.Contains(*p, domain) {
			*p = append(*p, domain)
		}
		return nil
	}}
}
