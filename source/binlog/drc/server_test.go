package drc

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTopicsAreListedWithTheirTablesAndPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Topics: []string{"shop", "forum"}, Retain: 2})
		s.append(t, Record{Type: DDL, Database: "db", Query: "CREATE TABLE c (id int)", Tables: []string{"db.c"}})
		s.append(t, row("db.b", 1))
		s.append(t, row("db.a", 1))
		s.read(t, "subscriber=x")
		s.read(t, "subscriber=y")
		text, err := io.ReadAll(s.get(t, "/topics").Body)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"topic":"shop","log":"log1","oldest":"shop@log1:1","end":"shop@log1:3","records":2,` +
			`"tables":["db.a","db.b","db.c"],"active":"x","waiting":["y"]}
{"topic":"forum","log":"log1","oldest":"forum@log1:0","end":"forum@log1:0","records":0,"tables":[]}
`
		if string(text) != want {
			t.Errorf("topics:\n%swant:\n%s", text, want)
		}
	})
}

func TestATransactionIsSentWholeWithItsCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		s.append(t, Record{
			Type: Row, Time: at, Table: "shop.orders", Kind: Update,
			Before: []any{uint64(1<<64 - 1), "<a>", nil, []byte{0, 255}, 0.1}, After: []any{uint64(1), nil, "1.50", []byte{}, 1e300},
			Columns: []Column{
				{Name: "id", Type: "bigint", Unsigned: true},
				{Name: "code", Type: "varchar", Collation: "utf8mb4_bin"},
				{Name: "amount", Type: "decimal"},
				{Name: "hash", Type: "varbinary"},
				{Name: "f", Type: "double", Generated: true},
			},
			Keys: []Key{{Name: "PRIMARY", Columns: []string{"id"}}},
		})
		lines := bufio.NewScanner(s.open(t, "subscriber=x").Body)
		for _, want := range []string{
			`{"type":"heartbeat","time":"2000-01-01T00:00:00Z","checkpoint":"shop@log1:0","subscriber":"x","state":"active",` +
				`"oldest":"shop@log1:0","end":"shop@log1:1"}`,
			`{"type":"row","time":"2026-01-02T03:04:05.000000006Z","tx":1,"index":1,"table":"shop.orders","kind":"update",` +
				`"before":[18446744073709551615,"<a>",null,"AP8=",0.1],"after":[1,null,"1.50","",1e+300],` +
				`"columns":[{"name":"id","type":"bigint","unsigned":true},{"name":"code","type":"varchar","collation":"utf8mb4_bin"},` +
				`{"name":"amount","type":"decimal"},{"name":"hash","type":"varbinary"},{"name":"f","type":"double","generated":true}],` +
				`"keys":[{"name":"PRIMARY","columns":["id"]}]}`,
			`{"type":"commit","time":"2026-01-02T03:04:05.000000006Z","tx":1,"records":1,"checkpoint":"shop@log1:1"}`,
		} {
			if lines.Scan(); lines.Text() != want {
				t.Errorf("line:\n%s\nwant:\n%s", lines.Text(), want)
			}
		}
	})
}

func TestAStatementIsSentToTheTablesThatItConcerns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		s.append(t, Record{Type: DDL, Query: "RENAME", Tables: []string{"db.a", "db.b"}})
		s.append(t, Record{Type: DDL, Query: "ALTER", Tables: []string{"db.c"}})
		s.append(t, Record{Type: DDL, Query: "???"})
		r := s.read(t, "table=db.b")
		if got, _ := r.take(); short(got) != "1.1 RENAME, 1, 3.1 ???, 3" {
			t.Errorf("got %s", short(got))
		}
	})
}

func TestTheCheckpointOfHeartbeatsPassesRowsThatAreNotSelected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		r := s.read(t, "table=db.idle")
		for range 200 {
			s.append(t, row("db.busy", 1))
		}
		time.Sleep(4 * time.Second)
		if got, beat := r.take(); short(got) != "64, 128, 192" || beat.Checkpoint != "shop@log1:200" {
			t.Errorf("records %s, heartbeat %+v", short(got), beat)
		}
	})
}

func TestACheckpointThatIsGoneNamesTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Retain: 3})
		for n := range 10 {
			s.append(t, row("db.a", n))
		}
		resp := s.open(t, query("from", "shop@log1:9", "from.db.a", "shop@log1:6"))
		e := failureOf(t, resp)
		if resp.StatusCode != http.StatusGone || e.Code != Gone || e.Oldest != "shop@log1:7" || e.Table != "db.a" ||
			e.Checkpoint != "shop@log1:6" || !strings.Contains(e.Message, "shop@log1:7") {
			t.Errorf("status %d, %+v", resp.StatusCode, e)
		}
		for _, from := range []string{e.Oldest, "oldest"} {
			r := s.read(t, query("from", from))
			if got, _ := r.take(); short(got) != "8.1 a 7, 8, 9.1 a 8, 9, 10.1 a 9, 10" {
				t.Errorf("from %s: %s", from, short(got))
			}
			r.close()
		}
	})
}

func TestACheckpointThatGoesWhileItsSubscriberWaitsEndsItsStreamWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Retain: 3})
		a, b := s.read(t, "subscriber=a"), s.read(t, "subscriber=b&from=shop@log1:0")
		for n := range 10 {
			s.append(t, row("db.a", n))
			a.take()
		}
		if got, _ := b.take(); len(got) != 0 || b.ended() != nil {
			t.Errorf("while it waits: %s, ended %v", short(got), b.ended())
		}
		a.close()
		got, _ := b.take()
		if short(got) != "0gone" || got[0].Error.Oldest != "shop@log1:7" || !errors.Is(b.ended(), io.EOF) {
			t.Errorf("got %+v, ended %v", got, b.ended())
		}
	})
}

func TestAReaderThatIsTooSlowIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{Retain: 3})
		resp := s.open(t, "timeout=1h")
		for n := range 3000 { // more than all buffers hold
			s.append(t, row("db.a", n))
			synctest.Wait()
		}
		var last Record
		next := 0
		for d := json.NewDecoder(resp.Body); ; {
			var r Record
			if err := d.Decode(&r); err != nil {
				break
			}
			if r.Type == Commit {
				if next++; r.Transaction != int64(next) {
					t.Fatalf("transaction %d after %d", r.Transaction, next-1)
				}
			}
			last = r
		}
		if last.Error == nil || last.Error.Code != Gone || last.Error.Oldest != "shop@log1:2997" || next == 0 {
			t.Errorf("%d transactions, then %+v", next, last)
		}
	})
}

func TestATopicKeepsNoMoreThanItRetains(t *testing.T) {
	s, err := NewServer(ServerConfig{Topics: []string{"shop"}, Retain: 100})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		records := make([]Record, 1+n%7)
		for i := range records {
			records[i] = row("db.a", n)
		}
		if err := s.Append("shop", records...); err != nil {
			t.Fatal(err)
		}
		kept := s.topics["shop"]
		sum := 0
		for _, tx := range kept.kept {
			sum += len(tx.lines)
		}
		if sum > 100 || sum != kept.records || cap(kept.kept) > 1000 {
			t.Fatalf("%d records kept, %d counted, room for %d transactions", sum, kept.records, cap(kept.kept))
		}
	}
}

func TestBadRequestsAreErrorsWithACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerConfig{})
		s.append(t, row("db.a", 1))
		for path, want := range map[string]Code{
			"/topics/none/records":                           UnknownTopic,
			"/topics/shop/records?form=oldest":               BadRequest,
			"/topics/shop/records?from=":                     BadRequest,
			"/topics/shop/records?from=7":                    BadRequest,
			"/topics/shop/records?from=shop@log1:-1":         BadRequest,
			"/topics/shop/records?from=shop@log1:x":          BadRequest,
			"/topics/shop/records?from=%zz":                  BadRequest,
			"/topics/shop/records?from.db.a=none":            BadRequest,
			"/topics/shop/records?table=":                    BadRequest,
			"/topics/shop/records?table=db.[a":               BadRequest,
			"/topics/shop/records?timeout=3":                 BadRequest,
			"/topics/shop/records?timeout=1ms":               BadRequest,
			"/topics/shop/records?timeout=-1s":               BadRequest,
			"/topics/shop/records?timeout=9999h":             BadRequest,
			"/topics/shop/records?from=shop@log2:1":          Foreign,
			"/topics/shop/records?from=forum@log1:1":         Foreign,
			"/topics/shop/records?from=shop@log1:01":         Foreign,
			"/topics/shop/records?from=shop@log1:2":          Ahead,
			"/topics/shop/records?from.db.a=shop@log1:2":     Ahead,
			"/topics/shop/records?from=shop@log1:" + "9e9":   BadRequest,
			"/topics/shop/records?from=shop@log1:1&table=\\": BadRequest,
		} {
			resp := s.get(t, path)
			if e := failureOf(t, resp); e.Code != want || resp.StatusCode != e.status() || e.Message == "" {
				t.Errorf("%s: status %d, %+v, want %s", path, resp.StatusCode, e, want)
			}
		}
		if info := s.topics["shop"].info(); info.Active != "" || info.Waiting != nil {
			t.Errorf("subscribers are left: %+v", info)
		}
		if resp := s.get(t, "/topics/shop/subscribers/x"); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET of a subscriber: %d", resp.StatusCode)
		}
		if status := s.post(t, "x"); status != http.StatusNotFound {
			t.Errorf("POST of an unknown subscriber: %d", status)
		}
	})
}

func TestAppendRefusesWhatNobodyCouldRead(t *testing.T) {
	s, err := NewServer(ServerConfig{Topics: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	good := row("db.a", 1)
	change := func(f func(r *Record)) Record {
		r := good
		f(&r)
		return r
	}
	for name, records := range map[string][]Record{
		"nothing":         {},
		"type":            {good, change(func(r *Record) { r.Type = Commit })},
		"kind":            {change(func(r *Record) { r.Kind = "upsert" })},
		"table":           {change(func(r *Record) { r.Table = "a" })},
		"no image":        {change(func(r *Record) { r.After = nil })},
		"short image":     {change(func(r *Record) { r.After = []any{} })},
		"second image":    {change(func(r *Record) { r.Before = []any{1} })},
		"missing before":  {change(func(r *Record) { r.Kind = Update })},
		"not UTF-8":       {row("db.a", "\xff")},
		"bytes in an int": {row("db.a", []byte("x"))},
		"not JSON":        {row("db.a", func() {})},
		"empty statement": {{Type: DDL}},
	} {
		if err := s.Append("shop", records...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := s.Append("forum", good); err == nil {
		t.Error("unknown topic: no error")
	}
	if info := s.topics["shop"].info(); info.Records != 0 {
		t.Errorf("something was appended: %+v", info)
	}
}

func TestNewServerReturnsAllErrorsOfItsConfig(t *testing.T) {
	_, err := NewServer(ServerConfig{Topics: []string{"a/b", "ok", "ok", ".."}, Log: "x:y", Retain: -1})
	for _, part := range []string{`"a/b"`, `"ok"`, `".."`, `"x:y"`, "Retain -1"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not have %s", err, part)
		}
	}
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("no topics: no error")
	}
}

// A write that cannot be interrupted would keep the turn of a dead subscriber for ever.
func TestAServerThatCannotInterruptWritesRefusesStreams(t *testing.T) {
	s, err := NewServer(ServerConfig{Topics: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/topics/shop/records", http.NoBody))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
}

func TestTheDocumentShowsRealRecords(t *testing.T) {
	text, err := os.ReadFile("../../../docs/drc.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Type]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `{"type"`) {
			continue
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		d.UseNumber()
		var r Record
		if err := d.Decode(&r); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		seen[r.Type] = true
		if again, err := r.encode(); err != nil || string(again) != line {
			t.Errorf("the server would write\n%sthe document has\n%s", again, line)
		}
	}
	for _, want := range []Type{Row, DDL, Commit, Heartbeat, Failure} {
		if !seen[want] {
			t.Errorf("the document shows no record of type %s", want)
		}
	}
}
