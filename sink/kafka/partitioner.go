package kafka

// Partitioner returns the partition, from 0 to partitions-1, for a key that is not nil. It is called from many goroutines. It
// must always return the same partition for the same arguments, or the order of the key is lost.
type Partitioner func(key []byte, partitions int) int

// Murmur2 is the default partitioner of the Java producer: the 32-bit MurmurHash2 with the seed 0x9747b28c, its sign bit
// cleared, modulo the number of partitions (org.apache.kafka.common.utils.Utils and BuiltInPartitioner).
func Murmur2(key []byte, partitions int) int {
	return int((murmur2(key) & 0x7fffffff) % uint32(partitions))
}

// FNV is the hash partitioner of Sarama and of the client library (kafka.Hash): the 32-bit FNV-1a hash as a signed number,
// modulo the number of partitions, without its sign.
func FNV(key []byte, partitions int) int {
	h := uint32(2166136261)
	for _, b := range key {
		h = (h ^ uint32(b)) * 16777619
	}
	p := int32(h) % int32(partitions)
	if p < 0 {
		p = -p
	}
	return int(p)
}

func murmur2(key []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
