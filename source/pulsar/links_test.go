package pulsar

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand/source/pulsar/internal/client"
)

// The answer to a probe of a silent broker may come after the broker has connected at last.
func TestSlowFirstConnectionLeavesNoTrouble(t *testing.T) {
	const addr = "broker:6650"
	s, err := New("pulsar://"+addr, "billing", []string{"orders"}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	begun, answer := make(chan struct{}), make(chan struct{})
	s.probe = func(context.Context, string, string) error {
		close(begun)
		<-answer
		return nil
	}
	s.unreachable(addr, client.ErrSilent)
	<-begun
	s.connected(addr)
	close(answer)
	s.calls.Wait()
	if tr := s.Report().Trouble; len(tr) > 0 {
		t.Errorf("trouble = %v, want none", tr)
	}
}

// With several hosts a broken one does not matter while another may work.
func TestHandshakeThatFailsForOneHostLeavesTheOthersATry(t *testing.T) {
	inBubble(t, func(w world) {
		t, b := w.t, w.b
		m := join(t, b, Config{}, "orders")
		hang := make(chan struct{})
		b.change(func() { b.hang = hang })
		got := m.accepting()
		synctest.Wait()
		m.s.log = client.NewLog(m.s.cfg.Logger, "pulsar+ssl://a:6651,b:6651", m.s.events())
		m.s.url = "pulsar+ssl://a:6651,b:6651"
		link := m.s.log.Logger().SubLogger(map[string]any{"remote_addr": "a:6651"})
		link.Info("Connecting to broker")
		link.WithError(&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}).Warn("Failed to connect to broker.")
		synctest.Wait()
		if err := m.troubled("connect to a:6651"); err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("trouble = %v", err)
		}
		close(hang)
		if p := <-got; p != nil {
			_ = p.Release(t.Context())
		}
	})
}
