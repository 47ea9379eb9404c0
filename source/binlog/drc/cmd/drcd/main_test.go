package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

// start runs the program, and returns the URL that it prints.
func start(t *testing.T, args ...string) string {
	t.Helper()
	printed, printing := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	flags := flag.NewFlagSet("drcd", flag.ContinueOnError)
	go func() {
		err := run(ctx, flags, append([]string{"-addr", "127.0.0.1:0"}, args...), printing, io.Discard)
		_ = printing.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	url, err := bufio.NewReader(printed).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

func get(t *testing.T, url string) io.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp.Body
}

// recorded returns lines of a stream: at least that many, up to the end of a transaction.
func recorded(t *testing.T, url string, lines int) []byte {
	t.Helper()
	var all bytes.Buffer
	for s := bufio.NewScanner(get(t, url)); s.Scan(); {
		all.Write(append(s.Bytes(), '\n'))
		var r drc.Record
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if lines--; lines <= 0 && r.Type == drc.Commit {
			return all.Bytes()
		}
	}
	t.Fatalf("the stream ended: %s", &all)
	return nil
}

func TestGeneratedTopicsAreServedAndRecordedAndServedAgain(t *testing.T) {
	url := start(t, "-rate", "0", "-rows", "500", "-topics", "2", "-tables", "3")
	topics, err := io.ReadAll(get(t, url))
	if err != nil || bytes.Count(topics, []byte("\n")) != 2 {
		t.Fatalf("topics: %s, %v", topics, err)
	}
	first := recorded(t, url+"/topic-2/records", 300)
	file := filepath.Join(t.TempDir(), "shop.jsonl")
	if err := os.WriteFile(file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, "-file", "shop="+file, "-rate", "0")
	want := bytes.Count(first, []byte("\n")) - bytes.Count(first, []byte("heartbeat"))
	second := recorded(t, again+"/shop/records", want)
	rows := func(text []byte) string {
		var rows strings.Builder
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, `"type":"row"`) {
				rows.WriteString(line)
			}
		}
		return rows.String()
	}
	if rows(first) != rows(second) || rows(first) == "" {
		t.Errorf("recorded:\n%s\nserved:\n%s", first, second)
	}
}

func TestWrongFlagsAndFilesAreErrors(t *testing.T) {
	for args, want := range map[string]string{
		"-file shop":                 "want TOPIC=FILE",
		"topic":                      "unexpected argument",
		"-rows -1 -addr 127.0.0.1:0": "negative",
		"-file shop=missing.jsonl -addr 127.0.0.1:0": "missing.jsonl",
		"-addr nowhere": "nowhere",
		"-log a:b":      "a:b",
	} {
		flags := flag.NewFlagSet("drcd", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		err := run(t.Context(), flags, strings.Fields(args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
