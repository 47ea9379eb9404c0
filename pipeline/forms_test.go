package pipeline_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source"
)

// full returns a snapshot with a value in each field whose form is not obvious.
func full(key string) pipeline.Snapshot {
	at := time.Date(2026, 12, 1, 14, 0, 0, 123456789, time.UTC)
	k := pipeline.KeySnapshot{
		Key: keystrand.Lane(key).String(), Waiting: 5000, Offset: 1 << 60, Age: 32 * time.Second, Since: at, Attempt: 2, Why: pipeline.WhyRetry,
		Err: "no leader", Until: at.Add(time.Minute),
	}
	return pipeline.Snapshot{
		Name: "saves", State: pipeline.Running, At: at, System: "kafka", Group: "saves", Servers: []string{"broker:9092"},
		Timing: pipeline.Timing{DrainTimeout: 20 * time.Second}, Busy: 90 * time.Minute, Bottleneck: pipeline.BottleneckOrder,
		Partitions: []pipeline.PartitionSnapshot{{
			ID: source.ID{Stream: "comments", Partition: 3, Epoch: 7}, CommitErr: errors.New("no coordinator"), OldestAge: 1500 * time.Millisecond,
			AheadRanges: []commit.Range{{From: 5, To: 9}}, Waits: pipeline.WaitKey,
			Leaving: &pipeline.LeavingSnapshot{Cause: keystrand.ErrLeaving, Since: at},
			Oldest:  &k, HotKeys: []pipeline.KeySnapshot{k}, StuckKeys: []string{k.Key},
			Diverting: pipeline.DivertSnapshot{Oldest: time.Hour, Err: errors.New("disk full"), Since: at},
			Strands:   []pipeline.StrandSnapshot{{Key: k.Key, State: pipeline.StrandHeld, Age: time.Minute}},
		}},
		Source: source.Report{State: "member", Trouble: []source.Trouble{{What: "fetch", Err: errors.New("timed out"), Since: at}}},
		Sinks:  []pipeline.SinkTrouble{{Sink: "topic out", Since: at, Err: errors.New("not enough replicas")}},
	}
}

func TestJSONOfASnapshotIsReadable(t *testing.T) {
	text, err := json.Marshal(full("post-9"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"State":"running"`, `"Busy":"1h30m0s"`, `"DrainTimeout":"20s"`, `"Bottleneck":"order"`, `"CommitErr":"no coordinator"`, `"OldestAge":"1.5s"`,
		`"Waits":"KeyShare"`, `"Why":"its next attempt"`, `"Key":"post-9"`, `"Age":"32s"`, `"State":"held"`, `"Err":"disk full"`, `"Oldest":"1h0m0s"`,
		`"What":"fetch","Err":"timed out"`, `"Err":"not enough replicas"`, `"Cause":"` + keystrand.ErrLeaving.Error() + `"`, `"Offset":1152921504606846976`,
		`"AheadRanges":[{"From":5,"To":9}]`, `"At":"2026-12-01T14:00:00.123456789Z"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	text, err = json.Marshal(pipeline.Event{Kind: pipeline.EventCommitFailed, Took: time.Second, Err: errors.New("no")})
	if err != nil || !strings.Contains(string(text), `"Kind":"commit failed"`) || !strings.Contains(string(text), `"Took":"1s"`) || !strings.Contains(string(text), `"Err":"no"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestConstantsAreReadBackByTheirNames(t *testing.T) {
	for _, last := range []interface {
		MarshalText() ([]byte, error)
		String() string
	}{
		pipeline.Stopped, pipeline.WaitDivert, pipeline.WhyHeld, pipeline.BottleneckDivert, pipeline.StrandClosing, pipeline.EventStopping,
	} {
		of := reflect.TypeOf(last)
		seen := map[string]bool{}
		for v := reflect.New(of).Elem(); ; increment(v) {
			text, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			back := reflect.New(of)
			if err := json.Unmarshal(text, back.Interface()); err != nil || !back.Elem().Equal(v) || seen[string(text)] {
				t.Errorf("%v: %s is read as %v, %v", of, text, back.Elem(), err)
			}
			seen[string(text)] = true
			if v.Interface() == any(last) {
				break
			}
		}
		if err := json.Unmarshal([]byte(`"unknown"`), reflect.New(of).Interface()); err == nil {
			t.Errorf("%v: there is a constant named unknown", of)
		}
	}
}

func increment(v reflect.Value) {
	if v.CanInt() {
		v.SetInt(v.Int() + 1)
	} else {
		v.SetUint(v.Uint() + 1)
	}
}

// Keys are any bytes. Their text in the JSON gives the bytes back, and a program that reads the snapshot gets what Go code gets.
func FuzzJSONOfASnapshotLosesNothing(f *testing.F) {
	for _, key := range []string{
		"", "post-9", `"quoted"`, "\xff\xfe", "\x00\n\r\t", " space ", "<script>alert(1)</script>", "\u2028\u2029", "\ufffd", "é€😀", "\\u0041", `"\xff"`, "a\xffb",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		want := full(key)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got pipeline.Snapshot
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		lane, err := keystrand.ParseLane(got.Partitions[0].Oldest.Key)
		if err != nil || string(lane) != key {
			t.Errorf("key %q is read as %q, %v", key, lane, err)
		}
		again, err := json.Marshal(got)
		if err != nil || string(again) != string(text) {
			t.Errorf("read back %s, %v\nwant      %s", again, err, text)
		}
		if !reflect.DeepEqual(got.Partitions[0].HotKeys, want.Partitions[0].HotKeys) || got.Timing != want.Timing || got.Busy != want.Busy {
			t.Errorf("read back %+v\nwant %+v", got, want)
		}
	})
}
