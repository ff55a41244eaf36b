package hostile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A message is a type byte, a length that counts itself and the body, and the
// body (PostgreSQL's documentation, "Message Formats").
const (
	headerSize = 5
	bufferSize = 32 << 10
	maxMessage = 1 << 30 // what PostgreSQL itself accepts
)

// frame is one message as it lies in a reader's buffer: the whole message, or
// its beginning if it is larger than the buffer. It is valid until the reader
// is used again.
type frame struct {
	typ  byte
	size int    // of the whole message, header included
	raw  []byte // header and as much of the body as is in the buffer
}

// body returns what is in the buffer of the message's body.
func (f frame) body() []byte { return f.raw[headerSize:] }

// complete reports whether the buffer has the whole message.
func (f frame) complete() bool { return len(f.raw) == f.size }

// errMessageLength says that what comes is no message.
var errMessageLength = errors.New("a message of an impossible length")

// stream reads messages from one side of a conversation and writes to it.
type stream struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
}

// newStream returns a stream over a connection.
func newStream(conn net.Conn) *stream {
	return &stream{conn: conn, r: bufio.NewReaderSize(conn, bufferSize), w: bufio.NewWriterSize(conn, bufferSize)}
}

// peek waits for a message and returns it without consuming it. Of a message
// that is larger than the buffer it returns the beginning.
func (s *stream) peek() (frame, error) {
	head, err := s.r.Peek(headerSize)
	if err != nil {
		return frame{}, err
	}
	f := frame{typ: head[0]}
	length := binary.BigEndian.Uint32(head[1:])
	if length < 4 || length > maxMessage {
		return frame{}, fmt.Errorf("%w: %d bytes, type %q", errMessageLength, length, f.typ)
	}
	f.size = int(length) + 1
	f.raw, err = s.r.Peek(min(f.size, bufferSize))
	return f, err
}

// discard consumes a message.
func (s *stream) discard(f frame) error {
	_, err := s.r.Discard(f.size)
	return err
}

// readBody consumes a message and returns its body, however large.
func (s *stream) readBody(f frame) ([]byte, error) {
	var raw bytes.Buffer // grows with what arrives, whatever the header says
	if _, err := io.CopyN(&raw, s.r, int64(f.size)); err != nil {
		return nil, err
	}
	return raw.Bytes()[headerSize:], nil
}

// relay consumes a message and writes it to another stream, unchanged, and
// never holds more than a buffer's worth of it. A message that could not be
// written is consumed too.
func (s *stream) relay(f frame, to *stream) error {
	if f.complete() {
		return s.replace(f, f.raw, to)
	}
	rest := &io.LimitedReader{R: s.r, N: int64(f.size)}
	_, err := io.Copy(onlyWriter{to.w}, rest)
	if err == nil && rest.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	if _, ok := errors.AsType[*writeError](err); ok {
		_, dropped := io.Copy(io.Discard, rest)
		err = errors.Join(err, dropped)
	}
	return err
}

// replace consumes a message and writes another in its place.
func (s *stream) replace(f frame, by []byte, to *stream) error {
	_, err := to.w.Write(by) // first: by may lie in the buffer that discard frees
	if dropped := s.discard(f); dropped != nil {
		return dropped
	}
	if err != nil {
		return &writeError{err}
	}
	return nil
}

// onlyWriter hides bufio.Writer's ReadFrom, which would flush at once.
type onlyWriter struct{ w io.Writer }

func (o onlyWriter) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

// writeError is an error of the receiving side; any other is of the sending
// side.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// nextBuffered reports whether the next message can be read without waiting, or
// as much of it as the buffer takes.
func (s *stream) nextBuffered() bool {
	n := s.r.Buffered()
	if n < headerSize {
		return false
	}
	head, err := s.r.Peek(headerSize)
	if err != nil {
		return false
	}
	return n >= min(int(binary.BigEndian.Uint32(head[1:]))+1, bufferSize)
}

// flush sends what was written.
func (s *stream) flush() error {
	if err := s.w.Flush(); err != nil {
		return &writeError{err}
	}
	return nil
}

// cstring cuts a text that ends with a zero byte off the front. ok is false if
// there is no zero byte, as in a message of which only the beginning is there.
func cstring(b []byte) (text string, rest []byte, ok bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), b[i+1:], true
		}
	}
	return string(b), nil, false
}

// send writes a message. A bufio.Writer keeps an error for its Flush.
func send(w interface{ Write(b []byte) (int, error) }, msg pgproto3.Message) {
	raw, err := msg.Encode(nil)
	if err == nil {
		_, _ = w.Write(raw) // bufio keeps the error for Flush
	}
}
