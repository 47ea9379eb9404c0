// Package docs has the documents. Its tests compile their programs.
package docs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsInDocumentsWork vets all Go programs in the documents, and runs those that are tests, in a module of their own
// that requires this one, as a user's does. A program is a block that begins with "package main", or README's first one.
func TestProgramsInDocumentsWork(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	root := module(t)
	programs := 0
	add := func(document string, n int, text string) {
		programs++
		name := "main.go"
		if strings.Contains(text, `"testing"`) {
			name = "main_test.go"
		}
		if !strings.Contains(text, "func main()") {
			text = strings.Replace(text, "package main", "package part", 1)
		}
		write(t, filepath.Join(root, fmt.Sprintf("%s-%d", filepath.Base(document), n), name), text)
	}
	for _, document := range documents {
		for n, block := range blocks(t, document) {
			if strings.HasPrefix(block, "package main") {
				add(document, n, block)
			}
		}
	}
	readme := blocks(t, "../README.md")
	add("README", 0, `package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

`+readme[1]+`)

func saveComment(context.Context, *keystrand.Message) error { return nil }

func run() error {
`+readme[0]+`}
`)
	if programs < 5 {
		t.Errorf("%d programs: blocks are not found", programs)
	}
	for _, command := range []string{"vet", "test"} {
		c := exec.CommandContext(t.Context(), "go", command, "./...")
		c.Dir = root
		c.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", command, err, out)
		}
	}
}

// module returns the folder of a new module that requires this one, and what this one requires.
func module(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	ours, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	required := strings.Replace(read(t, "../go.mod"), "module github.com/keystrand/keystrand\n", "module programs\n", 1)
	write(t, filepath.Join(root, "go.mod"), fmt.Sprintf("%s\nrequire github.com/keystrand/keystrand v0.0.0\nreplace github.com/keystrand/keystrand => %s\n", required, ours))
	write(t, filepath.Join(root, "go.sum"), read(t, "../go.sum"))
	return root
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// blocks returns the Go blocks of a document.
func blocks(t *testing.T, document string) (found []string) {
	t.Helper()
	for _, part := range strings.Split(read(t, document), "\n```go\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		found = append(found, block+"\n")
	}
	return found
}
