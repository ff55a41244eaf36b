package relay

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// counter counts messages by type byte.
type counter [256]atomic.Int64

func (c *counter) add(kind byte)     { c[kind].Add(1) }
func (c *counter) get(kind byte) int { return int(c[kind].Load()) }

// The codes that stand where a protocol version would, in the untyped messages
// that may come before or instead of a startup.
const (
	codeCancel = 80877102
	codeTLS    = 80877103
	codeGSS    = 80877104
)

var errFraming = errors.New("not the frontend protocol of PostgreSQL in the clear")

// framer follows the framing of what a client sends.
type framer struct {
	count   func(kind byte)
	head    []byte // the part of the next header that has come so far
	skip    uint32 // bytes of the current message's body still to come
	started bool   // the startup has passed: messages have a type now
}

// see takes the next bytes, in whatever pieces they come.
func (f *framer) see(b []byte) error {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, uint32(len(b)))
			f.skip -= n
			b = b[n:]
			continue
		}
		// A typed header is type and length; an untyped one is length and code.
		want := 5
		if !f.started {
			want = 8
		}
		n := min(want-len(f.head), len(b))
		f.head = append(f.head, b[:n]...)
		b = b[n:]
		if len(f.head) < want {
			return nil
		}
		if err := f.header(); err != nil {
			return err
		}
		f.head = f.head[:0]
	}
	return nil
}

func (f *framer) header() error {
	if f.started {
		length := binary.BigEndian.Uint32(f.head[1:])
		if length < 4 {
			return errFraming
		}
		f.count(f.head[0])
		f.skip = length - 4
		return nil
	}
	length, code := binary.BigEndian.Uint32(f.head), binary.BigEndian.Uint32(f.head[4:])
	if length < 8 || length > 1<<20 {
		return errFraming
	}
	f.skip = length - 8
	switch {
	case code == codeTLS, code == codeGSS, code == codeCancel:
		// After a refused TLS or GSS request the startup follows.
	case code>>16 == 3:
		f.started = true
	default:
		return errFraming
	}
	return nil
}
