package records

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
)

// gzipStream returns the contents of all members of a body. Bytes behind a member that do not begin another one are ignored,
// as by Java's GZIPInputStream.
type gzipStream struct {
	in bytes.Reader
	z  *gzip.Reader // made when it is needed
	at bool         // inside a member
}

// leastMember is the size of the smallest member of a gzip stream.
const leastMember = 20

func (s *gzipStream) open(body []byte) {
	s.in.Reset(body)
	s.at = false
	if s.z == nil {
		s.z = new(gzip.Reader)
	}
}

func (s *gzipStream) close() { s.in.Reset(nil) }

// more implements [unpacker].
func (s *gzipStream) more(out []byte, enough int) ([]byte, error) {
	for first := s.in.Size() == int64(s.in.Len()); len(out) < enough; first = false {
		if !s.at {
			switch {
			case !first && s.in.Len() < leastMember:
				return out, io.EOF
			case first:
				if err := s.z.Reset(&s.in); err != nil {
					return out, unexpected(err)
				}
			case s.z.Reset(&s.in) != nil:
				return out, io.EOF
			}
			s.at = true
			s.z.Multistream(false)
		}
		var err error
		if out, err = read(s.z, out, enough); err == io.EOF { //nolint:errorlint // another one is damage
			s.at = false
		} else if err != nil {
			return out, err
		}
	}
	return out, nil
}

// unexpected returns err, or io.ErrUnexpectedEOF for io.EOF.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // decompress looks for others
		return io.ErrUnexpectedEOF
	}
	return err
}
