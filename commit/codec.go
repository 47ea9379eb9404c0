package commit

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
)

// Errors of [Decode]. A caller may go on without the text, from the offset committed beside it: messages settled ahead
// of that offset are then redelivered, and none is lost.
var (
	// ErrForeign reports that keystrand did not write the text: another program commits to the same place. The empty
	// text is foreign too.
	ErrForeign = errors.New("commit: not a progress text of keystrand")

	// ErrVersion reports that a newer release wrote the text. Upgrade, or start without the text.
	ErrVersion = errors.New("commit: progress text of a newer version")

	// ErrCorrupt reports that keystrand wrote the text, but it is truncated, altered or inconsistent.
	ErrCorrupt = errors.New("commit: progress text is damaged")
)

const (
	magic   = "ks:"
	version = 2
	plain   = "ks:1:" // without At
	placed  = "ks:2:" // with At
	crcSize = 4
)

// Encode writes p as printable ASCII of at most limit bytes; limit <= 0 means no limit. It keeps the frontier and as
// many of the ranges ahead as fit, those nearest to the frontier first, and reports this in stored. The limit of
// Kafka's brokers is 4096 bytes by default (offset.metadata.max.bytes).
//
// At comes before any range, and whole. If frontier, log identity, epoch and At do not fit, the text is empty, and only
// the offset committed beside it is kept: no text lacks the At of its progress. stored does not tell, so a source that
// cannot begin again without At must fail a commit with an empty text.
//
// # Format
//
// The text is "ks:1:", or "ks:2:" with At (magic "ks:", the version in decimal, ":"), and then, in URL-safe base64
// without padding:
//
//	varint   frontier             varint: zigzag, as encoding/binary's Varint
//	varint   epoch
//	uvarint  length of log        uvarint: as encoding/binary's Uvarint
//	bytes    log
//	uvarint  length of At         only version 2; never 0
//	bytes    At                   only version 2
//	chunks   until four bytes are left
//	uint32   CRC-32C of the text's first five bytes and all bytes above, big endian
//
// The chunks describe the offsets from the frontier on. Each chunk begins where the previous one ended:
//
//	uvarint  n << 1      n runs:     n pairs of a uvarint gap and a uvarint length: that many offsets that are not
//	                                 covered, then that many that are
//	uvarint  n << 1 | 1  n offsets:  (n + 7) / 8 bytes, lowest bit first: a set bit means covered; the last of the n is
//	                                 set, the bits above it are clear
//
// n and the lengths are never 0. Only the very first gap may be 0, so a stretch has only one encoding. The encoder
// chooses the cheaper form chunk by chunk, and begins a new chunk where the other form saves more bits than the new
// chunk costs.
//
// # Capacity
//
// With an 8-byte log identity, one stuck message with a million settled ones behind it takes 39 bytes. 4096 bytes reach
// this many offsets from the frontier (TestEncodeKeepsNearestRangesWithinLimit prints them):
//
//	every 2nd or every 10th settled, every 10th unsettled, half settled at random    24,300
//	90 % settled at random                                                           24,600
//	99 % settled at random                                                          139,500
//	every 100th unsettled                                                           152,300
func Encode(p *Progress, limit int) (text string, stored Stored) {
	ahead := normalise(p.Frontier, p.Ahead)
	text, kept := encode(p, ahead, limit)
	return text, Stored{Frontier: p.Frontier, Replays: covered(ahead[len(kept):])}
}

// EncodeAfter is [Encode] for a partition whose last stored text is before; "" if there is none. Where the limit does not allow
// for all of p, the text keeps at least the ranges of before: what one commit has stored, each later one stores, as long as the
// limit does not shrink. before must be of the same log. A text that [Decode] refuses counts as none.
//
// It leaves up to 16 bytes of the limit unused, if they are not needed for that: numbers grow.
func EncodeAfter(before string, p *Progress, limit int) (text string, stored Stored) {
	const spare = 16
	if limit <= spare {
		return Encode(p, limit)
	}
	ahead := normalise(p.Frontier, p.Ahead)
	text, kept := encode(p, ahead, limit-spare)
	if text == "" {
		text, kept = encode(p, nil, limit)
	}
	stored = Stored{Frontier: p.Frontier, Replays: covered(ahead[len(kept):])}
	if stored.Replays == 0 {
		return text, stored
	}
	old, err := Decode(before)
	if err != nil {
		return text, stored
	}
	if same := normalise(p.Frontier, old.Ahead); covers(ahead, same) && !covers(kept, same) {
		text, kept = encode(p, same, limit)
		stored.Replays = covered(ahead) - covered(kept)
	}
	return text, stored
}

// encode writes p with a prefix of the ranges ahead, and returns the text and the prefix.
func encode(p *Progress, ahead []Range, limit int) (text string, kept []Range) {
	prefix := plain
	if p.At != "" {
		prefix = placed
	}
	payload := binary.AppendVarint([]byte(prefix), p.Frontier)
	payload = binary.AppendVarint(payload, p.Epoch)
	payload = binary.AppendUvarint(payload, uint64(len(p.Log)))
	payload = append(payload, p.Log...)
	if p.At != "" {
		payload = binary.AppendUvarint(payload, uint64(len(p.At)))
		payload = append(payload, p.At...)
	}

	room := math.MaxInt // bytes left for the chunks
	if limit > 0 {
		room = base64.RawURLEncoding.DecodedLen(limit-len(prefix)) - (len(payload) - len(prefix)) - crcSize
	}
	if limit > 0 && (limit < len(prefix) || room < 0) {
		return "", nil
	}

	n := 0
	for _, c := range plan(p.Frontier, ahead, room) {
		payload = c.append(payload)
		n += len(c.ranges)
	}
	payload = binary.BigEndian.AppendUint32(payload, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))

	out := make([]byte, 0, len(prefix)+base64.RawURLEncoding.EncodedLen(len(payload)-len(prefix)))
	out = append(out, prefix...)
	return string(base64.RawURLEncoding.AppendEncode(out, payload[len(prefix):])), ahead[:n]
}

// Decode reads a text written by [Encode]. It accepts any text: if the text is not a progress, the error wraps
// [ErrForeign], [ErrVersion] or [ErrCorrupt]. The result takes at most 100 bytes of memory for each byte of the text.
//
// The caller must compare Log with the log, and Frontier with the offset committed beside the text. Ranges and At of
// another log must not be applied, and a different offset shows that another program has moved it.
func Decode(text string) (*Progress, error) {
	rest, ok := strings.CutPrefix(text, magic)
	if !ok {
		return nil, fmt.Errorf("%w: %d bytes that do not begin with %q: another program commits here", ErrForeign, len(text), magic)
	}
	if err := checkVersion(rest); err != nil {
		return nil, err
	}
	// All versions that are read have one digit.
	prefix, text64 := text[:len(plain)], text[len(plain):]
	if strings.ContainsAny(text64, "\r\n") { // encoding/base64 would skip these
		return nil, fmt.Errorf("%w: it contains a line break", ErrCorrupt)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text64)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(data) < crcSize {
		return nil, fmt.Errorf("%w: truncated after %d bytes", ErrCorrupt, len(text))
	}
	data, sum := data[:len(data)-crcSize], binary.BigEndian.Uint32(data[len(data)-crcSize:])
	table := crc32.MakeTable(crc32.Castagnoli)
	if crc32.Update(crc32.Checksum([]byte(prefix), table), table, data) != sum {
		return nil, fmt.Errorf("%w: checksum of %d bytes is wrong: truncated or altered", ErrCorrupt, len(text))
	}
	r := reader{data: data}
	p := r.progress(prefix == placed)
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// checkVersion checks the version, which follows the magic.
func checkVersion(rest string) error {
	digits, _, found := strings.Cut(rest, ":")
	if !found || digits == "" || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return fmt.Errorf("%w: no version", ErrCorrupt)
	}
	if digits != "1" && digits != "2" {
		if len(digits) > 9 {
			digits = digits[:9] + "..."
		}
		return fmt.Errorf("%w: version %s, this release reads up to %d", ErrVersion, digits, version)
	}
	return nil
}

// covered returns the number of offsets in ranges, at most MaxInt64.
func covered(rs []Range) int64 {
	sum := uint64(0)
	for _, r := range rs {
		sum += uint64(r.To) - uint64(r.From)
		if sum > math.MaxInt64 {
			return math.MaxInt64
		}
	}
	return int64(sum)
}
