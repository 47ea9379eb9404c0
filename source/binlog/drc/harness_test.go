package drc

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// pipes is a listener in memory, so that a server and its clients live in a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// service is a server with a client. It lives in a bubble.
type service struct {
	*Server
	pipes  *pipes
	client *http.Client
}

func serve(t *testing.T, cfg ServerConfig) *service {
	t.Helper()
	if cfg.Topics == nil {
		cfg.Topics = []string{"shop"}
	}
	if cfg.Log == "" {
		cfg.Log = "log1"
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	h := &http.Server{Handler: s}
	go func() { _ = h.Serve(p) }()
	t.Cleanup(func() { _ = h.Close() })
	return &service{Server: s, pipes: p, client: &http.Client{Transport: &http.Transport{DialContext: p.dial}}}
}

func (s *service) append(t *testing.T, records ...Record) {
	t.Helper()
	if err := s.Append("shop", records...); err != nil {
		t.Fatal(err)
	}
}

// open sends a request for records, and returns the response. Nobody reads its body yet.
func (s *service) open(t *testing.T, query string) *http.Response {
	t.Helper()
	return s.get(t, "/topics/shop/records?"+query)
}

func (s *service) get(t *testing.T, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://drc"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// post tells the server that the subscriber lives, and returns the status.
func (s *service) post(t *testing.T, subscriber string) int {
	t.Helper()
	url := "http://drc/topics/shop/subscribers/" + subscriber
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	s.client.CloseIdleConnections()
	return resp.StatusCode
}

// reader reads a stream in the background.
type reader struct {
	resp *http.Response

	mu      sync.Mutex
	records []Record
	err     error
}

func (s *service) read(t *testing.T, query string) *reader {
	t.Helper()
	return s.readPath(t, "/topics/shop/records?"+query)
}

func (s *service) readPath(t *testing.T, path string) *reader {
	t.Helper()
	r := &reader{resp: s.get(t, path)}
	if r.resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d: %v", path, r.resp.StatusCode, failureOf(t, r.resp))
	}
	go func() {
		d := json.NewDecoder(r.resp.Body)
		d.UseNumber()
		for {
			var record Record
			err := d.Decode(&record)
			r.mu.Lock()
			if r.err = err; err == nil {
				r.records = append(r.records, record)
			}
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	synctest.Wait()
	return r
}

// take waits until nothing moves, and returns what has come since the last call, heartbeats apart, and the last heartbeat.
func (r *reader) take() (records []Record, beat Record) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		if record.Type == Heartbeat {
			beat = record
		} else {
			records = append(records, record)
		}
	}
	r.records = nil
	return records, beat
}

// ended returns the error that ended the stream: io.EOF for an orderly end, nil if it goes on.
func (r *reader) ended() error {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *reader) close() {
	_ = r.resp.Body.Close()
	synctest.Wait()
}

// failureOf returns the error in the body of a response.
func failureOf(t *testing.T, resp *http.Response) *Error {
	t.Helper()
	if resp.StatusCode == http.StatusOK {
		t.Fatalf("%s: no error", resp.Request.URL)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil || r.Error == nil {
		t.Fatalf("body %q is no error: %v", text, err)
	}
	return r.Error
}

// row returns an insert into a table of one column.
func row(table string, value any) Record {
	return Record{
		Type: Row, Table: table, Kind: Insert, After: []any{value},
		Columns: []Column{{Name: "id", Type: "bigint"}}, Keys: []Key{{Name: "PRIMARY", Columns: []string{"id"}}},
	}
}

// short returns records in short: "2.1 a 7" is row 1 of transaction 2 with value 7 in table db.a, "2" the commit.
func short(records []Record) string {
	var b strings.Builder
	for i, r := range records {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(json.Number(itoa(r.Transaction)).String())
		switch r.Type {
		case Row:
			text, _ := json.Marshal(r.After[0])
			b.WriteString("." + itoa(int64(r.Index)) + " " + strings.TrimPrefix(r.Table, "db.") + " " + string(text))
		case DDL:
			b.WriteString("." + itoa(int64(r.Index)) + " " + r.Query)
		case Failure:
			b.WriteString(string(r.Error.Code))
		case Commit, Heartbeat:
		}
	}
	return b.String()
}

func itoa(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}
