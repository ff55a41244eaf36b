package wire

import (
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strconv"
)

// untyped returns arguments whose text is right for a parameter of any type that
// pgx would encode them for, so that the statement need not be described before it
// is sent in Exec mode; false if one of them has no such text.
//
// Strings have it, which pgx sends as they are whatever the type, and nil,
// integers, UUIDs, and bools once they are spelled out. Of all other Go types the
// text depends on the parameter's type: a []byte is hex for bytea and itself for
// jsonb and text; a []string is an array literal or a JSON array; a time.Time loses
// its zone on the way to a timestamp; a float64 loses its fraction on the way to an
// integer; and whatever a driver.Valuer returns may be any of those. The wrong one
// of two texts is often accepted, and stored.
func untyped(args []any) ([]any, bool) {
	spelled := args
	spell := func(i int, b bool) {
		if &spelled[0] == &args[0] { // the caller's: left as they are
			spelled = slices.Clone(args)
		}
		spelled[i] = strconv.FormatBool(b)
	}
	for i, arg := range args {
		switch arg := arg.(type) {
		case nil, string, *string,
			int, int8, int16, int32, int64, uint, uint16, uint32, uint64, // uint8 is a character where the type is "char"
			*int, *int8, *int16, *int32, *int64, *uint, *uint16, *uint32, *uint64:
		case bool:
			spell(i, arg) // t is no JSON
		case *bool:
			if arg != nil {
				spell(i, *arg)
			}
		default:
			if !isNull(arg) && !isUUID(arg) {
				return nil, false
			}
		}
	}
	return spelled, true
}

// isNull reports whether arg is a nil pointer, slice or map, which is NULL unless
// its own code says otherwise.
func isNull(arg any) bool {
	if _, stored := arg.(driver.Valuer); stored {
		return false
	}
	switch v := reflect.ValueOf(arg); v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return v.IsNil()
	default:
		return false
	}
}

// isUUID reports whether arg is of a type such as github.com/google/uuid's:
// sixteen bytes that are a string to people and to databases.
func isUUID(arg any) bool {
	_, printed := arg.(fmt.Stringer)
	_, stored := arg.(driver.Valuer)
	t := reflect.TypeOf(arg)
	return printed && stored && t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8
}
