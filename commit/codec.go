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

// What is wrong with a text that [Decode] refuses. A caller that goes on without it restarts from the offset that was
// committed beside it: messages settled ahead of that are then handed out again, none is lost.
var (
	// ErrForeign says that the text is not of this package. Somebody else writes to the same place; the empty text is foreign too.
	ErrForeign = errors.New("commit: not a progress text of keystrand")

	// ErrVersion says that a newer release wrote the text. Upgrade, or start without it.
	ErrVersion = errors.New("commit: progress text of a newer version")

	// ErrCorrupt says that the text is ours but cut off, changed on its way, or makes no sense.
	ErrCorrupt = errors.New("commit: progress text is damaged")
)

const (
	magic   = "ks:"
	version = 1
	prefix  = "ks:1:"
	crcSize = 4
)

// Encode writes p as printable ASCII of at most limit bytes, limit <= 0 meaning no limit, and says what it kept: the
// frontier always, and of the ranges ahead those nearest to it, as many as fit. The limit of Kafka's brokers is
// 4096 bytes unless they were told otherwise (offset.metadata.max.bytes). Where not even the frontier with log identity
// and epoch fits the text is empty: then the offset committed beside it is all that is kept.
//
// # Format
//
// The text is "ks:1:" (magic "ks:", the version in decimal, ":") and then, in URL-safe base64 without padding:
//
//	varint   frontier             varint: zigzag, as encoding/binary's Varint
//	varint   epoch
//	uvarint  length of log        uvarint: as encoding/binary's Uvarint
//	bytes    log
//	chunks   until four bytes are left
//	uint32   CRC-32C of the text's first five bytes and all bytes above, big endian
//
// The chunks describe the offsets from the frontier on, each beginning where the one before ended:
//
//	uvarint  n << 1      n runs:     n times a uvarint gap and a uvarint length: so many offsets that are not covered,
//	                                 then so many that are
//	uvarint  n << 1 | 1  n offsets:  (n + 7) / 8 bytes, lowest bit first: a set bit = covered; the last of the n is set,
//	                                 the bits above it are clear
//
// n is never 0 and a length never is. Only the first gap of all may be 0, so a stretch is written in one way only. The
// encoder takes the cheaper form chunk by chunk, and begins a new chunk where changing the form saves more bits than the
// new chunk costs.
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
	stored.Frontier = p.Frontier
	ahead := normalise(p.Frontier, p.Ahead)

	payload := binary.AppendVarint([]byte(prefix), p.Frontier)
	payload = binary.AppendVarint(payload, p.Epoch)
	payload = binary.AppendUvarint(payload, uint64(len(p.Log)))
	payload = append(payload, p.Log...)

	room := math.MaxInt // bytes for the chunks
	if limit > 0 {
		room = base64.RawURLEncoding.DecodedLen(limit-len(prefix)) - (len(payload) - len(prefix)) - crcSize
	}
	if limit > 0 && (limit < len(prefix) || room < 0) {
		stored.Replays = covered(ahead)
		return "", stored
	}

	kept := 0
	for _, c := range plan(p.Frontier, ahead, room) {
		payload = c.append(payload)
		kept += len(c.ranges)
	}
	stored.Replays = covered(ahead[kept:])
	payload = binary.BigEndian.AppendUint32(payload, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))

	out := make([]byte, 0, len(prefix)+base64.RawURLEncoding.EncodedLen(len(payload)-len(prefix)))
	out = append(out, prefix...)
	return string(base64.RawURLEncoding.AppendEncode(out, payload[len(prefix):])), stored
}

// Decode reads what [Encode] wrote. Any text may be given: what is not a progress is an error that wraps [ErrForeign],
// [ErrVersion] or [ErrCorrupt]. Its result is in proportion to the text,
// at most 100 bytes for each of its bytes, whatever the text claims.
//
// The caller compares Log and Frontier with what the log and the offset committed beside the text say: ranges of another
// log must not be applied, and a frontier that differs tells that somebody else has moved the offset.
func Decode(text string) (*Progress, error) {
	rest, ok := strings.CutPrefix(text, magic)
	if !ok {
		return nil, fmt.Errorf("%w: %d bytes that do not begin with %q: another program commits here", ErrForeign, len(text), magic)
	}
	if err := checkVersion(rest); err != nil {
		return nil, err
	}
	text64 := text[len(prefix):]
	if strings.ContainsAny(text64, "\r\n") { // which encoding/base64 would skip
		return nil, fmt.Errorf("%w: a line break in it", ErrCorrupt)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(text64)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(data) < crcSize {
		return nil, fmt.Errorf("%w: cut off after %d bytes", ErrCorrupt, len(text))
	}
	data, sum := data[:len(data)-crcSize], binary.BigEndian.Uint32(data[len(data)-crcSize:])
	table := crc32.MakeTable(crc32.Castagnoli)
	if crc32.Update(crc32.Checksum([]byte(prefix), table), table, data) != sum {
		return nil, fmt.Errorf("%w: checksum of %d bytes is wrong: cut off or changed", ErrCorrupt, len(text))
	}
	r := reader{data: data}
	p := r.progress()
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// checkVersion looks at what follows the magic.
func checkVersion(rest string) error {
	digits, _, found := strings.Cut(rest, ":")
	if !found || digits == "" || digits[0] == '0' || strings.Trim(digits, "0123456789") != "" {
		return fmt.Errorf("%w: no version", ErrCorrupt)
	}
	if digits != "1" {
		if len(digits) > 9 {
			digits = digits[:9] + "..."
		}
		return fmt.Errorf("%w: version %s, this release reads up to %d", ErrVersion, digits, version)
	}
	return nil
}

// covered counts the offsets of ranges, MaxInt64 if they are more.
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
