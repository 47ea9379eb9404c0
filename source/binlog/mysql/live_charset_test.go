package mysql_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// For every character of one, two, three or four bytes that the server can decode, the text is the server's, or an error.
func TestLiveCharactersAreDecodedAsTheServerDoes(t *testing.T) {
	l := liveServer(t)
	for _, charset := range mysql.Charsets() {
		if charset == "gb18030" { // MySQL only
			continue
		}
		t.Run(charset, func(t *testing.T) {
			checked, refused := 0, 0
			var wrong []string
			compare := func(texts []string) {
				var b strings.Builder
				for i, text := range texts {
					if i > 0 {
						b.WriteString(", ")
					}
					fmt.Fprintf(&b, "HEX(CONVERT(CONVERT(x'%x' USING %s) USING utf8mb4)), HEX(CONVERT(x'%x' USING %s))", text, charset, text, charset)
				}
				cells := make([]any, 2*len(texts))
				values := make([]*string, len(cells))
				for i := range cells {
					cells[i] = &values[i]
				}
				if err := l.db.QueryRowContext(t.Context(), "SELECT "+b.String()).Scan(cells...); err != nil {
					t.Fatal(err)
				}
				for i, text := range texts {
					if values[2*i] == nil || values[2*i+1] == nil || *values[2*i+1] != strings.ToUpper(hex.EncodeToString([]byte(text))) {
						continue // not a text of the character set
					}
					want, err := hex.DecodeString(*values[2*i])
					if err != nil {
						t.Fatal(err)
					}
					if strings.Count(string(want), "?") > strings.Count(text, "?") || strings.ContainsRune(string(want), utf8.RuneError) {
						continue // the server has no Unicode for it
					}
					checked++
					got, err := mysql.Decode(charset, text)
					switch {
					case err != nil:
						refused++
					case got != string(want):
						wrong = append(wrong, fmt.Sprintf("%x: %q, want %q", text, got, want))
					}
				}
			}
			for lead := range 256 {
				texts := []string{string([]byte{byte(lead)})}
				for trail := range 256 {
					if lead < 0x80 && !strings.HasPrefix(charset, "u") { // ASCII, and any character
						break
					}
					two := []byte{byte(lead), byte(trail)}
					texts = append(texts, string(two))
					switch charset {
					case "ujis", "eucjpms":
						texts = append(texts, "\x8f"+string(two))
					case "utf32":
						texts = append(texts, "\x00\x00"+string(two), "\x00\x01"+string(two))
					}
				}
				compare(texts)
			}
			t.Logf("%d characters, %d of them refused, %d wrong", checked, refused, len(wrong))
			if checked == 0 {
				t.Error("no character was compared")
			}
			if len(wrong) > 0 {
				t.Errorf("%q", wrong[:min(len(wrong), 40)])
			}
		})
	}
}
