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

// keyFlags are the fields about a key. empty: its text is.
type keyFlags struct{ present, base64, null, empty bool }

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

// noted returns the kind for a Note: text that is not empty needs none.
func (f keyFlags) noted() KeyKind {
	if k := f.kind(); k != KeyText || f.empty {
		return k
	}
	return KeyNone
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
			m.key.present, m.key.empty = true, len(f.bytes) == 0
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

// note returns the note on a message that is alone, or on the first of a batch that cannot be read.
func (m *metadata) note(empty bool) Note {
	return Note{Kind: m.key.noted(), Empty: empty, Sequence: int64(m.sequence), Event: far(m.event)} //nolint:gosec // bits
}

// emptied reports whether a payload, which is no batch, is empty once it is decompressed. Of an encrypted one, only the size
// before encryption is known.
func (m *metadata) emptied(payload []byte) bool {
	return len(payload) == 0 || m.sized && m.uncompressed == 0 && (m.encrypted || Codec(m.compression) != None)
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

// note returns the note on message i of a batch.
func (s *single) note(m *metadata, i int) Note {
	sequence := s.sequence
	if !s.sequenced {
		sequence = m.sequence + uint64(i) //nolint:gosec // not negative
	}
	return Note{Kind: s.key.noted(), Empty: s.nullValue || s.size == 0, Sequence: int64(sequence), Event: far(s.event)} //nolint:gosec // bits
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
			s.key.present, s.key.empty = true, len(f.bytes) == 0
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
