//go:build unix

package livetest

import (
	"io"
	"net"
	"strings"
)

// joinEarly starts a member whose broker has a closed port, and opens the port when the member has logged that.
func (r *run) joinEarly(name string) {
	r.t.Helper()
	listen := func(address string) net.Listener {
		l, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", address)
		r.must(err)
		return l
	}
	closed := listen("127.0.0.1:0")
	port := closed.Addr().String()
	r.must(closed.Close())
	input := r.cluster.about().access(r.stream, r.group)
	at := strings.LastIndex(input.Address, "/") + 1
	broker := input.Address[at:]
	input.Address = input.Address[:at] + port
	r.start(name, input)
	r.until(name+" has logged that its broker is unreachable", func() bool {
		return r.logged(name, "refused", port) && (input.Service == "kafka" || r.logged(name, r.stream))
	})
	open := listen(port)
	r.t.Cleanup(func() { _ = open.Close() })
	go func() {
		for {
			client, err := open.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker) //nolint:noctx // ends with the client
			if err != nil {
				_ = client.Close()
				continue
			}
			go pipe(client, server)
			go pipe(server, client)
		}
	}()
}

// pipe copies until one of two connections closes, and closes the other.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}
