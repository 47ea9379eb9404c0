package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	bolterrors "go.etcd.io/bbolt/errors"
)

// The layout of pages of bbolt, version 2, in bytes. Numbers are in the order of the machine.
const (
	pageHeader = 16 // id 8, flags 2, count 2, overflow 4
	pageCount  = 10
	metaFree   = 32 // the page of the list of free pages
	metaEnd    = 40 // the first page that was never used
	metaTx     = 48
	metaSum    = 56
	metaSize   = 64
)

// checkPages returns an error if pages are damaged that bbolt believes: then it may forget the last transaction, or write over
// records, without a word.
//
//   - One of the two metas, which tell where the last two transactions are. bbolt takes the other one if the sum of one is wrong.
//     A kill does not leave one half written: a meta is within a sector.
//   - The list of free pages, which has no sum.
func checkPages(file io.ReaderAt, pageSize int64) error {
	var last []byte
	for n := range int64(2) {
		page := make([]byte, pageHeader+metaSize)
		if _, err := file.ReadAt(page, n*pageSize); err != nil {
			return err
		}
		meta := page[pageHeader:]
		h := fnv.New64a()
		_, _ = h.Write(meta[:metaSum]) // never fails
		if h.Sum64() != binary.NativeEndian.Uint64(meta[metaSum:]) {
			return fmt.Errorf("page %d: %w", n, bolterrors.ErrChecksum)
		}
		if last == nil || binary.NativeEndian.Uint64(meta[metaTx:]) > binary.NativeEndian.Uint64(last[metaTx:]) {
			last = meta
		}
	}
	id, end := binary.NativeEndian.Uint64(last[metaFree:]), binary.NativeEndian.Uint64(last[metaEnd:])
	return checkFree(io.NewSectionReader(file, int64(id)*pageSize, 1<<40), end)
}

// checkFree returns an error unless the free pages ascend, and are among those that were used.
func checkFree(list io.Reader, end uint64) error {
	header := make([]byte, pageHeader)
	if _, err := io.ReadFull(list, header); err != nil {
		return err
	}
	count := uint64(binary.NativeEndian.Uint16(header[pageCount:]))
	if count == 0xffff { // too many for the header
		first := make([]byte, 8)
		if _, err := io.ReadFull(list, first); err != nil {
			return err
		}
		count = binary.NativeEndian.Uint64(first)
	}
	if count > end {
		return fmt.Errorf("the list of free pages has %d of %d", count, end)
	}
	ids := make([]byte, 8*count)
	if _, err := io.ReadFull(list, ids); err != nil {
		return err
	}
	last := uint64(1) // the metas are never free
	for ; len(ids) > 0; ids = ids[8:] {
		id := binary.NativeEndian.Uint64(ids)
		if id <= last || id >= end {
			return fmt.Errorf("the list of free pages has %d behind %d, of %d", id, last, end)
		}
		last = id
	}
	return nil
}
