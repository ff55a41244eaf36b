package relay

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// However the bytes are cut, the extended protocol's messages come out with
// their Sync and not before, whatever else at once, and a Flush never.
func TestHolderKeepsUntilSync(t *testing.T) {
	start := bytes.Join([][]byte{untyped(codeTLS, ""), untyped(3<<16, "user\x00me\x00\x00"), typed('p', "secret")}, nil)
	kept := bytes.Join([][]byte{typed('P', "HHHHHHHH"), typed('B', "\x00\x00H"), typed('E', "H"), typed('C', "S")}, nil)
	query := typed('Q', "H")
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var out bytes.Buffer
		h := &holder{to: &out}
		send := func(b []byte) {
			for len(b) > 0 {
				n := 1 + random.IntN(min(len(b), 9))
				if _, err := h.Write(b[:n]); err != nil {
					t.Fatal(err)
				}
				b = b[n:]
			}
		}
		wants := func(when string, want ...[]byte) {
			if !bytes.Equal(out.Bytes(), bytes.Join(want, nil)) {
				t.Fatalf("%s: %q", when, out.Bytes())
			}
			out.Reset()
		}
		send(start)
		wants("the start", start)
		send(kept)
		send(typed('H', ""))
		wants("before the Sync")
		send(typed('S', ""))
		wants("with the Sync", kept, typed('S', ""))
		send(query)
		wants("a query", query)
	}
}
