//go:build linux

package distance

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// chunk is bytes that are due at a moment; none means the end of the stream.
type chunk struct {
	due   time.Time
	to    *side
	bytes []byte
}

// side is one socket of a relayed connection, and the other.
type side struct {
	file *os.File
	fd   int
	peer *side
}

// loop relays all connections in one thread. Everything waits for the same
// time, so that one queue in the order of arrival serves them all.
type loop struct {
	wait         time.Duration
	epoll, timer int
	queue        []chunk

	mu    sync.Mutex // guards sides: connections are added by another goroutine
	sides map[int]*side
}

func newLoop(wait time.Duration) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("timerfd: %w", err)
	}
	l := &loop{wait: wait, epoll: epoll, timer: timer, sides: map[int]*side{}}
	// The edge is enough of the timer: it need not be read, only set again.
	return l, l.watch(timer, unix.EPOLLIN|unix.EPOLLET)
}

func (l *loop) watch(fd int, kinds uint32) error {
	event := unix.EpollEvent{Events: kinds, Fd: int32(fd)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// listen accepts connections in a goroutine of its own and dials upstream for
// each. The channel tells why it stopped.
func (l *loop) listen(upstream string) (addr string, failed chan error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen: %w", err)
	}
	failed = make(chan error, 3) // one from each of the relay's goroutines
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				failed <- fmt.Errorf("accept: %w", err)
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = client.Close() // the client sees a connection that ends, as with a dead server
				continue
			}
			if err := l.add(client, server); err != nil {
				failed <- err
				return
			}
		}
	}()
	return listener.Addr().String(), failed, nil
}

// add takes over both sockets of a connection.
func (l *loop) add(client, server net.Conn) error {
	a, err := take(client)
	if err != nil {
		return err
	}
	b, err := take(server)
	if err != nil {
		return err
	}
	a.peer, b.peer = b, a
	l.mu.Lock()
	l.sides[a.fd], l.sides[b.fd] = a, b
	l.mu.Unlock()
	return errors.Join(l.watch(a.fd, unix.EPOLLIN), l.watch(b.fd, unix.EPOLLIN))
}

// take gets a socket out of Go's own poller.
func take(conn net.Conn) (*side, error) {
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	if err := conn.Close(); err != nil { // the descriptor was duplicated
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	return &side{file: file, fd: int(file.Fd())}, nil //nolint:gosec // descriptors are small
}

// run relays until epoll or the timer fails.
func (l *loop) run() error {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		unarmed := len(l.queue) == 0
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) != l.timer {
				l.read(int(e.Fd))
				continue
			}
			unarmed = true
		}
		if l.deliver() > 0 {
			unarmed = true
		}
		if unarmed && len(l.queue) > 0 {
			if err := l.arm(); err != nil {
				return err
			}
		}
	}
}

// read queues what a socket has.
func (l *loop) read(fd int) {
	l.mu.Lock()
	s := l.sides[fd]
	l.mu.Unlock()
	if s == nil {
		return
	}
	buf := make([]byte, 16<<10)
	n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil || n == 0: // the end, which travels like everything else
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
		n = 0
	}
	l.queue = append(l.queue, chunk{due: time.Now().Add(l.wait), to: s.peer, bytes: buf[:n]})
}

// deliver writes what is due and counts it.
func (l *loop) deliver() (sent int) {
	for now := time.Now(); sent < len(l.queue) && !now.Before(l.queue[sent].due); sent++ {
		c := &l.queue[sent]
		switch {
		case len(c.bytes) == 0:
			l.end(c.to)
		case writeAll(c.to.fd, c.bytes) != nil:
			_ = unix.Shutdown(c.to.fd, unix.SHUT_RDWR) // its end is read, and passed on
		}
	}
	l.queue = append(l.queue[:0], l.queue[sent:]...)
	return sent
}

// end tells a side that its peer has ended. The sockets are closed once both
// have been read to their ends: nothing is left to send then.
func (l *loop) end(s *side) {
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // its end is read then, too
	l.mu.Lock()
	delete(l.sides, s.peer.fd)
	_, reading := l.sides[s.fd]
	l.mu.Unlock()
	if !reading {
		_ = errors.Join(s.file.Close(), s.peer.file.Close())
	}
}

// writeAll writes to a socket that is non-blocking, or not.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1); err != nil && !errors.Is(err, unix.EINTR) { //nolint:gosec // descriptors are small
				return err
			}
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}

// arm sets the timer for the first of the queue.
func (l *loop) arm() error {
	left := max(time.Until(l.queue[0].due), time.Nanosecond) // zero would disarm it
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(left.Nanoseconds())}
	if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	return nil
}
