package client

import (
	"errors"
	"go/build"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar/log"

	"github.com/keystrand/keystrand/internal/pulsarwire"
)

func TestLogTurnsLinesIntoEvents(t *testing.T) {
	var heard []string
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{
		Disconnected: func(topic, subscription string) { heard = append(heard, topic+" "+subscription) },
		EndOfTopic:   func() { heard = append(heard, "end") },
		Attached:     func(topic, subscription string) { heard = append(heard, topic+" "+subscription+" attached") },
		Unknown:      func() { heard = append(heard, "unknown") },
		Deleted:      func(topic string) { heard = append(heard, topic+" deleted") },
	})
	consumer := l.Logger().SubLogger(map[string]any{"topic": "t", "subscription": "s"})
	consumer.Debug("connection closed and send to connectClosedCh")
	consumer.Debug("something else")
	consumer.Info("Connected consumer")
	consumer.Debug(1, "connection closed and send to connectClosedCh")
	l.Logger().Errorf("Received invalid command type: %s", "REACHED_END_OF_TOPIC")
	l.Logger().WithField("consumerID", 3).Warnf("Consumer with ID not found while closing consumer")
	consumer.Warn("Topic Not Found.")
	l.Logger().Warn("Topic Not Found.")
	if got := strings.Join(heard, ","); got != "t s,t s attached,end,unknown,t deleted" {
		t.Errorf("events = %q", got)
	}
}

// dropping returns a Log that reports dropped chunks to out if there is a ChunkTimeout.
func dropping(timeout time.Duration, out *strings.Builder) *Log {
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{})
	if timeout > 0 {
		l.On.Dropped = func(topic, line string) { out.WriteString(topic + " " + line) }
	}
	return l
}

// chunks imitates the library's map of incomplete messages.
type chunks struct{ of log.Logger }

// discardChunkIfExpire has the name of the library's function that waits for the time of a message in chunks.
func (c chunks) discardChunkIfExpire(acknowledge func()) {
	c.of.Info("Removing chunk message-id", "1:2:-1")
	acknowledge()
}

// The goroutine that reads a connection also drops chunks, when their producer has sent the message again.
func TestLogEndsNoGoroutineForChunksSentAgain(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Hour} {
		var logged strings.Builder
		l := dropping(timeout, &logged)
		on := make(chan bool, 1)
		go func() {
			defer close(on)
			l.Logger().Info("Removing chunk message-id", "1:2:-1")
			on <- true
		}()
		if !<-on || logged.Len() > 0 {
			t.Errorf("ChunkTimeout %v: reported %q, want nothing, and a goroutine that goes on", timeout, logged.String())
		}
	}
}

// The library announces that it acknowledges the chunks of a message that takes longer than a minute.
func TestLogKeepsChunksOfALateMessageFromBeingAcknowledged(t *testing.T) {
	for timeout, want := range map[time.Duration]string{0: "", time.Hour: "acknowledged"} {
		var logged strings.Builder
		l := dropping(timeout, &logged)
		consumer := l.Logger().SubLogger(map[string]any{"topic": topic0, "subscription": "billing"})
		got := ""
		var mu sync.Mutex
		done := make(chan struct{})
		go func() {
			defer close(done)
			mu.Lock()
			defer mu.Unlock()
			chunks{consumer}.discardChunkIfExpire(func() { got = "acknowledged" })
		}()
		<-done
		if got != want || !mu.TryLock() {
			t.Errorf("ChunkTimeout %v: the chunk is %q, want %q, and no lock held", timeout, got, want)
		}
		if is := strings.Contains(logged.String(), topic0) && strings.Contains(logged.String(), "1:2:-1"); is != (timeout > 0) {
			t.Errorf("ChunkTimeout %v: reported %q", timeout, logged.String())
		}
	}
}

// A wrong port differs from a broker that is down.
func TestBecauseExplainsAConnectionClosedAtOnce(t *testing.T) {
	l := NewLog(slog.New(slog.DiscardHandler), "", Events{})
	// The library keeps only the text of the error.
	l.Logger().WithError(errors.New("unable to read frame size: " + io.EOF.Error())).Warn("Failed to perform initial handshake")
	err := l.Because(errDown)
	if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "closed the connection at once") {
		t.Errorf("Because = %v", err)
	}
}

// Every ownership depends on the line of a disconnect. This test fails when another version of the library writes it
// otherwise. Then check where it does, and that it still comes before the consumer learns of the disconnect.
func TestLibraryStillLogsADisconnect(t *testing.T) {
	library, err := build.Import("github.com/apache/pulsar-client-go/pulsar", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]string{
		"consumer_partition.go": {
			"func (pc *partitionConsumer) ConnectionClosed(closeConsumer *pb.CommandCloseConsumer) {\n" +
				"\t// Trigger reconnection in the consumer goroutine\n\tpc.log.Debug(\"" + disconnects + "\")\n",
			"\tpc.log.Info(\"" + attaches + "\")\n\terr = pc._getConn().AddConsumeHandler(pc.consumerID, pc)\n",
			"\t\tif maxRetry == 0 {\n\t\t\treturn struct{}{}, nil\n\t\t}\n",
			"\t\tgo c.discardChunkIfExpire(uuid, true, c.pc.options.expireTimeOfIncompleteChunk)\n",
			"func (c *chunkedMsgCtxMap) discardChunkIfExpire(uuid string, autoAck bool, expire time.Duration) {\n\ttimer := time.NewTimer(expire)\n" +
				"\t<-timer.C\n\tc.discardChunkMessage(uuid, autoAck)\n}\n",
			"func (c *chunkedMsgCtxMap) discardChunkMessage(uuid string, autoAck bool) {\n\tc.mu.Lock()\n\tdefer c.mu.Unlock()\n",
			"func (c *chunkedMsgCtx) discard(pc *partitionConsumer) {\n\tc.mu.Lock()\n\tdefer c.mu.Unlock()\n",
			"\t\tpc.log.Info(\"" + drops + "\", mid.String())\n\t\ttmid := toTrackingMessageID(mid)\n\t\tpc.AckID(tmid)\n",
			"\tpc.log.WithFields(log.Fields{\n\t\t\"msgID\":           msgID,\n\t\t\"validationError\": validationError,\n\t}).Error(\"" + discards + "\")\n\n" +
				"\terr := pc.client.rpcClient.RequestOnCnxNoWait(pc._getConn(),\n\t\tpb.BaseCommand_ACK, &pb.CommandAck{\n" +
				"\t\t\tConsumerId:      proto.Uint64(pc.consumerID),\n\t\t\tMessageId:       []*pb.MessageIdData{msgID},\n",
			"\t\t\"consumerID\":   pc.consumerID,\n",
			"\tfor i := 0; i < numMsgs; i++ {\n\t\tsmm, payload, err := reader.ReadMessage()\n",
			"\t\t\t\tproducerName:        msgMeta.GetProducerName(),\n",
			"\t\t\"topic\":        options.topic,\n\t\t\"subscription\": options.subscription,\n",
		},
		filepath.Join("internal", "connection_reader.go"): {
			"fmt.Errorf(\"unable to read frame size: %+v\", err)",
			"\t\theadersAndPayload = NewBuffer(int(headersAndPayloadSize))\n\t\theadersAndPayload.Write(r.buffer.Read(headersAndPayloadSize))\n", // which nobody else has
		},
		filepath.Join("internal", "commands.go"): {"\t\tif !r.batched && r.hasProperties {\n\t\t\treturn nil, []byte{}, nil\n\t\t}\n"},
		filepath.Join("internal", "connection.go"): {
			"func (c *connection) receivedCommand(cmd *pb.BaseCommand, headersAndPayload Buffer) {\n" +
				"\tc.log.Debugf(\"" + pulsarwire.Receives + "\", cmd, headersAndPayload)\n",
			"\t\terr := consumer.MessageReceived(response, payload)\n\t\tif err != nil {\n\t\t\tc.log.\n\t\t\t\tWithError(err).\n" +
				"\t\t\t\tWithField(\"consumerID\", consumerID).\n\t\t\t\tError(\"" + explains + "\", response.MessageId)\n",
			"Warnf(\"Consumer with ID not found while closing consumer\")",
			"Errorf(\"Received invalid command type: %s\", cmd.Type)",
		},
	} {
		text, err := os.ReadFile(filepath.Join(library.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not contain\n%s", file, w)
			}
		}
	}
}
