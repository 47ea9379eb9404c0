package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/sink/kafka"
	source "github.com/keystrand/keystrand/source/kafka"
)

func TestLinesGoToTheFirstTopicAndTheOthersExist(t *testing.T) {
	lines, typing := io.Pipe()
	printed, printing := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(0, "comments,comments-dead", lines, printing) }()
	address, err := bufio.NewReader(printed).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(address)
	if _, err := io.WriteString(typing, "post-7 hello you\n"); err != nil {
		t.Fatal(err)
	}
	dead, err := kafka.New([]string{address}, "comments-dead", kafka.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Check(t.Context()); err != nil {
		t.Error(err)
	}
	src, err := source.New([]string{address}, "g", []string{"comments"}, source.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := pipeline.From(src).HandleFunc(func(_ context.Context, m *keystrand.Message) error {
		if string(m.Key) != "post-7" || string(m.Value) != "hello you" {
			t.Errorf("message %q %q", m.Key, m.Value)
		}
		cancel()
		return nil
	}).Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		t.Error(err)
	}
	_ = dead.Close()
	_ = typing.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
