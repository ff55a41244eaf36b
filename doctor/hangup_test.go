package doctor_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// A look that is given up in the middle of a statement has the server stop it, and returns when that request was
// answered: a program that ends right after hangs up no request, which would end PgBouncer 1.18.
func TestNoCancelRequestIsHungUp(t *testing.T) {
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	returned, outlived := make(chan struct{}), make(chan bool, 1)
	url := pgtest.Between(t, app(t, policies), func(client, server net.Conn) {
		go func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
		}()
		go func() {
			defer server.Close() //nolint:errcheck // it is over
			buf := make([]byte, 1<<16)
			for {
				n, err := client.Read(buf)
				switch {
				case err != nil:
					return
				case n == 16 && binary.BigEndian.Uint32(buf[4:]) == 80877102: // a cancel request, whose server takes its time
					select {
					case <-returned:
						outlived <- true
					case <-time.After(300 * time.Millisecond):
						outlived <- false
					}
					return
				case bytes.Contains(buf[:n], []byte("pg_policy")): // the question is not passed on
					giveUp()
				default:
					if _, err := server.Write(buf[:n]); err != nil {
						return
					}
				}
			}
		}()
	})
	doctor.Examine(ctx, doctor.Config{URL: url, NoCancels: true})
	close(returned)
	select {
	case late := <-outlived:
		if late {
			t.Error("Examine returned while its cancel request was under way")
		}
	case <-time.After(time.Minute):
		t.Error("there was no cancel request")
	}
}
