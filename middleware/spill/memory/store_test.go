package memory_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
	"github.com/keystrand/keystrand/middleware/spill/memory"
	"github.com/keystrand/keystrand/middleware/spill/spilltest"
)

func TestStoreKeepsItsContract(t *testing.T) {
	for _, c := range spilltest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memory.New()
				c.Test(t, &spilltest.Env{
					Open: func() (spill.Store, error) { return s, nil },
					Kill: func(ctx context.Context, epoch int64, n int) (int, error) { return kill(ctx, s, epoch, n) },
				})
				if n := s.Logs(); n != 0 {
					t.Errorf("%d logs are open", n)
				}
			})
		})
	}
}

// kill ends an Append of AppendNumbered in its middle.
func kill(ctx context.Context, s *memory.Store, epoch int64, n int) (int, error) {
	var acked acks
	s.SetFault(func(_ context.Context, c memory.Call) error {
		if c.Op == memory.Append && !c.Stored && int(acked) >= n {
			return &memory.PartError{N: n % (len(c.Records) + 1), Err: errKilled}
		}
		return nil
	})
	defer s.SetFault(nil)
	err := spilltest.AppendNumbered(ctx, s, "in", epoch, &acked)
	if !errors.Is(err, errKilled) {
		return 0, err
	}
	return int(acked), nil
}

type acks int

func (a *acks) Write(p []byte) (int, error) { *a++; return len(p), nil }

var errKilled = errors.New("killed")

func TestFaultsLoseRepliesAndStoreParts(t *testing.T) {
	ctx := t.Context()
	s := memory.New()
	o := spill.Owner{Stream: "in", Epoch: 1}
	l, _, err := s.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	var rs []spill.Record
	for i := range int64(3) {
		rs = append(rs, spill.Record{Key: "a", Message: keystrand.Message{Stream: "in", Offset: i}})
	}
	errFault := errors.New("fault")
	for _, c := range []struct {
		name  string
		fault func(c memory.Call) error
		want  int
	}{
		{"before", func(memory.Call) error { return errFault }, 0},
		{"part", func(memory.Call) error { return &memory.PartError{N: 2, Err: errFault} }, 2},
		{"lost reply", func(c memory.Call) error {
			if c.Stored {
				return errFault
			}
			return nil
		}, 3},
	} {
		s.SetFault(func(_ context.Context, call memory.Call) error { return c.fault(call) })
		if err := l.Append(ctx, rs); !errors.Is(err, errFault) {
			t.Errorf("%s: Append = %v, want the fault", c.name, err)
		}
		if _, err := l.Read(ctx, "a", -1, spill.Size{}); !errors.Is(err, errFault) {
			t.Errorf("%s: Read = %v, want the fault", c.name, err)
		}
		if _, _, err := s.Open(ctx, o); !errors.Is(err, errFault) {
			t.Errorf("%s: Open = %v, want the fault", c.name, err)
		}
		s.SetFault(nil)
		if l, _, err = s.Open(ctx, o); err != nil { // the Open whose reply was lost has claimed the partition
			t.Fatal(err)
		}
		ms, err := l.Read(ctx, "a", -1, spill.Size{})
		if err != nil || len(ms) != c.want {
			t.Errorf("%s: %d records, %v; want %d", c.name, len(ms), err, c.want)
		}
	}
	s.SetFault(func(context.Context, memory.Call) error { return &memory.PartError{N: 1, Err: errFault} })
	if err := l.Save(ctx, []spill.Mark{{Key: "a", Through: 0}, {Key: "a", Through: 1}}); !errors.Is(err, errFault) {
		t.Errorf("Save = %v, want the fault", err)
	}
	if got := s.Strands("in", 0); !slices.ContainsFunc(got, func(s spill.Strand) bool { return s.Key == "a" && s.Mark == 0 }) {
		t.Errorf("strands = %+v, want the mark 0", got)
	}
}
