package mysql_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe" //nolint:depguard // a text in the memory of another, as go-mysql makes them

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// heard is a connection whose bytes from the server are kept.
type heard struct {
	net.Conn
	bytes *bytes.Buffer
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.bytes.Write(p[:n])
	return n, err //nolint:wrapcheck // a test
}

func TestTLSEncryptsBothConnections(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	r := recorded.Load(t, recorded.Bank)
	s := recorded.ServeTLS(t, r, &tls.Config{Certificates: web.TLS.Certificates})
	s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, r, query) }
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	for name, c := range map[string]*tls.Config{"trusted": {RootCAs: pool}, "not trusted": {}, "no TLS": nil} {
		var (
			mu    sync.Mutex
			conns []*bytes.Buffer
		)
		log, err := mysql.NewLog(s.Addr(), binlog.Filter{}, mysql.Config{
			User: recorded.User, Password: recorded.Password, TLS: c, Start: mysql.Oldest(), Heartbeat: time.Second,
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, &bytes.Buffer{})
				return heard{conn, conns[len(conns)-1]}, err //nolint:wrapcheck // a test
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = log.Identity(t.Context())
		if wrong := name == "not trusted"; wrong != (err != nil) || wrong && log.Temporary(err) {
			t.Errorf("%s: %v", name, err)
		}
		if name != "not trusted" && len(mustRead(t, log)) == 0 {
			t.Error("nothing was read")
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		mu.Lock()
		for i, b := range conns { // one for questions, one for the log
			if plain := bytes.Contains(b.Bytes(), []byte("binlog")); plain != (c == nil) {
				t.Errorf("%s: connection %d of %d is plain: %t", name, i, len(conns), plain)
			}
		}
		if len(conns) != 2 && name != "not trusted" {
			t.Errorf("%s: %d connections, want 2", name, len(conns))
		}
		mu.Unlock()
	}
}

// An Open that hangs ends with its ctx, and so does a Next.
func TestOpenAndNextEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorded.Load(t, recorded.Bank)
		s := recorded.Pipe(t, r)
		s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, r, query) }
		hang, dials := true, 0
		log, err := mysql.NewLog("recorded:3306", binlog.Filter{}, mysql.Config{
			User: recorded.User, Password: recorded.Password, Start: mysql.Oldest(),
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; dials == 1 || !hang { // the first asks
					return s.DialContext(ctx, network, address)
				}
				<-ctx.Done()
				return nil, context.Cause(ctx)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close() //nolint:errcheck // it was only read
		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, why)
		defer cancel()
		start := time.Now()
		if _, err := log.Open(ctx, at, nil); !errors.Is(err, why) || time.Since(start) != 3*time.Second {
			t.Errorf("Open: %v after %v, want the cause after 3 s", err, time.Since(start))
		}
		hang = false
		reader, err := log.Open(t.Context(), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		before, err := drain(t.Context(), reader)
		if err != nil || len(before) == 0 {
			t.Fatalf("%d events, %v", len(before), err)
		}
		ctx, cancel = context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		if _, err := reader.Next(ctx); !errors.Is(err, why) {
			t.Errorf("Next: %v, want the cause", err)
		}
		if _, err := drain(t.Context(), reader); err != nil {
			t.Errorf("the reader does not go on: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			_ = reader.Close()
		}()
		if _, err := reader.Next(t.Context()); err == nil {
			t.Error("Next: no error after Close")
		}
	})
}

func TestDetachedValuesShareNoMemoryWithTheEvent(t *testing.T) {
	event := []byte("some text and bytes")
	text := unsafe.String(&event[0], 9)
	image := []any{text, event[14:], int64(1), nil, "", text[5:]}
	mysql.Detach(image)
	copy(event, bytes.Repeat([]byte("?"), len(event)))
	blob, _ := image[1].([]byte)
	if image[0] != "some text" || string(blob) != "bytes" || image[2] != int64(1) || image[3] != nil || image[4] != "" || image[5] != "text" {
		t.Errorf("image %q changed with the event", image)
	}
}

func TestServerThatShutsDownWhileAReaderConnectsIsTemporary(t *testing.T) {
	for _, at := range []string{"@slave_connect_state", "@mariadb_slave_capability", "@slave_gtid_strict_mode"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, s := from(t, recorded.Load(t, recorded.Bank), mysql.Config{})
				start, err := log.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				answers, asked := s.OnQuery, false
				s.OnQuery = func(query string, args []any) (*recorded.Table, error) {
					if strings.Contains(query, at) {
						asked = true
						return nil, gomysql.NewError(gomysql.ER_SERVER_SHUTDOWN, "Server shutdown in progress")
					}
					return answers(query, args)
				}
				if _, err = log.Open(t.Context(), start, nil); !asked || !log.Temporary(err) {
					t.Errorf("asked %v, error %v, want a temporary one", asked, err)
				}
			})
		})
	}
}
