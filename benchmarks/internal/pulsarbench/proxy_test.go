package pulsarbench

import (
	"bufio"
	"encoding/binary"
	"net"
	"strings"
	"testing"
)

// frame returns a frame of a command.
func frame(number byte, rest string) []byte {
	command := append([]byte{1 << 3, number}, rest...)
	f := binary.BigEndian.AppendUint32(nil, uint32(4+len(command)))
	f = binary.BigEndian.AppendUint32(f, uint32(len(command)))
	return append(f, command...)
}

func TestProxyCountsAcknowledgementsAndStaysInTheWay(t *testing.T) {
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	const message, acks = 9, 3 // message: any command that is no answer
	served := make(chan error, 1)
	go func() {
		served <- func() error {
			c, err := broker.Accept()
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write(frame(pulsarLookupResponse, "pulsar://"+broker.Addr().String())); err != nil {
				return err
			}
			for in := bufio.NewReader(c); ; {
				f, err := readFrame(in, nil)
				if err != nil {
					return nil // the client has disconnected
				}
				answer := frame(message, "")
				if command(f) == pulsarAck {
					answer = frame(pulsarAckResponse, "ok")
				}
				if _, err := c.Write(answer); err != nil {
					return err
				}
			}
		}()
	}()
	p, err := NewProxy("pulsar://"+broker.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", strings.TrimPrefix(p.URL(), "pulsar://"))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	f, err := readFrame(in, nil)
	if err != nil || !strings.HasSuffix(string(f), p.URL()) {
		t.Fatalf("lookup answer = %q (%v), want the proxy's URL %s", f, err, p.URL())
	}
	for i := range acks + 1 {
		send := frame(pulsarAck, "ids")
		if i == acks {
			send = frame(pulsarAck+1, "permits")
		}
		if _, err := client.Write(send); err != nil {
			t.Fatal(err)
		}
		if _, err := readFrame(in, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := [...]int64{p.Acks.Load(), p.AckBytes.Load(), p.Answers.Load(), p.AnswerBytes.Load()}; got != [...]int64{acks, acks * 13, acks, acks * 12} {
		t.Errorf("acks, ack bytes, answers, answer bytes = %v", got)
	}
	_ = client.Close()
	p.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
