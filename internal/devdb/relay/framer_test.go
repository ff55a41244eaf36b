package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func untyped(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

func typed(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// However the bytes are cut, the same messages come out, and an 'S' inside a
// body is none.
func TestFramingDoesNotDependOnPieces(t *testing.T) {
	stream := bytes.Join([][]byte{
		untyped(codeGSS, ""), untyped(codeTLS, ""), untyped(3<<16, "user\x00me\x00\x00"),
		typed('P', "SSSSSSSS"), typed('B', "\x00\x00S\x00\x00\x00\x04"), typed('E', "x"), typed('S', ""),
		typed('Q', "SELECT 'S'"), typed('S', ""), typed('X', ""),
	}, nil)
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var c counter
		f := &framer{count: c.add}
		for rest := stream; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 9))
			if err := f.see(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		for kind, want := range map[byte]int{'S': 2, 'Q': 1, 'P': 1, 'B': 1, 'E': 1, 'X': 1, 'u': 0, 0: 0} {
			if got := c.get(kind); got != want {
				t.Fatalf("%d messages of type %q, want %d", got, kind, want)
			}
		}
	}
}

func TestWhatIsNotTheProtocolIsRefused(t *testing.T) {
	for name, stream := range map[string][]byte{
		"TLS":              {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc},
		"HTTP":             []byte("GET / HTTP/1.1\r\n"),
		"unfinished start": untyped(3<<16, "")[:7],
		"impossible length": append(untyped(3<<16, "user\x00me\x00\x00"),
			'S', 0, 0, 0, 3),
	} {
		f := &framer{count: func(byte) {}}
		err := f.see(stream)
		if name == "unfinished start" {
			if err != nil || f.started {
				t.Errorf("%s: %v, started %v; want to wait for more", name, err, f.started)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
