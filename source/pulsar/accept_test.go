// Virtual time: every test here makes a bubble, by the harness.

package pulsar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAddedAndDeletedPartitionsAreNoticed(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Start: Latest(), Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		p0 := m.accept()
		b.create("orders", 2)
		b.produce("orders-partition-1", numbered(0, 1)...)
		p1 := m.accept()
		if p1.ID().Partition != 1 {
			t.Fatalf("accepted %v", p1.ID())
		}
		read(t, p1, 1) // an added partition is read from its first message
		b.remove("orders")
		for _, p := range []*Partition{p0, p1} {
			if l := left(t, p); !l.Lost {
				t.Errorf("%v: leave = %+v, want lost", p.ID(), l)
			}
			_ = p.Release(t.Context())
		}
		if tr := m.s.Report().Trouble; len(tr) != 1 || !errors.Is(tr[0].Err, ErrTopicMissing) {
			t.Errorf("trouble = %v", tr)
		}
		if !strings.Contains(told.String(), `what="read persistent://public/default/orders" error="pulsar: the topic does not exist`) {
			t.Errorf("no line says that the topic is gone:\n%s", &told)
		}
		b.create("orders", 1)
		_ = m.accept().Release(t.Context())
	})
}

func TestDeletedTopicDiffersFromTheOneCreatedByItsLookUp(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		var told journal
		m := join(t, b, Config{Logger: slog.New(slog.NewTextHandler(&told, nil))}, "orders")
		p := m.accept()
		b.change(func() { b.creates = true })
		b.remove("orders")
		if l := <-p.Leaving(); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		_ = p.Release(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute-second)
		defer cancel()
		if q, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("accepted %v, %v", q, err)
		}
		if tr := m.s.Report().Trouble; len(tr) != 1 || !errors.Is(tr[0].Err, errGone) {
			t.Errorf("trouble = %v", tr)
		}
		if n := strings.Count(told.String(), errGone.Error()); n != 5 {
			t.Errorf("logged %d times in ten surveys, want once a minute:\n%s", n, &told)
		}
		b.create("orders", 1)
		_ = m.accept().Release(t.Context())
	})
}

func TestAcceptReturnsErrorsThatRetriesDoNotHeal(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   Config
		topic string
		set   func(b *fakeBroker)
		want  error
		says  []string
	}{
		{"no topic", Config{}, "absent", func(*fakeBroker) {}, ErrTopicMissing, []string{"absent", "billing", "WatchTopics"}},
		{"not permitted", Config{}, "orders", func(b *fakeBroker) {
			b.refuse = func(string) error {
				return errors.New("server error: AuthorizationError: Client is not authorized to subscribe")
			}
		}, nil, []string{"orders", "billing", "grant"}},
		{"not permitted to join the election", Config{}, "orders", func(b *fakeBroker) {
			b.refuse = func(subscription string) error {
				if subscription == "billing" {
					return nil
				}
				return errors.New("server error: AuthorizationError: Client is not authorized to subscribe")
			}
		}, nil, []string{"orders", `"billing-owner"`, "grant"}},
		{"election subscription of another program", Config{}, "orders", func(b *fakeBroker) {
			b.refuse = func(subscription string) error {
				if subscription == "billing" {
					return nil
				}
				return errors.New("server error: NotAllowedError: Durable subscription with the same name already exists")
			}
		}, nil, []string{"orders", `"billing-owner"`, "delete it"}},
		{"another type", Config{}, "orders", func(b *fakeBroker) {
			b.refuse = func(string) error { return errors.New("server error: ConsumerBusy: Subscription is of different type") }
		}, nil, []string{"orders", "billing", "another type"}},
		{"schema required", Config{}, "orders", func(b *fakeBroker) {
			b.refuse = func(string) error {
				return errors.New("server error: IncompatibleSchema: Topic does not have schema to check")
			}
		}, nil, []string{"orders", "billing", "schema is refused"}},
		{"name refused", Config{}, "or ders", func(b *fakeBroker) {
			b.lookup = func(string) error { return errors.New("InvalidTopicName") }
		}, nil, []string{"or ders", "billing", "do not accept the topic's name"}},
		{"busy", Config{Alone: true}, "orders", func(b *fakeBroker) {
			b.refuse = func(string) error { return errFakeBusy }
		}, ErrBusy, []string{"orders/0", `"billing"`}},
		{"down", Config{StartTimeout: 20 * second}, "orders", func(b *fakeBroker) { b.down = true }, ErrStartTimeout, []string{"orders", "billing", "pulsar://fake:6650"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(w world) {
				t, b := w.t, w.b
				c.set(b)
				m := join(t, b, c.cfg, c.topic)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				_, err := m.s.Accept(ctx)
				if err == nil || c.want != nil && !errors.Is(err, c.want) || ctx.Err() != nil {
					t.Fatalf("accept = %v, want %v", err, c.want)
				}
				for _, text := range c.says {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("accept = %v, want it to contain %q", err, text)
					}
				}
			})
		})
	}
}

// Tokens are renewed.
func TestCredentialsRefusedAfterAConnectionAreRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		m.s.log.Logger().Info("Connection is ready")
		p := m.accept()
		b.change(func() {
			b.refuse = func(string) error { return errors.New("server error: AuthenticationError: the token has expired") }
		})
		b.cut(topic0, "")
		left(t, p)
		_ = p.Release(t.Context())
		m.idle(5 * time.Minute)
		if err := m.troubled("attach to " + stream("orders/0")); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("trouble = %v", m.s.Report().Trouble)
		}
		b.change(func() { b.refuse = nil })
		_ = m.accept().Release(t.Context())
	})
}

func TestHangingLookUpsAreAbandoned(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		hang := make(chan struct{})
		b.hang = hang
		m := join(t, b, Config{}, "orders")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		tr := m.s.Report().Trouble
		if len(tr) != 1 || !strings.Contains(tr[0].Err.Error(), "no answer from the client library within 40s") {
			t.Fatalf("trouble = %v", tr)
		}
		b.change(func() { b.hang = nil })
		p := m.accept()
		close(hang)
		_ = p.Release(t.Context())
	})
}

func TestCloseIsBoundedWhileTheLibraryHangs(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		s, _, err := b.source(Config{}, "orders")
		if err != nil {
			t.Fatal(err)
		}
		hang := make(chan struct{})
		b.hang = hang
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = s.Accept(ctx)
		begin := time.Now()
		if err := s.Close(); err != nil {
			t.Errorf("close = %v", err)
		}
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("close took %v", d)
		}
		close(hang)
	})
}

func TestBrokerDownAtStartIsRetried(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.down = true
		m := join(t, b, Config{}, "orders")
		time.AfterFunc(10*time.Minute, func() { b.change(func() { b.down = false }) })
		ctx, cancel := context.WithTimeout(t.Context(), 5*second)
		defer cancel()
		if _, err := m.s.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if r := m.s.Report(); r.Ready || len(r.Trouble) != 1 || !errors.Is(r.Trouble[0].Err, errFakeDown) {
			t.Errorf("report %+v", r)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		p, err := m.s.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if r := m.s.Report(); !r.Ready || len(r.Trouble) != 0 {
			t.Errorf("report %+v", r)
		}
		_ = p.Release(t.Context())
	})
}

func TestReleasedPartitionMovesToAnotherProcess(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		first := join(t, b, Config{Name: "a"}, "orders")
		p := first.accept()
		// The owner calls Accept no more, like a pipeline that stops. The other process waits.
		got := join(t, b, Config{Name: "z"}, "orders").accepting()
		time.Sleep(10 * second)
		if len(got) > 0 {
			t.Fatal("accepted before the release")
		}
		_ = p.Release(t.Context())
		q := <-got
		if q == nil || q.ID().Epoch <= p.ID().Epoch {
			t.Fatalf("accepted %v after %v", q, p.ID())
		}
		_ = q.Release(t.Context())
	})
}

// Partition 0 of the new topic has the same ID as the old, unpartitioned topic.
func TestTopicRecreatedWithPartitionsWaitsForTheRelease(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		b.create("bills", 0)
		m := join(t, b, Config{}, "bills")
		p := m.accept()
		b.remove("bills")
		b.create("bills", 2)
		if l := <-p.Leaving(); !l.Lost {
			t.Errorf("leave = %+v, want lost", l)
		}
		q := m.accept()
		if q.ID().Partition != 1 {
			t.Fatalf("accepted %v before %v was released", q.ID(), p.ID())
		}
		m.idle(5 * time.Minute)
		_ = p.Release(t.Context())
		r := m.accept()
		if r.ID().Partition != 0 || r.ID().Epoch <= p.ID().Epoch {
			t.Errorf("accepted %v after %v", r.ID(), p.ID())
		}
		_ = q.Release(t.Context())
		_ = r.Release(t.Context())
	})
}
