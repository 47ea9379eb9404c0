package drc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
)

// log is a topic as a log of row changes. It implements [demux.Log]. Its places are checkpoints.
//
// Owns: two goroutines of its turn.
type log struct {
	cfg        Config
	service    *url.URL
	topic      string
	subscriber string

	waits   atomic.Bool // another subscriber is active
	running sync.WaitGroup
	taking  chan struct{}   // one in it while a turn is taken; guards turn
	turn    *turn           // the last one; nil: none yet
	closed  context.Context //nolint:containedctx // ends with the log
	shut    context.CancelFunc
}

func newLog(service *url.URL, topic, subscriber string, cfg Config) *log {
	l := &log{cfg: cfg, service: service, topic: topic, subscriber: subscriber, taking: make(chan struct{}, 1)}
	l.closed, l.shut = context.WithCancel(context.Background())
	return l
}

var (
	errClosed    = errors.New("drc: the source is closed")
	errRefused   = errors.New("the request was refused")
	errMalformed = errors.New("the service does not follow the protocol")
	errLogs      = errors.New("checkpoints of different logs cannot be compared")
)

// Identity implements [demux.Log]. It waits until this process is the active subscriber: before that nothing may be claimed.
func (l *log) Identity(ctx context.Context) (string, error) {
	t, err := l.turnNow(ctx)
	if err != nil {
		return "", err
	}
	name, _, err := cutPlace(demux.Place(t.began.Oldest))
	return name + l.Filter(), err
}

// Filter implements [demux.Log].
func (l *log) Filter() string {
	if len(l.cfg.Tables) == 0 {
		return ""
	}
	return fmt.Sprintf(" tables %q", slices.Sorted(slices.Values(l.cfg.Tables)))
}

// Start implements [demux.Log].
func (l *log) Start(ctx context.Context) (demux.Place, error) {
	t, err := l.turnNow(ctx)
	if err != nil {
		return "", err
	}
	if l.cfg.FromEnd {
		return demux.Place(t.began.End), nil
	}
	name, first, err := cutPlace(demux.Place(t.began.Oldest))
	if err != nil {
		return "", err
	}
	_, last, err := cutPlace(demux.Place(t.began.End))
	if first > 0 {
		first += (last - first) / 8 // the oldest may be gone soon
	}
	return joinPlace(name, first), err
}

// Tables implements [demux.Log].
func (l *log) Tables(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	resp, err := l.do(ctx, http.MethodGet, l.service.JoinPath("topics"))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var info TopicInfo
		switch err := d.Decode(&info); {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("topic %s: %w: it is not in the list of topics", l.topic, errRefused)
		case err != nil:
			return nil, fmt.Errorf("topic %s: read the list of topics: %w", l.topic, err)
		}
		if info.Topic == l.topic {
			return slices.DeleteFunc(info.Tables, func(name string) bool { return !l.cfg.wants(name) }), nil
		}
	}
}

// Open implements [demux.Log]. A row has all that is to know of its table, so there is no state.
func (l *log) Open(ctx context.Context, after demux.Place, _ map[string]demux.Known) (demux.Reader, error) {
	name, _, err := cutPlace(after)
	if err != nil {
		return nil, err
	}
	t, err := l.turnNow(ctx)
	if err != nil {
		return nil, err
	}
	s, err := l.open(ctx, t.ctx, string(after))
	if err != nil {
		return nil, err
	}
	return &logReader{lines: s, turn: t, log: l, name: name, tables: make(map[string]*definition)}, nil
}

// Wanted implements [demux.Log].
func (l *log) Wanted(table string) bool { return l.cfg.wants(table) }

// Reached implements [demux.Log].
func (l *log) Reached(at, want demux.Place) (bool, error) {
	lowest, err := l.Lowest(at, want)
	return lowest == want, err
}

// Lowest implements [demux.Log].
func (l *log) Lowest(places ...demux.Place) (demux.Place, error) {
	var lowest int64
	var name string
	for i, p := range places {
		of, n, err := cutPlace(p)
		if i > 0 && err == nil && of != name {
			err = fmt.Errorf("%w: %s and %s: %s", errLogs, places[0], p, startAnew(l.topic))
		}
		if err != nil {
			return "", err
		}
		if i == 0 || n < lowest {
			name, lowest = of, n
		}
	}
	return joinPlace(name, lowest), nil
}

// Temporary implements [demux.Log].
func (l *log) Temporary(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code == UnknownSubscriber
	}
	return !slices.ContainsFunc([]error{errClosed, errRefused, errMalformed, errLogs}, func(final error) bool { return errors.Is(err, final) })
}

// open opens a stream that ends with life. ctx bounds the wait for its begin.
func (l *log) open(ctx, life context.Context, from string) (*lines, error) {
	life, cancel := context.WithCancelCause(life)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	silent := time.AfterFunc(l.cfg.Timeout, func() { cancel(l.silence()) })
	defer silent.Stop()
	u := l.service.JoinPath("topics", l.topic, "records")
	u.RawQuery = url.Values{
		"from": {from}, "subscriber": {l.subscriber}, "timeout": {l.cfg.Timeout.String()}, "table": l.cfg.Tables,
	}.Encode()
	resp, err := l.do(life, http.MethodGet, u)
	if err != nil {
		cancel(err)
		return nil, err
	}
	s := &lines{log: l, ctx: life, cancel: cancel, body: resp.Body}
	s.silent = time.AfterFunc(l.cfg.Timeout, func() { cancel(l.silence()) })
	s.silent.Stop()
	s.decoder = json.NewDecoder(s)
	s.decoder.UseNumber() // exact
	return s, nil
}

func (l *log) silence() error {
	return fmt.Errorf("topic %s: nothing has come from the service for %v", l.topic, l.cfg.Timeout)
}

// do sends a request. An answer that tells of an error is an error.
func (l *log) do(ctx context.Context, method string, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", l.topic, err)
	}
	resp, err := l.cfg.Client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("topic %s: %w", l.topic, err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	const most = 64 << 10
	text, _ := io.ReadAll(io.LimitReader(resp.Body, most)) // as much of it as there is
	var r Record
	if err := json.Unmarshal(text, &r); err == nil && r.Error != nil {
		return nil, l.explain(r.Error)
	}
	err = fmt.Errorf("topic %s: %s %s: status %s: %.200q", l.topic, method, u.Redacted(), resp.Status, bytes.TrimSpace(text))
	if resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests {
		err = fmt.Errorf("%w: %w", errRefused, err)
	}
	return nil, err
}

// explain says what to do about an error of the service.
func (l *log) explain(e *Error) error {
	switch e.Code {
	case Gone:
		return fmt.Errorf("topic %s: %w: %w; %s", l.topic, demux.ErrGone, e, startAnew(l.topic))
	case Foreign, Ahead:
		return fmt.Errorf("topic %s: %w; if the log of before is lost, %s", l.topic, e, startAnew(l.topic))
	case BadRequest, UnknownTopic, UnknownSubscriber:
	}
	return fmt.Errorf("topic %s: %w", l.topic, e)
}

func startAnew(topic string) string {
	return fmt.Sprintf("to begin anew without the rows between, delete all progress of streams %s/… from the store", topic)
}

// cutPlace returns the log of a checkpoint, and the number of its transaction.
func cutPlace(p demux.Place) (name string, number int64, err error) {
	colon := strings.LastIndexByte(string(p), ':')
	if colon > 0 {
		number, err = strconv.ParseInt(string(p[colon+1:]), 10, 64)
	}
	if colon <= 0 || err != nil || number < 0 {
		return "", 0, fmt.Errorf("%w: %.200q is no checkpoint TOPIC@LOG:NUMBER", errMalformed, string(p))
	}
	return string(p[:colon]), number, nil
}

func joinPlace(name string, number int64) demux.Place {
	return demux.Place(name + ":" + strconv.FormatInt(number, 10))
}
