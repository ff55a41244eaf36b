// Package exactjson reads JSON objects that strangers wrote by the letter.
//
// encoding/json takes NAME, and even naſme with a long s, for the field name,
// and of two fields with one name the last. Whoever checks a text before us,
// a proxy or an issuer, may see another field than we do. Here a name is what
// its letters are, and an object that has one twice is refused (RFC 8259
// section 4 leaves open what it would mean; RFC 7493 forbids it).
package exactjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// DuplicateError means that an object has two members of one name.
type DuplicateError struct{ Name string }

// Error names the member.
func (e *DuplicateError) Error() string { return fmt.Sprintf("the member %q is there twice", e.Name) }

// Members returns the members of the JSON object that raw is, as they stand
// there. The error is a [*DuplicateError] or says that raw is no JSON object.
// Objects within it are not looked into.
func Members(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil {
		return nil, fmt.Errorf("reading a JSON object: %w", err)
	} else if t != json.Delim('{') {
		return nil, errors.New("reading a JSON object: it is none")
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("reading a JSON object: %w", err)
		}
		name, _ := t.(string) // the decoder lets nothing else stand here
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading a JSON object: %w", err)
		}
		if _, ok := members[name]; ok {
			return nil, &DuplicateError{name}
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("reading a JSON object: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("reading a JSON object: something follows it")
	}
	return members, nil
}

// Unmarshal stores the members of the JSON object raw in the fields of the
// struct that into points to. A field is filled from the member that its json
// tag names, letter by letter; other members are ignored. Errors are those of
// [Members], and those of encoding/json, of which a *json.UnmarshalTypeError
// names the member.
func Unmarshal(raw []byte, into any) error {
	members, err := Members(raw)
	if err != nil {
		return err
	}
	return Fill(members, into)
}

// Fill is [Unmarshal] for members that have been read, with the same errors.
func Fill(members map[string]json.RawMessage, into any) error {
	target := reflect.ValueOf(into).Elem()
	for i := range target.NumField() {
		name, _, _ := strings.Cut(target.Type().Field(i).Tag.Get("json"), ",")
		value, ok := members[name]
		if !ok || name == "" || name == "-" {
			continue
		}
		if err := json.Unmarshal(value, target.Field(i).Addr().Interface()); err != nil {
			if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
				typeErr.Field = strings.TrimSuffix(name+"."+typeErr.Field, ".")
			}
			return fmt.Errorf("reading the member %q: %w", name, err)
		}
	}
	return nil
}
