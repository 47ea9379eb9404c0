// Virtual time: inWorld makes it, in cluster_test.go.

package kafka_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka"
)

// Brokers that do not answer delay no other broker.
func TestSilentBrokerDelaysNoOther(t *testing.T) {
	for _, c := range []struct {
		name    string
		brokers []string
	}{
		{"silent first", []string{"silent:1", "localhost:9092"}},
		{"silent last", []string{"localhost:9092", "silent:1"}},
		{"silent twice", []string{"silent:1", "silent:2", "localhost:9092"}},
		{"refused and silent", []string{"localhost:1", "silent:1", "localhost:9092"}},
		{"web server", []string{"web:80", "localhost:9092"}},
		{"hangs in connect", []string{"hangs:1", "localhost:9092"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				cfg := w.config()
				cfg.Dial = w.strange
				s, err := kafka.New(c.brokers, "g", []string{"t"}, cfg)
				if err != nil {
					w.t.Fatal(err)
				}
				began := time.Now()
				ps := w.accept(s, 1)
				if d := time.Since(began); d > 3*time.Second {
					w.t.Errorf("the first partition came after %v", d)
				}
				w.close(s, ps)
			})
		})
	}
}

// strange dials brokers, and servers that are none, by the name of the host.
func (w *world) strange(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	near, far := net.Pipe()
	switch host {
	case "silent":
		go func() { _, _ = io.Copy(io.Discard, far); _ = far.Close() }()
	case "web":
		go func() {
			defer far.Close()
			var got []byte
			for b := make([]byte, 100); !slices.Contains(got, '\n'); {
				n, err := far.Read(b)
				if err != nil {
					return
				}
				got = append(got, b[:n]...)
			}
			_, _ = io.WriteString(far, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}()
	case "banner":
		go func() {
			defer far.Close()
			if _, err := far.Read(make([]byte, 1000)); err == nil {
				_, _ = io.WriteString(far, "SSH-2.0-OpenSSH_9.6\r\n")
			}
		}()
	case "drips", "drips-junk":
		go drip(far, host == "drips-junk")
	case "hangs":
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return w.dial(ctx, network, address)
	}
	return near, nil
}

// drip sends the answer to a request, or junk, with two bytes a second.
func drip(far net.Conn, junk bool) {
	defer far.Close()
	head := make([]byte, 12)
	if _, err := io.ReadFull(far, head); err != nil {
		return
	}
	go func() { _, _ = io.Copy(io.Discard, far) }()
	answer := append([]byte{0, 0, 'x', 0}, head[8:]...) // a length, and the correlation id
	if junk {
		answer = []byte("xxxx")
	}
	for answer = append(answer, make([]byte, 1000)...); len(answer) > 0; answer = answer[1:] {
		if _, err := far.Write(answer[:1]); err != nil {
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// A port that sends two bytes a second is as good as silent. One of another protocol is named when its first bytes are there.
func TestPortThatDripsIsLoggedWithItsStep(t *testing.T) {
	for _, c := range []struct {
		address, step string
		cfg           *tls.Config
		ends          string
	}{
		{"drips:1", "Metadata", nil, ""},
		{"drips:1", "TLS handshake", &tls.Config{}, ""},
		{"drips-junk:1", "Metadata", nil, "no Kafka broker"},
		{"drips-junk:1", "TLS handshake", &tls.Config{}, ""},
	} {
		t.Run(c.address+" "+c.step, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				cfg := w.config()
				cfg.Dial, cfg.TLS = w.strange, c.cfg
				s, err := kafka.New([]string{c.address}, "g", []string{"t"}, cfg)
				if err != nil {
					w.t.Fatal(err)
				}
				if c.ends != "" {
					w.wantsErr(s, c.ends, c.address, c.step)
				} else {
					stop, ended := w.started(s)
					time.Sleep(30 * time.Second)
					for _, trouble := range s.Report().Trouble {
						if trouble.What == "connect" && !strings.Contains(trouble.Err.Error(), c.step) {
							w.t.Errorf("trouble %v without the step", trouble)
						}
					}
					w.stopped(stop, ended)
				}
				if n := w.told.times("waiting for Kafka", "address="+c.address, c.step); n != 1 {
					w.t.Errorf("%d lines, want 1:\n%v", n, w.told.lines)
				}
			})
		})
	}
}

// The error of a port of another protocol comes from Accept with the address and what to do.
func TestPortOfAnotherProtocolIsNamed(t *testing.T) {
	for address, want := range map[string]string{
		"web:80":    "web server",
		"banner:22": "no Kafka broker",
	} {
		t.Run(address, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				cfg := w.config()
				cfg.Dial = w.strange
				s, err := kafka.New([]string{address}, "g", []string{"t"}, cfg)
				if err != nil {
					w.t.Fatal(err)
				}
				w.wantsErr(s, want, address, "give the address of a Kafka listener")
			})
		})
	}
}

// StartTimeout names the broker that does not answer, and the step.
func TestStartTimeoutNamesASilentBroker(t *testing.T) {
	for address, step := range map[string]string{"silent:1": "Metadata", "hangs:1": "connect"} {
		inWorld(t, 1, func(w *world) {
			cfg := w.config()
			cfg.Dial, cfg.StartTimeout = w.strange, 3*time.Second
			s, err := kafka.New([]string{address}, "g", []string{"t"}, cfg)
			if err != nil {
				w.t.Fatal(err)
			}
			err = w.acceptErr(s)
			if !errors.Is(err, kafka.ErrStartTimeout) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), step) ||
				strings.Contains(err.Error(), "%!") {
				w.t.Errorf("Accept = %v", err)
			}
			w.close(s, nil)
		})
	}
}

// A broker that is silent for minutes is logged each minute, and once when it answers again.
func TestSilenceIsLoggedEachMinuteAndItsEndOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		var mu sync.Mutex
		frozen := true
		s := w.source("g", func(c *kafka.Config) {
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				if frozen {
					address = "silent:1"
				}
				return w.strange(ctx, network, address)
			}
		})
		got := w.join(s, 1)
		time.Sleep(5*time.Minute + 10*time.Second)
		if n := w.told.times("waiting for Kafka"); n < 5 || n > 7 {
			w.t.Errorf("%d lines in five minutes", n)
		}
		if n := w.told.times("operation failed; retrying", "what=connect"); n < 5 || n > 7 {
			w.t.Errorf("connect: %d lines in five minutes", n)
		}
		mu.Lock()
		frozen = false
		mu.Unlock()
		ps := <-got
		go func() { _ = ps[0].Fetch(w.t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1000}) }()
		time.Sleep(3 * time.Minute)
		if n := w.told.times("answers again"); n != 1 {
			w.t.Errorf("%d lines that it answers again, want 1", n)
		}
		if n := w.told.times("operation recovered", "what=connect"); n != 1 {
			w.t.Errorf("%d lines that connect recovered, want 1", n)
		}
		w.close(s, ps)
	})
}

// A cluster may advertise an address that cannot be reached. The cause is logged within two seconds, and each minute.
func TestUnreachableAdvertisedAddressIsNamed(t *testing.T) {
	for name, dial := range map[string]func(context.Context) error{
		"refused":    func(context.Context) error { return &net.OpError{Op: "dial", Err: errors.New("connection refused")} },
		"unresolved": func(context.Context) error { return &net.DNSError{Err: "no such host", Name: "kafka.internal"} },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				cfg := w.config()
				cfg.Start = kafka.Latest() // asks the leader before it joins
				cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					if address == "boot:1" {
						return w.dial(ctx, network, w.brokers[0])
					}
					return nil, dial(ctx)
				}
				s, err := kafka.New([]string{"boot:1"}, "g", []string{"t"}, cfg)
				if err != nil {
					w.t.Fatal(err)
				}
				ctx, stop := context.WithCancel(w.t.Context())
				ended := make(chan time.Time, 1)
				go func() { _ = use(ctx, s); ended <- time.Now() }()
				time.Sleep(2 * time.Second)
				if n := w.told.times("level=WARN", w.brokers[0], dial(ctx).Error(), "advertised.listeners"); n != 1 {
					w.t.Errorf("%d lines after 2 s, want 1", n)
				}
				time.Sleep(3 * time.Minute)
				if n := w.told.times("level=WARN", dial(ctx).Error()); n < 3 || n > 4 {
					w.t.Errorf("%d lines after 3 minutes, want one each minute", n)
				}
				w.stopped(stop, ended)
			})
		})
	}
}

// One line tells that the fetches of all partitions hang or fail, and one that all go on.
func TestFailingFetchesOfManyPartitionsAreOneLine(t *testing.T) {
	inWorld(t, 20, func(w *world) {
		var mu sync.Mutex
		down := false
		s := w.source("g", func(c *kafka.Config) {
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				mu.Lock()
				refuse := down
				mu.Unlock()
				if refuse {
					return nil, errors.New("connection refused")
				}
				return w.dial(ctx, network, address)
			}
		})
		ps := w.accept(s, 20)
		ctx, stop := context.WithCancel(w.t.Context())
		var reading sync.WaitGroup
		for _, p := range ps {
			reading.Go(func() { _ = p.Fetch(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1000}) })
		}
		time.Sleep(time.Second)
		mu.Lock()
		down = true
		mu.Unlock()
		w.cluster.ControlKey(1, func(kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				w.cluster.KeepControl()
				return nil, errors.New("disconnect"), true
			}
			return nil, nil, false
		})
		time.Sleep(2 * time.Second)
		if n := w.told.times("fetch failed; retrying"); n != 1 {
			w.t.Errorf("%d lines, want 1", n)
		}
		if !slices.ContainsFunc(s.Report().Trouble, func(t source.Trouble) bool { return t.What == "fetch" }) {
			w.t.Errorf("trouble = %v, want fetch", s.Report().Trouble)
		}
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(10 * time.Second)
		if n := w.told.times("fetch recovered"); n != 1 {
			w.t.Errorf("%d lines that fetch recovered, want 1", n)
		}
		if all := s.Report().Trouble; len(all) != 0 {
			w.t.Errorf("trouble = %v, want none", all)
		}
		stop()
		reading.Wait()
		w.close(s, ps)
	})
}

// A typo ends the source soon, with the name that was meant, and nothing in the log.
func TestTypoInATopicIsNamedOnce(t *testing.T) {
	for topic, want := range map[string]string{
		"comments":    "did you mean Comments?",
		"Coments":     "did you mean Comments?",
		"Commnets":    "did you mean Comments?",
		"order_items": "did you mean order-items?",
		"other":       "other",
	} {
		t.Run(topic, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				for _, name := range []string{"Comments", "order-items", "z"} {
					if err := w.cluster.CreateTopic(name, 1, nil); err != nil {
						w.t.Fatal(err)
					}
				}
				s, err := kafka.New(w.brokers, "g", []string{"t", topic}, w.config())
				if err != nil {
					w.t.Fatal(err)
				}
				began := time.Now()
				err = w.acceptErr(s)
				if !errors.Is(err, kafka.ErrTopicMissing) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "WatchTopics") ||
					strings.Count(err.Error(), "does not exist") != 1 || topic == "other" && strings.Contains(err.Error(), "did you mean") {
					w.t.Errorf("Accept = %v", err)
				}
				w.close(s, nil)
				if d := time.Since(began); d > 5*time.Second {
					w.t.Errorf("it took %v", d)
				}
				if n := w.told.times("absent") + w.told.times("does not exist"); n != 0 {
					w.t.Errorf("the log says it %d times, too", n)
				}
			})
		})
	}
}

// WatchTopics waits for a topic. One line says so, with the name that may have been meant.
func TestTopicThatIsWaitedForIsNamedOnce(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		cfg := w.config()
		cfg.WatchTopics = true
		s, err := kafka.New(w.brokers, "g", []string{"t", "T1"}, cfg)
		if err != nil {
			w.t.Fatal(err)
		}
		began := time.Now()
		ps := w.accept(s, 1)
		if d := time.Since(began); d > 2*time.Second {
			w.t.Errorf("the line and the first partition came after %v", d)
		}
		time.Sleep(5 * time.Minute)
		if n := w.told.times("waiting for topics that do not exist", "T1: did you mean t?"); n != 1 {
			w.t.Errorf("%d lines, want 1", n)
		}
		w.close(s, ps)
	})
}
