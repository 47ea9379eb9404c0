package pipeline

import (
	"fmt"

	"github.com/keystrand/keystrand/internal/jsonform"
)

// The JSON of a Snapshot and of an Event: constants are their names; see internal/jsonform for the others.

// constant returns the constant with this name.
func constant[T interface {
	~int32 | ~uint8
	String() string
}](text []byte,
) (c T, err error) {
	for ; c.String() != unknown; c++ {
		if c.String() == string(text) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("pipeline: %.100q is no %T", text, c)
}

// MarshalText returns the text of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the text of String.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = constant[State](text)
	return err
}

// MarshalText returns the text of String.
func (w Wait) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the text of String.
func (w *Wait) UnmarshalText(text []byte) (err error) {
	*w, err = constant[Wait](text)
	return err
}

// MarshalText returns the text of String.
func (w Why) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the text of String.
func (w *Why) UnmarshalText(text []byte) (err error) {
	*w, err = constant[Why](text)
	return err
}

// MarshalText returns the text of String.
func (b Bottleneck) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads the text of String.
func (b *Bottleneck) UnmarshalText(text []byte) (err error) {
	*b, err = constant[Bottleneck](text)
	return err
}

// MarshalText returns the text of String.
func (s StrandState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the text of String.
func (s *StrandState) UnmarshalText(text []byte) (err error) {
	*s, err = constant[StrandState](text)
	return err
}

// MarshalText returns the text of String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the text of String.
func (k *EventKind) UnmarshalText(text []byte) (err error) {
	*k, err = constant[EventKind](text)
	return err
}

// MarshalJSON returns the form that Snapshot describes.
func (s Snapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(s) }

// UnmarshalJSON reads the form of MarshalJSON.
func (s *Snapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }

// MarshalJSON returns the form that Snapshot describes.
func (s PartitionSnapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(s) }

// UnmarshalJSON reads the form of MarshalJSON.
func (s *PartitionSnapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }

// MarshalJSON returns the form that Snapshot describes.
func (s LeavingSnapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(s) }

// UnmarshalJSON reads the form of MarshalJSON.
func (s *LeavingSnapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }

// MarshalJSON returns the form that Snapshot describes.
func (k KeySnapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(k) }

// UnmarshalJSON reads the form of MarshalJSON.
func (k *KeySnapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, k) }

// MarshalJSON returns the form that Snapshot describes.
func (s StrandSnapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(s) }

// UnmarshalJSON reads the form of MarshalJSON.
func (s *StrandSnapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }

// MarshalJSON returns the form that Snapshot describes.
func (s DivertSnapshot) MarshalJSON() ([]byte, error) { return jsonform.Marshal(s) }

// UnmarshalJSON reads the form of MarshalJSON.
func (s *DivertSnapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }

// MarshalJSON returns the form that Snapshot describes.
func (t SinkTrouble) MarshalJSON() ([]byte, error) { return jsonform.Marshal(t) }

// UnmarshalJSON reads the form of MarshalJSON.
func (t *SinkTrouble) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, t) }

// MarshalJSON returns the form that Snapshot describes.
func (t Timing) MarshalJSON() ([]byte, error) { return jsonform.Marshal(t) }

// UnmarshalJSON reads the form of MarshalJSON.
func (t *Timing) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, t) }

// MarshalJSON returns the form that Snapshot describes.
func (e Event) MarshalJSON() ([]byte, error) { return jsonform.Marshal(e) }

// UnmarshalJSON reads the form of MarshalJSON.
func (e *Event) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, e) }
