package memory_test

import (
	"testing"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/memory"
)

func TestSinkReturnsMessagesByPartitionAndKey(t *testing.T) {
	s := memory.New()
	w, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err == nil {
		t.Error("Close of a sink with an open writer returned no error")
	}
	ms := []keystrand.Message{
		{Stream: "s", Partition: 1, Key: []byte("a"), Value: []byte("1"), Headers: []keystrand.Header{{Key: "h"}}},
		{Stream: "s", Partition: 2, Key: []byte("a"), Value: []byte("2")},
		{Stream: "t", Partition: 1, Value: []byte("3")},
	}
	if err := w.Write(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	ms[0].Headers[0].Key = "changed"
	if got := s.Partition("s", 1); len(got) != 1 || string(got[0].Value) != "1" || got[0].Headers[0].Key != "h" {
		t.Errorf("partition s/1 = %+v", got)
	}
	if got := s.Key("a"); len(got) != 2 || string(got[1].Value) != "2" {
		t.Errorf("key a = %+v", got)
	}
	if got := s.Key(""); len(got) != 0 {
		t.Errorf("key \"\" = %+v, want none: a message without a key is not one with an empty key", got)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err == nil {
		t.Error("the second Close of the writer returned no error")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(s.Messages()) != 3 {
		t.Errorf("a closed sink has %d messages, want 3", len(s.Messages()))
	}
}
