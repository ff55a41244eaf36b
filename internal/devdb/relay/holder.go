package relay

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/poolproof/poolproof/internal/protocol"
)

// holder passes a client's messages on, those of the extended protocol no
// earlier than with their Sync, and no Flush at all.
type holder struct {
	to      io.Writer
	in      []byte // what has come of the next message
	kept    []byte // messages that wait for their Sync
	started bool   // the startup has passed
}

// Write takes the next bytes of the client, in whatever pieces they come.
func (h *holder) Write(b []byte) (int, error) {
	h.in = append(h.in, b...)
	for {
		head := 1 // the type byte, which the length does not count
		if !h.started {
			head = 0
		}
		if len(h.in) < head+4 {
			return len(b), nil
		}
		end := head + int(binary.BigEndian.Uint32(h.in[head:]))
		if len(h.in) < end {
			return len(b), nil
		}
		message := h.in[:end]
		h.in = h.in[end:]
		if err := h.message(message); err != nil {
			return 0, err
		}
	}
}

func (h *holder) message(message []byte) error {
	if h.started {
		switch message[0] {
		case protocol.Flush:
			return nil
		case protocol.Parse, protocol.Bind, protocol.Describe, protocol.Execute, protocol.Close:
			h.kept = append(h.kept, message...)
			return nil
		}
	} else if len(message) >= 8 && binary.BigEndian.Uint32(message[4:])>>16 == 3 {
		h.started = true
	}
	_, err := h.to.Write(bytes.Join([][]byte{h.kept, message}, nil))
	h.kept = h.kept[:0]
	return err
}
