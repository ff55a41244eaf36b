//go:build !linux

package distance

import (
	"errors"
	"time"
)

type loop struct{}

func newLoop(time.Duration) (*loop, error) {
	return nil, errors.New("added latency needs Linux (epoll and timerfd)")
}

func (*loop) listen(string) (string, chan error, error) { panic("there is no loop") }

func (*loop) run() error { panic("there is no loop") }
