package wire

import (
	"database/sql/driver"
	"fmt"
	"reflect"
)

// untyped reports whether the text of every argument is right for a parameter of
// any type that pgx would encode it for, so that the statement need not be
// described before it is sent in Exec mode.
//
// That is so for strings, which pgx sends as they are whatever the type, for
// integers and for UUIDs. Of all other Go types the text depends on the
// parameter's type: a []byte is hex for bytea and itself for jsonb and text; a
// []string is an array literal or a JSON array; a bool is t, or true in jsonb; a
// time.Time loses its zone on the way to a timestamp; a float64 loses its fraction
// on the way to an integer; and whatever a driver.Valuer returns may be any of
// those. The wrong one of two texts is often accepted, and stored.
func untyped(args []any) bool {
	for _, arg := range args {
		switch arg.(type) {
		case nil, string, *string,
			int, int8, int16, int32, int64, uint, uint16, uint32, uint64, // uint8 is a character where the type is "char"
			*int, *int8, *int16, *int32, *int64, *uint, *uint16, *uint32, *uint64:
		default:
			if !isUUID(arg) {
				return false
			}
		}
	}
	return true
}

// isUUID reports whether arg is of a type such as github.com/google/uuid's:
// sixteen bytes that are a string to people and to databases.
func isUUID(arg any) bool {
	_, printed := arg.(fmt.Stringer)
	_, stored := arg.(driver.Valuer)
	t := reflect.TypeOf(arg)
	return printed && stored && t.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8
}
