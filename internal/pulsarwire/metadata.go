package pulsarwire

// metadata is what an entry says about its message, or about all of a batch.
type metadata struct {
	producer     []byte
	sequence     uint64
	event        uint64
	key          keyFlags
	nullValue    bool
	properties   bool
	compression  uint64
	uncompressed uint64
	sized        bool // uncompressed is set
	batched      bool
	count        int // messages in the batch
	chunked      bool
	encrypted    bool
}

// keyFlags are the fields about a key.
type keyFlags struct{ present, base64, null bool }

func (f keyFlags) kind() KeyKind {
	switch {
	case f.null:
		return KeyNull
	case !f.present:
		return KeyNone
	case f.base64:
		return KeyBytes
	}
	return KeyText
}

// Numbers of the fields of MessageMetadata in PulsarApi.proto.
const (
	metaProducer     = 1
	metaSequence     = 2
	metaProperties   = 4
	metaKey          = 6
	metaCompression  = 8
	metaUncompressed = 9
	metaCount        = 11
	metaEvent        = 12
	metaEncryption   = 13
	metaBase64       = 17
	metaNullValue    = 25
	metaChunks       = 27
	metaNullKey      = 30
)

func parseMetadata(b []byte) (m metadata, ok bool) {
	for len(b) > 0 {
		var f field
		if f, b, ok = cut(b); !ok {
			return m, false
		}
		switch f.number {
		case metaProducer:
			m.producer = f.bytes
		case metaSequence:
			m.sequence = f.varint
		case metaProperties:
			m.properties = true
		case metaKey:
			m.key.present = true
		case metaCompression:
			m.compression = f.varint
		case metaUncompressed:
			m.uncompressed, m.sized = f.varint, true
		case metaCount:
			m.batched, m.count = true, int(int32(f.varint)) //nolint:gosec // an int32 of the protocol
		case metaEvent:
			m.event = f.varint
		case metaEncryption:
			m.encrypted = true
		case metaBase64:
			m.key.base64 = f.varint != 0
		case metaNullValue:
			m.nullValue = f.varint != 0
		case metaChunks:
			m.chunked = f.varint > 1
		case metaNullKey:
			m.key.null = f.varint != 0
		}
	}
	return m, true
}

// single is what a batch says about one of its messages.
type single struct {
	size      int
	sequence  uint64
	sequenced bool
	event     uint64
	key       keyFlags
	nullValue bool
}

// Numbers of the fields of SingleMessageMetadata in PulsarApi.proto.
const (
	singleProperties = 1
	singleKey        = 2
	singleSize       = 3
	singleEvent      = 5
	singleBase64     = 6
	singleSequence   = 8
	singleNullValue  = 9
	singleNullKey    = 10
)

func parseSingle(b []byte) (s single, ok bool) {
	for len(b) > 0 {
		var f field
		if f, b, ok = cut(b); !ok {
			return s, false
		}
		switch f.number {
		case singleKey:
			s.key.present = true
		case singleSize:
			s.size = int(int32(f.varint)) //nolint:gosec // an int32 of the protocol
		case singleEvent:
			s.event = f.varint
		case singleBase64:
			s.key.base64 = f.varint != 0
		case singleSequence:
			s.sequence, s.sequenced = f.varint, true
		case singleNullValue:
			s.nullValue = f.varint != 0
		case singleNullKey:
			s.key.null = f.varint != 0
		}
	}
	return s, true
}
