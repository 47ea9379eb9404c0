// Package show has the common parts of the quickstarts: everything except the broker and the code that a user copies. Other
// examples use its [Process], [Check] and [Output].
//
// A demo fills a topic with comments on posts and reads it twice: with one ordered consumer for each partition, then with
// keystrand. Halfway through the second reading it kills the reading process and starts another. Every handler reports
// when it begins and when it ends, and the demo checks these reports against what keystrand promises.
package show

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/keystrand/keystrand"
)

const (
	// Partitions is the number of partitions of the topic.
	Partitions = 8

	workers     = 100
	minMessages = 1_000 // with fewer, all may be handled before the process is killed
	maxMessages = 1_000_000
)

// A Demo has the parts of a quickstart program that this package lacks.
type Demo struct {
	// Broker returns the broker of the program's flags, or an error if the flags are invalid. It starts nothing and does
	// not connect.
	Broker func() (Broker, error)

	// Read reads a topic as the member says, until ctx ends.
	Read func(ctx context.Context, m Member) error

	start Starter // of tests; nil: StartProcess
}

// A Broker stores the comments.
type Broker interface {
	// Start starts the broker if it is part of the demo. It prints its steps to out.
	Start(ctx context.Context, out *Output) error
	// Fill creates the topic and writes the comments of Draw to it. It returns what Draw returned.
	Fill(ctx context.Context, topic string, messages int) (busiest int, err error)
	// Committed asks the broker which comments the group has committed. The group has no running member.
	Committed(ctx context.Context, topic, group string) (func(Comment) bool, error)
	// Flags returns the flags with which a member reaches this broker.
	Flags() []string
	// Freed returns a phrase: when another process gets the partitions of a killed one.
	Freed() string
	// Close stops what Start started.
	Close() error
}

// A Member is one process that reads the topic.
type Member struct {
	Topic   string
	Group   string
	Workers int
	Key     keystrand.KeyFunc // the messages of one key are handled in order
}

// Main runs the demo and ends the process with code 0, or with code 1 if something failed or a promise was broken. The
// caller has defined its own flags in flags; Main adds those that all demos have, and parses them.
func Main(flags *flag.FlagSet, d Demo) {
	if err := d.main(flags, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(flags.Name()), err)
		os.Exit(1)
	}
}

func (d Demo) main(flags *flag.FlagSet, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	messages := flags.Int("messages", 12_000, fmt.Sprintf("comments in the topic, from %d to %d", minMessages, maxMessages))
	asJSON := flags.Bool("json", false, "print the result as one JSON object; progress goes to standard error")
	member := flags.String("member", "", "internal, the demo starts itself with it: read TOPIC/GROUP/partition or TOPIC/GROUP/key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: this program takes only flags, -h lists them", flags.Arg(0))
	}
	if *messages < minMessages || *messages > maxMessages {
		return fmt.Errorf("-messages %d: use a number from %d to %d", *messages, minMessages, maxMessages)
	}
	if *member != "" {
		m, err := parseMember(*member)
		if err != nil {
			return err
		}
		return d.Read(UntilInputEnds(stdin), m)
	}
	b, err := d.Broker()
	if err != nil {
		return err
	}
	r := run{messages: *messages, broker: b, out: NewOutput(stdout), start: d.start}
	if d.start == nil {
		r.start = StartProcess
	}
	write := table.writeText
	if *asJSON {
		r.out, write = NewOutput(stderr), table.writeJSON
	}
	t, err := r.all()
	if err != nil {
		return err
	}
	return cmp.Or(write(t, stdout), t.Broken())
}

// The two readers that the demo compares.
const (
	perPartition = "partition"
	perKey       = "key"
)

func parseMember(text string) (Member, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return Member{}, fmt.Errorf("-member %q: use TOPIC/GROUP/partition or TOPIC/GROUP/key", text)
	}
	m := Member{Topic: parts[0], Group: parts[1]}
	switch parts[2] {
	case perPartition:
		m.Workers, m.Key = Partitions, keystrand.ByPartition
	case perKey:
		m.Workers, m.Key = workers, keystrand.ByKey
	default:
		return Member{}, fmt.Errorf("-member %q: use partition or key as the last part", text)
	}
	return m, nil
}
