package hostile

import (
	"encoding/binary"
	"strings"
)

// boundValue is a parameter's value in a Bind.
type boundValue struct {
	bytes  []byte // nil: null. A text is the same bytes in both formats.
	binary bool
}

// parseBound reads the values of the parameters in a Bind. params is the
// message after the statement's name, or the beginning of it; whole reports
// whether all values are in it.
func parseBound(params []byte) (values []boundValue, whole bool) {
	next := func(n int) []byte {
		if n < 0 || len(params) < n {
			params = nil
			return nil
		}
		field := params[:n:n]
		params = params[n:]
		return field
	}
	count := func() (int, bool) {
		field := next(2)
		if field == nil {
			return 0, false
		}
		return int(binary.BigEndian.Uint16(field)), true
	}
	n, ok := count()
	if !ok {
		return nil, false
	}
	formats := next(2 * n)
	if n, ok = count(); !ok {
		return nil, false
	}
	for i := range n {
		size := next(4)
		if size == nil {
			return values, false
		}
		v := boundValue{binary: isBinary(formats, i)}
		if length := int(int32(binary.BigEndian.Uint32(size))); length >= 0 {
			if v.bytes = next(length); v.bytes == nil {
				return values, false
			}
		}
		values = append(values, v)
	}
	return values, true
}

// isBinary reports whether a parameter is in the binary format. formats has two
// bytes for each parameter, or for all of them, or none: then all are text.
func isBinary(formats []byte, i int) bool {
	switch {
	case len(formats) == 2:
		return formats[1] == 1
	case len(formats) >= 2*i+2:
		return formats[2*i+1] == 1
	}
	return false
}

// nthName returns the parameter with this number, which counts from 1, as the
// name of a setting: in lower case.
func nthName(values []boundValue, n int) (string, bool) {
	if n < 1 || n > len(values) {
		return "", false
	}
	return strings.ToLower(string(values[n-1].bytes)), true
}
