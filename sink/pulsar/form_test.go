package pulsar

import (
	"context"
	"errors"
	"go/build"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// nativeOf returns what the sink and the source know of a message.
func nativeOf(m *keystrand.Message) pulsarwire.Native {
	if n, ok := m.Native.(*pulsarwire.Native); ok {
		return *n
	}
	return pulsarwire.Native{}
}

// read is a message as the source reads it.
func read(kind pulsarwire.KeyKind, key, value []byte, ordering string) keystrand.Message {
	return keystrand.Message{Key: key, Value: value, Native: &pulsarwire.Native{Kind: kind, Ordering: ordering}}
}

func TestForwardedMessageKeepsTheFormOfItsKeyAndValue(t *testing.T) {
	v := []byte("v")
	for name, m := range map[string]keystrand.Message{
		"text":                      read(pulsarwire.KeyText, []byte("user-1"), v, ""),
		"bytes":                     read(pulsarwire.KeyBytes, []byte("user-1"), v, ""),
		"bytes that are not UTF-8":  read(pulsarwire.KeyBytes, []byte{0xff, 0, 1}, v, ""),
		"text that looks as base64": read(pulsarwire.KeyText, []byte("dXNlci0x"), v, ""),
		"empty text":                read(pulsarwire.KeyText, []byte{}, v, ""),
		"empty bytes":               read(pulsarwire.KeyBytes, []byte{}, v, ""),
		"no key":                    read(pulsarwire.KeyNone, nil, v, ""),
		"null key":                  read(pulsarwire.KeyNull, nil, v, ""),
		"ordering key":              read(pulsarwire.KeyText, []byte("user-1"), v, "order-9"),
		"ordering key alone":        read(pulsarwire.KeyNone, nil, v, "order-9"),
		"binary ordering key":       read(pulsarwire.KeyBytes, []byte{0xff}, v, "\xfe"),
		"tombstone":                 read(pulsarwire.KeyBytes, []byte("user-1"), nil, ""),
		"empty value":               read(pulsarwire.KeyText, []byte("user-1"), []byte{}, ""),
		"Kafka: text":               {Key: []byte("user-1"), Value: v},
		"Kafka: bytes":              {Key: []byte{0xff, 0, 1}, Value: v},
		"Kafka: empty key":          {Key: []byte{}, Value: v},
		"Kafka: no key":             {Value: v},
		"Kafka: tombstone":          {Key: []byte("user-1")},
		"changed to no UTF-8":       read(pulsarwire.KeyText, []byte{0xff}, v, ""),
		"key removed":               read(pulsarwire.KeyBytes, nil, v, ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				if err := f.writer(t, "out", Config{}).Write(t.Context(), []keystrand.Message{m}); err != nil {
					t.Fatal(err)
				}
				got := f.read()[0]
				want, is := nativeOf(&m), nativeOf(&got)
				switch name {
				case "Kafka: text", "Kafka: empty key", "Kafka: tombstone":
					want.Kind = pulsarwire.KeyText
				case "Kafka: bytes", "changed to no UTF-8":
					want.Kind = pulsarwire.KeyBytes
				case "key removed":
					want.Kind = pulsarwire.KeyNone
				}
				if is.Kind != want.Kind || is.Ordering != want.Ordering {
					t.Errorf("kind %d, ordering key %q, want %d, %q", is.Kind, is.Ordering, want.Kind, want.Ordering)
				}
				if string(got.Key) != string(m.Key) || (got.Key == nil) != (m.Key == nil) || (got.Value == nil) != (m.Value == nil) || len(got.Headers) > 0 {
					t.Errorf("stored %#v %#v %v, want %#v %#v", got.Key, got.Value, got.Headers, m.Key, m.Value)
				}
			})
		})
	}
}

// The library puts messages into one entry by their ordering key, or by the text of their key. Entries of a wave can fail
// each alone, so a wave must not have two entries of one key. The fake reports that.
func TestMessagesOfAKeyWithSeveralFormsAreNotInFlightTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		w := f.writer(t, "out", Config{})
		a := []byte("a")
		ms := []keystrand.Message{
			read(pulsarwire.KeyText, a, []byte("1"), ""),
			read(pulsarwire.KeyText, a, []byte("2"), ""),
			read(pulsarwire.KeyBytes, a, []byte("3"), ""),
			read(pulsarwire.KeyText, []byte("b"), []byte("4"), ""),
			read(pulsarwire.KeyBytes, a, []byte("5"), "x"),
			read(pulsarwire.KeyBytes, a, []byte("6"), "y"),
		}
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		order := ""
		for _, m := range f.read() {
			order += string(m.Value)
		}
		if order != "123456" {
			t.Errorf("stored in the order %s", order)
		}
	})
}

// A Java client chooses the partition of a key of bytes by its base64.
func TestKeyOfBytesGoesToThePartitionOfTheJavaClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 64})
		key := []byte("user-1")
		ms := []keystrand.Message{read(pulsarwire.KeyText, key, key, ""), read(pulsarwire.KeyBytes, key, key, "")}
		if err := f.writer(t, "out", Config{}).Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		for _, m := range f.read() {
			want := JavaStringHash([]byte("user-1"), 64)
			if nativeOf(&m).Kind == pulsarwire.KeyBytes {
				want = JavaStringHash([]byte("dXNlci0x"), 64)
			}
			if int(m.Partition) != want {
				t.Errorf("%+v is in partition %d, want %d", m.Native, m.Partition, want)
			}
		}
	})
}

func TestShortAndFullNameAreOneTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		w := f.writer(t, "", Config{ByStream: true})
		ms := keyed("a=1", "a=2", "a=3")
		for i, name := range []string{"out", "public/default/out", "persistent://public/default/out"} {
			ms[i].Stream = name
		}
		if err := w.Write(t.Context(), ms); err != nil {
			t.Fatal(err)
		}
		if n := f.opened; n != 1 {
			t.Errorf("%d producers for one topic", n)
		}
	})
}

// lateProducer keeps what is sent.
type lateProducer struct {
	pulsar.Producer

	done []func(pulsar.MessageID, *pulsar.ProducerMessage, error)
}

func (p *lateProducer) SendAsync(_ context.Context, _ *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	p.done = append(p.done, done)
}

// One tombstone must not make the producer decompress all its later batches.
func TestBatchesAreOnlyDecompressedWhileAFormIsAskedFor(t *testing.T) {
	var late lateProducer
	p := formed{&late, &former{codec: pulsarwire.ZSTD}}
	patches := func() bool {
		_, err := p.former.Encrypt(nil, nil, nil, []byte("not compressed"))
		return err != nil
	}
	told := 0
	send := func(properties map[string]string) {
		p.SendAsync(t.Context(), &pulsar.ProducerMessage{Properties: properties}, func(pulsar.MessageID, *pulsar.ProducerMessage, error) { told++ })
	}
	send(nil)
	if patches() {
		t.Error("a batch without a form is decompressed")
	}
	asks := map[string]string{pulsarwire.PropertyName: pulsarwire.Form{NullValue: true}.Property()}
	send(asks)
	send(asks)
	late.done[1](nil, nil, nil)
	late.done[1](nil, nil, nil) // a mistake of the library
	if !patches() {
		t.Error("a batch with a form is left alone")
	}
	late.done[2](nil, nil, errors.New("closed"))
	if patches() {
		t.Error("a batch without a form is decompressed, since one had it before")
	}
	if told != 3 {
		t.Errorf("told %d times, want 3", told)
	}
}

// The former depends on where the library (v0.19.0) encrypts. If this test fails, read the library's source again.
func TestLibraryStillEncryptsBatchesWithoutKeys(t *testing.T) {
	library, err := build.Import("github.com/apache/pulsar-client-go/pulsar", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"producer_impl.go":                            "\tif encryption != nil && len(encryption.Keys) > 0 {\n",
		"producer_partition.go":                       "\tif p.options.Encryption != nil {\n\t\tp.encryptor = internalcrypto.NewProducerEncryptor(p.options.Encryption.Keys,\n",
		filepath.Join("internal", "commands.go"):      "\tencryptedPayload, err := encryptor.Encrypt(compressedPayload, msgMetadata)\n",
		filepath.Join("internal", "batch_builder.go"): "\tbc.msgMetadata.UncompressedSize = &uncompressedSize\n",
	} {
		text, err := os.ReadFile(filepath.Join(library.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not contain\n%s", file, want)
		}
	}
}
