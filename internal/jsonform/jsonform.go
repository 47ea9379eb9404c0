// Package jsonform gives structs a JSON form that loses nothing and that people can read: a time.Duration is a text with units, such
// as "1m30s", and an error is its text, or null. All else is as package encoding/json has it.
//
// A type uses it by two methods:
//
//	func (s Snapshot) MarshalJSON() ([]byte, error)   { return jsonform.Marshal(s) }
//	func (s *Snapshot) UnmarshalJSON(text []byte) error { return jsonform.Unmarshal(text, s) }
//
// Only fields of the struct itself are converted: the types of its fields use the package in the same way.
package jsonform

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Marshal returns the JSON of a struct.
func Marshal(s any) ([]byte, error) {
	text := []byte{'{'}
	for f, v := range reflect.ValueOf(s).Fields() {
		value := v.Interface()
		switch f.Type {
		case reflect.TypeFor[time.Duration]():
			value = fmt.Sprint(value)
		case reflect.TypeFor[error]():
			if value != nil {
				value = fmt.Sprint(value) // not its Error, which may panic
			}
		}
		of, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(fmt.Appendf(text, "%q:", f.Name), of...)
	}
	return append(text, '}'), nil
}

// Unmarshal sets the fields of the struct to which s points. Fields that the JSON lacks are not changed. An error that is read has
// the text alone.
func Unmarshal(text []byte, s any) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	for f, v := range reflect.ValueOf(s).Elem().Fields() {
		if of, ok := values[f.Name]; ok {
			if err := set(v, of); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func set(v reflect.Value, text json.RawMessage) error {
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		v.SetInt(int64(d))
		return err
	case reflect.TypeFor[error]():
		var s *string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		v.SetZero()
		if s != nil {
			v.Set(reflect.ValueOf(errors.New(*s)))
		}
		return nil
	}
	return json.Unmarshal(text, v.Addr().Interface())
}
