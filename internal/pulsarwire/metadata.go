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
	for i := 0; i < len(b); {
		tag, value, end := next(b, i)
		if end == 0 {
			return m, false
		}
		switch tag {
		case metaProducer<<3 | wireBytes:
			m.producer = b[end-int(value) : end] //nolint:gosec // at most len(b)
		case metaSequence<<3 | wireVarint:
			m.sequence = value
		case metaProperties<<3 | wireBytes:
			m.properties = true
		case metaKey<<3 | wireBytes:
			m.key.present, m.key.empty = true, value == 0
		case metaCompression<<3 | wireVarint:
			m.compression = value
		case metaUncompressed<<3 | wireVarint:
			m.uncompressed, m.sized = value, true
		case metaCount<<3 | wireVarint:
			m.batched, m.count = true, int(int32(value)) //nolint:gosec // an int32 of the protocol
		case metaEvent<<3 | wireVarint:
			m.event = value
		case metaEncryption<<3 | wireBytes:
			m.encrypted = true
		case metaBase64<<3 | wireVarint:
			m.key.base64 = value != 0
		case metaNullValue<<3 | wireVarint:
			m.nullValue = value != 0
		case metaChunks<<3 | wireVarint:
			m.chunked = value > 1
		case metaNullKey<<3 | wireVarint:
			m.key.null = value != 0
		}
		i = end
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
	for i := 0; i < len(b); {
		tag, value, end := next(b, i)
		if end == 0 {
			return s, false
		}
		switch tag {
		case singleKey<<3 | wireBytes:
			s.key.present, s.key.empty = true, value == 0
		case singleSize<<3 | wireVarint:
			s.size = int(int32(value)) //nolint:gosec // an int32 of the protocol
		case singleEvent<<3 | wireVarint:
			s.event = value
		case singleBase64<<3 | wireVarint:
			s.key.base64 = value != 0
		case singleSequence<<3 | wireVarint:
			s.sequence, s.sequenced = value, true
		case singleNullValue<<3 | wireVarint:
			s.nullValue = value != 0
		case singleNullKey<<3 | wireVarint:
			s.key.null = value != 0
		}
		i = end
	}
	return s, true
}
