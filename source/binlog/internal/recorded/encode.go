package recorded

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

// MySQLGTIDEvent begins a transaction of SourceUUID. The tag may be empty.
func MySQLGTIDEvent(timestamp, serverID uint32, tag string, number int64) Event {
	sid, err := hex.DecodeString(strings.ReplaceAll(SourceUUID, "-", ""))
	if err != nil {
		panic(err)
	}
	micros := uint64(timestamp) * 1_000_000
	if tag != "" {
		return NewEvent(timestamp, replication.GTID_TAGGED_LOG_EVENT, serverID, 0, taggedGTID(sid, tag, number, micros, transactionLength, mysqlVersionNumber))
	}
	le := binary.LittleEndian
	b := append([]byte{1}, sid...) // 1: it may contain statements that are not replicated as rows
	b = le.AppendUint64(b, uint64(number))
	b = append(b, replication.LogicalTimestampTypeCode)
	b = le.AppendUint64(b, uint64(number-1)) // the last one that is committed before
	b = le.AppendUint64(b, uint64(number))
	b = append(b, le.AppendUint64(nil, micros)[:7]...)
	b = append(b, mysql.PutLengthEncodedInt(transactionLength)...)
	b = le.AppendUint32(b, mysqlVersionNumber)
	return NewEvent(timestamp, replication.GTID_EVENT, serverID, 0, b)
}

const (
	mysqlVersionNumber = 80403
	transactionLength  = 500 // in bytes, whatever follows: nobody relies on it
)

// taggedGTID is a message of MySQL's serialization: version, size, the last field that a reader must know, then each field after
// its number. Fields 7, 10 and 11 are optional.
func taggedGTID(sid []byte, tag string, number int64, micros, length, version uint64) []byte {
	b := varint(nil, 0) // the last field that must be known
	b = varint(varint(b, 0), 1)
	b = varint(b, 1)
	for _, octet := range sid {
		b = varint(b, uint64(octet))
	}
	b = signed(varint(b, 2), number)
	b = append(varint(varint(b, 3), uint64(len(tag))), tag...)
	b = signed(varint(b, 4), number-1)
	b = signed(varint(b, 5), number)
	b = varint(varint(b, 6), micros)
	b = varint(varint(b, 8), length)
	b = varint(varint(b, 9), version)
	head := varint(nil, 1)
	size := len(head) + 1 + len(b)
	if size >= 1<<7 {
		size++ // the size itself has two bytes then
	}
	return append(varint(head, uint64(size)), b...)
}

// varint appends a number in 1 to 9 bytes: as many low bits are 1 as bytes follow the first.
func varint(b []byte, v uint64) []byte {
	n := 1
	for n < 9 && v>>(7*n) != 0 {
		n++
	}
	if n == 9 {
		return binary.LittleEndian.AppendUint64(append(b, 0xff), v)
	}
	return append(b, binary.LittleEndian.AppendUint64(nil, v<<n|(1<<(n-1)-1))[:n]...)
}

// signed appends a number whose lowest bit is its sign. The number must not be negative.
func signed(b []byte, v int64) []byte { return varint(b, uint64(v)<<1) }

// QueryEvent is a statement without status variables.
func QueryEvent(timestamp, serverID uint32, database, sql string) Event {
	b := make([]byte, 13) // thread, duration, then
	b[8] = byte(len(database))
	b = append(append(b, database...), 0)
	return NewEvent(timestamp, replication.QUERY_EVENT, serverID, 0, append(b, sql...))
}

// PayloadEvent puts a transaction's events, without its GTID, into one event, as binlog_transaction_compression does.
func PayloadEvent(events ...Event) Event {
	var plain []byte
	for _, e := range events {
		raw := append([]byte(nil), e.Raw[:len(e.Raw)-checksumSize]...)
		binary.LittleEndian.PutUint32(raw[atSize:], uint32(len(raw)))
		binary.LittleEndian.PutUint32(raw[atLogPos:], 0)
		plain = append(plain, raw...)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstd.MinWindowSize))
	if err != nil {
		panic(err)
	}
	packed := encoder.EncodeAll(plain, nil)
	var b []byte
	for _, field := range []struct {
		id    byte
		value uint64
	}{
		{replication.OTW_PAYLOAD_COMPRESSION_TYPE_FIELD, replication.ZSTD},
		{replication.OTW_PAYLOAD_UNCOMPRESSED_SIZE_FIELD, uint64(len(plain))},
		{replication.OTW_PAYLOAD_SIZE_FIELD, uint64(len(packed))},
	} {
		value := mysql.PutLengthEncodedInt(field.value)
		b = append(append(b, field.id, byte(len(value))), value...)
	}
	b = append(b, replication.OTW_PAYLOAD_HEADER_END_MARK)
	first := events[0]
	return NewEvent(binary.LittleEndian.Uint32(first.Raw), replication.TRANSACTION_PAYLOAD_EVENT, first.ServerID(), 0, append(b, packed...))
}
