package poolproof

import (
	"strings"
	"sync"
)

const (
	mostChecked    = 512     // texts
	longestChecked = 4 << 10 // bytes: a longer one is read each time, so that all take 2 MiB at the most
)

// checked is a check of statements that remembers which texts passed, so that
// a text is read once and not with each use. A refusal is not remembered. Safe
// for concurrent use.
type checked struct {
	refuse func(sql string) error

	mu     sync.RWMutex
	passed map[string]struct{}
}

func newChecked(refuse func(sql string) error) *checked {
	return &checked{refuse: refuse, passed: map[string]struct{}{}}
}

// check returns what refuse says of a text.
func (c *checked) check(sql string) error {
	c.mu.RLock()
	_, known := c.passed[sql]
	c.mu.RUnlock()
	if known {
		return nil
	}
	if err := c.refuse(sql); err != nil || len(sql) > longestChecked {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.passed) >= mostChecked {
		for other := range c.passed { // any: a map's order is as good as a clock's here
			delete(c.passed, other)
			break
		}
	}
	c.passed[strings.Clone(sql)] = struct{}{} // the caller's may be a piece of something large
	return nil
}
