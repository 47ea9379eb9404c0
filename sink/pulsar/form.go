package pulsar

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/crypto"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/pulsarwire"
)

// setForm sets the key and the ordering key of out, and a property that asks former for what the library cannot set: also for
// an event time, in milliseconds, that is not 0.
func setForm(out *pulsar.ProducerMessage, m *keystrand.Message, event int64) {
	kind := pulsarwire.KeyNone
	if n, ok := m.Native.(*pulsarwire.Native); ok {
		kind, out.OrderingKey = n.Kind, n.Ordering
	}
	var form pulsarwire.Form
	form, out.Key = pulsarwire.FormOf(m.Key, out.Payload, kind)
	if form.Event = event; form == (pulsarwire.Form{}) {
		return
	}
	if out.Properties == nil {
		out.Properties = make(map[string]string, 1)
	}
	out.Properties[pulsarwire.PropertyName] = form.Property()
}

// former sets the forms of messages in the batches of one producer. The library (v0.19.0) has no options for them, and no
// other place where a batch can be changed: it takes a former for the encryption, which here leaves all but the forms alone.
// Without names of keys, consumers see a batch that is not encrypted.
type former struct {
	codec pulsarwire.Codec
	asked atomic.Int64 // messages with the property that are not written yet; without any, batches need not be decompressed
}

// Encrypt implements [crypto.MessageCrypto].
func (f *former) Encrypt(_ []string, _ crypto.KeyReader, _ crypto.MessageMetadataSupplier, batch []byte) ([]byte, error) {
	if f.asked.Load() == 0 {
		return batch, nil
	}
	return pulsarwire.Patch(batch, f.codec)
}

// AddPublicKeyCipher implements [crypto.MessageCrypto].
func (f *former) AddPublicKeyCipher([]string, crypto.KeyReader) error { return nil }

// RemoveKeyCipher implements [crypto.MessageCrypto].
func (f *former) RemoveKeyCipher(string) bool { return false }

// Decrypt implements [crypto.MessageCrypto].
func (f *former) Decrypt(_ crypto.MessageMetadataSupplier, batch []byte, _ crypto.KeyReader) ([]byte, error) {
	return batch, nil
}

// formed is a producer with a former.
type formed struct {
	pulsar.Producer

	former *former
}

// SendAsync implements producer.
func (p formed) SendAsync(ctx context.Context, m *pulsar.ProducerMessage, done func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	if _, asks := m.Properties[pulsarwire.PropertyName]; asks {
		p.former.asked.Add(1)
		written := sync.OnceFunc(func() { p.former.asked.Add(-1) })
		tell := done
		done = func(id pulsar.MessageID, m *pulsar.ProducerMessage, err error) {
			written()
			tell(id, m, err)
		}
	}
	p.Producer.SendAsync(ctx, m, done)
}

// groups finds messages of one key that the library puts into different entries: their keys have another form, or they have
// another ordering key.
type groups struct{ of map[string]string }

// begin forgets all messages.
func (g *groups) begin() { clear(g.of) }

// splits reports whether the library puts a message into another entry than an earlier one of its key.
func (g *groups) splits(m *keystrand.Message, out *pulsar.ProducerMessage) bool {
	if m.Key == nil {
		return false
	}
	group := "k" + out.Key
	if out.OrderingKey != "" {
		group = "o" + out.OrderingKey
	}
	key := string(m.Key)
	if first, ok := g.of[key]; ok {
		return first != group
	}
	if g.of == nil {
		g.of = make(map[string]string)
	}
	g.of[key] = group
	return false
}
