package kafka

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystrand/keystrand"
)

// says dials servers that answer with the text, by address, and the brokers of f else.
func (f *fake) says(answers map[string]string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		text, other := answers[address]
		if !other {
			return f.net.DialContext(ctx, network, address)
		}
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			if _, err := far.Read(make([]byte, 1000)); err == nil {
				_, _ = io.WriteString(far, text)
			}
		}()
		return near, nil
	}
}

// A wrong port is an error at the start, with what to do. It is none while another broker answers.
func TestCheckNamesThePortOfAnotherProtocol(t *testing.T) {
	for name, c := range map[string]struct{ says, want string }{
		"web server": {"HTTP/1.1 400 Bad Request\r\n\r\n", "give the address of a Kafka listener"},
		"banner":     {"SSH-2.0-OpenSSH_9.6\r\n", "give the address of a Kafka listener"},
		"TLS":        {"\x15\x03\x03\x00\x02\x02\x0a", "set Config.TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, kfake.SeedTopics(1, "t"))
				dial := f.says(map[string]string{"other:1": c.says, "other:2": c.says})
				check := func(brokers ...string) error {
					s, err := New(brokers, "t", Config{Dial: dial})
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					err = s.Check(t.Context())
					if d := time.Since(began); d > 2*time.Second {
						t.Errorf("Check of %v took %v", brokers, d)
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					return err
				}
				if err := check("other:1", "other:2"); outcomeOf(err) != keystrand.OutcomePermanent || !strings.Contains(err.Error(), c.want) ||
					!strings.Contains(err.Error(), "broker other:") {
					t.Errorf("Check = %v, want it permanent, and to say %q", err, c.want)
				}
				for range 10 { // the library shuffles the brokers
					if err := check("other:1", "localhost:9001", "other:2"); err != nil {
						t.Errorf("Check = %v although a broker answers", err)
					}
				}
			})
		})
	}
}

func outcomeOf(err error) keystrand.Outcome {
	o, _ := keystrand.OutcomeOf(err)
	return o
}
