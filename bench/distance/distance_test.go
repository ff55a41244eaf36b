package distance_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolproof/poolproof/bench/distance"
)

func TestMain(m *testing.M) {
	distance.RunIfChild()
	os.Exit(m.Run())
}

// echo serves on loopback, sends back whatever comes, and hangs up when its
// client does.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T, upstream string, latency time.Duration) *distance.Relay {
	t.Helper()
	r, err := distance.Start(upstream, latency)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoundTripsTakeAsMuchLonger(t *testing.T) {
	const latency = 5 * time.Millisecond
	c := dial(t, start(t, echo(t), latency).Addr())
	var took []time.Duration
	for i := range 100 {
		begun := time.Now()
		message := []byte{byte(i), 'x'}
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("got %q, %v, want %q", got, err, message)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	t.Logf("fastest %v, median %v, slowest %v", took[0], took[50], took[99])
	if took[0] < latency {
		t.Errorf("a round trip took %v, less than the latency of %v", took[0], latency)
	}
	if took[0] > latency+2*time.Millisecond { // the fastest: others may have waited for a processor
		t.Errorf("no round trip took less than %v, with a latency of %v", took[0], latency)
	}
}

// Many messages are under way at once: latency does not limit throughput.
func TestManyBytesUnderWay(t *testing.T) {
	const latency = 50 * time.Millisecond
	r := start(t, echo(t), latency)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 256<<10/16)
	var wg sync.WaitGroup
	begun := time.Now()
	for range 8 {
		c := dial(t, r.Addr())
		wg.Go(func() {
			if _, err := c.Write(sent); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("the bytes came back otherwise: %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("8 times 256 kB took %v: chunk after chunk", took)
	}
}

func TestEndsArePassedOn(t *testing.T) {
	r := start(t, echo(t), time.Millisecond)
	c := dial(t, r.Addr())
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v, want the end", n, err)
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	away := dial(t, start(t, nobody.Addr().String(), time.Millisecond).Addr())
	if n, err := away.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v from a server that is not there", n, err)
	}
}
