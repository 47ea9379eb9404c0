package pulsar

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
)

// The library takes the hosts of a URL in turns and waits for each.
func TestHostsThatAnswerArePreferred(t *testing.T) {
	serve := func(answer string) (addr string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = c.Read(make([]byte, 17))
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}()
			}
		}()
		return l.Addr().String()
	}
	silent, broker := serve(""), serve("\x00\x00\x00\x09\x00\x00\x00\x05\x08\x03\x1a\x01\x01")
	var url string
	s, err := New("pulsar://"+silent+","+broker, "orders", Config{Client: func(o *pulsar.ClientOptions) { url = o.URL }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !strings.HasPrefix(url, "pulsar://"+broker+",") || !strings.HasSuffix(url, ","+silent) {
		t.Errorf("URL = %s, want %s first", url, broker)
	}
}
