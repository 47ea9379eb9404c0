// Command hotpost shows what a hot key costs the others, and how a log per key keeps it from costing them anything.
//
// A forum gets comments on thousands of posts, and one post goes viral: it gets ten times the comments that its handler can
// take, one after the other. The program runs this load on the same service four times: without the viral post, without a
// store, with Divert, and with a handler of batches. In the third run it kills the process with kill -9. At the end it
// prints a table: how late the comments on the other posts were, and whether any comment was lost, out of order, or handled
// again.
//
//	go run ./examples/hotpost                    # an embedded broker; needs nothing but Go, and takes 65 s
//	go run ./examples/hotpost -svg hotpost.svg   # draws the curves, too
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/keystrand/keystrand/examples/internal/kafkabroker"
	"github.com/keystrand/keystrand/examples/internal/show"
)

func main() {
	if err := run(flag.CommandLine, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "hotpost:", err)
		os.Exit(1)
	}
}

// run runs the demo, or one of its processes. It returns an error if something failed or a promise was broken.
func run(flags *flag.FlagSet, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	brokers := flags.String("brokers", "", "addresses host:port of a real Kafka, separated by commas (default: start an embedded broker)")
	asJSON := flags.Bool("json", false, "print the result as one JSON object; progress goes to standard error")
	svg := flags.String("svg", "", "draw the curves to this file")
	member := flags.String("member", "", "internal, the demo starts itself with it: read TOPIC/one or TOPIC/batch")
	store := flags.String("store", "", "internal: the file of a member's store")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: this program takes only flags, -h lists them", flags.Arg(0))
	}
	if *member != "" {
		s, err := parseMember(*member)
		if err != nil {
			return err
		}
		s.brokers, s.store = *brokers, *store
		return s.run(show.UntilInputEnds(stdin))
	}
	b, err := kafkabroker.New(*brokers, sessionTimeout)
	if err = errors.Join(err, checkFolder(*svg)); err != nil {
		return err
	}
	d := demo{broker: b, out: show.NewOutput(stdout), start: show.StartProcess, rates: tenfold}
	write := result.writeText
	if *asJSON {
		d.out, write = show.NewOutput(stderr), result.writeJSON
	}
	r, err := d.all()
	if err != nil {
		return err
	}
	if err := write(r, stdout); err != nil {
		return err
	}
	return cmp.Or(drawFile(*svg, r), r.Broken())
}

// checkFolder returns an error if a file cannot be created because its folder is missing.
func checkFolder(file string) error {
	if file == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return fmt.Errorf("-svg %q: there is no folder %s: create it, or choose another file", file, filepath.Dir(file))
	}
	return nil
}

func parseMember(text string) (service, error) {
	topic, r, _ := strings.Cut(text, "/")
	if topic == "" || reader(r) != oneByOne && reader(r) != inBatches {
		return service{}, fmt.Errorf("-member %q: use TOPIC/one or TOPIC/batch", text)
	}
	return service{topic: topic, group: topic, batches: reader(r) == inBatches}, nil
}
