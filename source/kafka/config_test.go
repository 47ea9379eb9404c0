package kafka_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/keystrand/keystrand/source/kafka"
)

func TestNewReturnsAllErrorsAtOnce(t *testing.T) {
	_, err := kafka.New(nil, "", []string{"", "a", "a"}, kafka.Config{
		SessionTimeout: -1, HeartbeatInterval: -1, RebalanceTimeout: -1, JoinBackoff: -1, StartTimeout: -1, WatchInterval: -1,
		MaxWait: -1, StallTimeout: -1, MaxBytes: -1, MetadataLimit: 40000, OutOfRange: 9, ForeignProgress: 9,
		Start: kafka.Offsets(map[string]map[int32]int64{"t": {0: -5}}),
		SASL:  kafka.SCRAMSHA256("\x00", "x"),
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"brokers", "group", "topic name is empty", `topic "a" is listed twice`, "SessionTimeout", "HeartbeatInterval", "RebalanceTimeout",
		"JoinBackoff", "StartTimeout", "WatchInterval", "MaxWait", "StallTimeout", "MaxBytes", "MetadataLimit 40000",
		"OutOfRange 9", "ForeignProgress 9", "offset -5 of t/0", "SCRAM-SHA-256",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q:\n%v", want, err)
		}
	}
	_, err = kafka.New([]string{"", "nowhere"}, "g", []string{"t"}, kafka.Config{})
	if err == nil || !strings.Contains(err.Error(), `broker ""`) || !strings.Contains(err.Error(), `broker "nowhere"`) {
		t.Errorf("brokers without a port: %v", err)
	}
	_, err = kafka.New([]string{"b:9092"}, "g", []string{"t"}, kafka.Config{MaxBytes: 65 << 20})
	if err == nil || !strings.Contains(err.Error(), "MaxBytes") {
		t.Errorf("MaxBytes of 65 MiB: %v", err)
	}
	_, err = kafka.New([]string{"b:9092"}, "g", []string{"t"}, kafka.Config{HeartbeatInterval: 20 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "third of SessionTimeout") {
		t.Errorf("a heartbeat interval of 20s in a session of 30s: %v", err)
	}
}

func TestNewRefusesNamesThatNoClusterAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		broker, group, topic string
		want                 string // empty: accepted
	}{
		"the largest port":        {"b:65535", "g", "t", ""},
		"port too large":          {"127.0.0.1:99999", "g", "t", `port "99999"`},
		"port 0":                  {"b:0", "g", "t", `port "0"`},
		"negative port":           {"b:-1", "g", "t", `port "-1"`},
		"port with a name":        {"b:abc", "g", "t", `broker "b:abc"`},
		"no port":                 {"b:", "g", "t", `broker "b:"`},
		"the longest topic":       {"b:9092", "g", strings.Repeat("t", 249), ""},
		"topic too long":          {"b:9092", "g", strings.Repeat("t", 250), "250 characters"},
		"all characters":          {"b:9092", "g", "aZ09._-", ""},
		"character beyond ASCII":  {"b:9092", "g", "größe", `"größe"`},
		"invalid UTF-8":           {"b:9092", "g", "t\xff", `"t\xff"`},
		"slash":                   {"b:9092", "g", "a/b", `"a/b"`},
		"dot":                     {"b:9092", "g", ".", `"."`},
		"two dots":                {"b:9092", "g", "..", `".."`},
		"three dots":              {"b:9092", "g", "...", ""},
		"the longest group":       {"b:9092", strings.Repeat("g", 32767), "t", ""},
		"group too long to send":  {"b:9092", strings.Repeat("g", 32768), "t", "32768 bytes"},
		"group that is cut apart": {"b:9092", strings.Repeat("ü", 20000), "t", "40000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := kafka.New([]string{c.broker}, c.group, []string{c.topic}, kafka.Config{})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "kafka: ")):
				t.Errorf("New = %v, want an error that names %s", err, c.want)
			}
			if s != nil {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCredentialsPrintNoSecret(t *testing.T) {
	for _, m := range []sasl.Mechanism{
		kafka.Plain("alice", "hunter2"), kafka.SCRAMSHA256("alice", "hunter2"), kafka.SCRAMSHA512("alice", "hunter2"),
	} {
		cfg := kafka.Config{SASL: m}
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("cfg", m), slog.String("all", fmt.Sprint(cfg)))
		text := fmt.Sprintf("%v %+v %#v %s %q %v %+v", m, m, m, m, m, cfg, cfg) + log.String()
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%d", []byte("hunter2"))) {
			t.Errorf("%s shows the password: %s", m.Name(), text)
		}
	}
}
