package drc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"time"

	"github.com/keystrand/keystrand/internal/settings"
	"github.com/keystrand/keystrand/source/binlog/internal/names"
)

// Config has the optional settings of a source. The zero value is a good configuration.
type Config struct {
	// Tables are the wanted tables of all topics, as "database.table", or as patterns with *, ?, [a-z] and \. Default: all.
	Tables []string
	// FromEnd begins a topic without progress at its end. Default: false, at its oldest records. A topic that drops old records
	// begins an eighth of what it keeps later, because the oldest may be dropped while the source starts.
	FromEnd bool
	// Timeout is how long the service and this process wait for a sign of life of each other, from 100 ms to 1 h. Both give one
	// three times as often. Default: 10 s.
	Timeout time.Duration
	// Client sends the requests. Its Timeout must be 0, since it would end the streams. Default: a client of its own.
	Client *http.Client

	// TableBytes bounds the rows of one table that wait for Fetch. A table that exceeds it is read again later by a stream of its
	// own. Default: 8 MiB.
	TableBytes int
	// QueueBytes bounds the rows of all tables of a topic that wait for Fetch. Default: 64 MiB.
	QueueBytes int
	// CatchUp is the maximum number of tables of a topic that are read apart from the others at once. Default: 4.
	CatchUp int
	// HandOutUnreadable hands a statement that does not say which tables it concerns to every table, and goes on. Default: false,
	// every table stops at it with an error.
	HandOutUnreadable bool

	// Logger receives each change of state once. Default: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Client = cmp.Or(c.Client, &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}})
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// validate returns all errors of a configuration with defaults.
func (c Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("drc: "+format, args...)) }
	for name, n := range settings.Negative[int](c) {
		wrong("%s is negative: %d", name, n)
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		wrong("Timeout is %v: want %v to %v", c.Timeout, minTimeout, maxTimeout)
	}
	if c.Client.Timeout != 0 {
		wrong("the Timeout of Client is %v: it would end the streams, so set none", c.Client.Timeout)
	}
	for _, p := range c.Tables {
		if !validPattern(p) {
			wrong("table %q: %s", p, wantPattern)
		}
	}
	return errors.Join(errs...)
}

// wants reports whether a name is that of a wanted table.
func (c Config) wants(table string) bool {
	_, _, ok := names.Cut(table)
	return ok && selects(c.Tables, table)
}

const wantPattern = `want a name, or a pattern of *, ?, [a-z] and \`

func validPattern(p string) bool {
	_, bad := path.Match(p, "")
	return bad == nil && p != ""
}

// selects reports whether patterns select a table. None select all.
func selects(patterns []string, table string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, table) // the pattern was checked
		return ok || p == table
	})
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// checkNames returns all errors of a service's address and of the names of topics.
func checkNames(address string, topics []string) (*url.URL, error) {
	var errs []error
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("drc: the URL names no service: want http://host:port or https://host")) // it may have a password
	}
	if len(topics) == 0 {
		errs = append(errs, errors.New("drc: no topic is given: GET /topics lists them"))
	}
	for i, t := range topics {
		if !validName.MatchString(t) || slices.Contains(topics[:i], t) {
			errs = append(errs, fmt.Errorf("drc: topic %q: given twice, or has others than letters, digits, '.', '_' and '-'", t))
		}
	}
	return u, errors.Join(errs...)
}
