package pulsar

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// Partitioner returns the partition, from 0 to partitions-1, for a key that is not nil. It is called from many goroutines. It
// must always return the same partition for the same arguments, or the order of the key is lost. A key that is stored as bytes
// is passed as base64, as the Java client hashes it.
type Partitioner func(key []byte, partitions int) int

// JavaStringHash is the default partitioner of the Java client: String.hashCode of the key as UTF-16 text, its sign bit
// cleared, modulo the number of partitions (org.apache.pulsar.client.impl.JavaStringHash). Bytes that are not UTF-8 count as
// U+FFFD.
func JavaStringHash(key []byte, partitions int) int {
	return int((javaStringHash(key) & 0x7fffffff) % uint32(partitions))
}

// GoStringHash is the default partitioner of the Go client library, where it is called JavaStringHash. Use it for topics that
// other Go programs write to.
//
// It hashes the bytes of the key and keeps the sign bit. So it may choose another partition than [JavaStringHash] for a key
// that is not ASCII, and, if the number of partitions is not a power of two, for a key with a hash of at least 2^31.
func GoStringHash(key []byte, partitions int) int {
	h := uint32(0)
	for _, b := range key {
		h = 31*h + uint32(b)
	}
	return int(h % uint32(partitions))
}

// Murmur3 is the hashing scheme Murmur3_32Hash of the clients of all languages: the 32-bit MurmurHash3 of the key with the
// seed 0, its sign bit cleared, modulo the number of partitions.
func Murmur3(key []byte, partitions int) int {
	return int((murmur3(key) & 0x7fffffff) % uint32(partitions))
}

func javaStringHash(key []byte) uint32 {
	h := uint32(0)
	for len(key) > 0 {
		if key[0] < utf8.RuneSelf {
			h = 31*h + uint32(key[0])
			key = key[1:]
			continue
		}
		r, n := utf8.DecodeRune(key)
		key = key[n:]
		if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
			h = 31*(31*h+uint32(r1)) + uint32(r2)
		} else {
			h = 31*h + uint32(r)
		}
	}
	return h
}

// murmur3 is MurmurHash3_x86_32 by Austin Appleby, seed 0.
func murmur3(key []byte) uint32 {
	const c1, c2 = 0xcc9e2d51, 0x1b873593
	h, n := uint32(0), uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * c1
		h ^= bits.RotateLeft32(k, 15) * c2
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	k := uint32(0)
	for i, b := range key {
		k |= uint32(b) << (8 * i)
	}
	h ^= bits.RotateLeft32(k*c1, 15) * c2
	h ^= n
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}
