package recorded

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The bytes are those of an event of MySQL 9.2.
func TestTaggedGTIDIsEncodedAsByMySQL(t *testing.T) {
	sid, err := hex.DecodeString("896e788218fe11efab8822222d34d411")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString("027600000202" + "2502dcf0090230f90322bd03ad02210244445a685103" + "2204" + "04060c666f6f62617a" + "0800" + "0a04" +
		"0c7f1583222d5c2e06" + "104903" + "12c3020b")
	if err != nil {
		t.Fatal(err)
	}
	got := taggedGTID(sid, "foobaz", 1, 1739823289369365, 210, 90200)
	if !bytes.Equal(got, want) {
		t.Errorf("event = %x, want %x", got, want)
	}
}
