package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// farDialer dials servers as if they were latency away, each way. A client
// here writes once per round trip and then waits for the answer, so the whole
// round trip's delay stands before the write. It is waited for in this process,
// because a relay would need processor time that the variants then lack, and by
// Linux's own timers, because Go's fire together at whole milliseconds when
// little else is under way, which would send the clients in bursts.
func farDialer(latency time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make a timer: %w", err), conn.Close())
		}
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(2 * latency))}
		return &farConn{conn, fd, os.NewFile(uintptr(fd), "timer"), spec}, nil
	}
}

type farConn struct {
	net.Conn
	fd        int
	timer     *os.File
	roundTrip unix.ItimerSpec
}

// Write sends after a round trip's time.
func (c *farConn) Write(b []byte) (int, error) {
	if err := unix.TimerfdSettime(c.fd, 0, &c.roundTrip, nil); err != nil {
		return 0, fmt.Errorf("set the timer: %w", err)
	}
	var expirations [8]byte
	if _, err := c.timer.Read(expirations[:]); err != nil {
		return 0, fmt.Errorf("wait for the timer: %w", err)
	}
	return c.Conn.Write(b)
}

// Close closes the connection and its timer.
func (c *farConn) Close() error { return errors.Join(c.Conn.Close(), c.timer.Close()) }
