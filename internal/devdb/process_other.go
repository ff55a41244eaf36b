//go:build unix && !linux

package devdb

import (
	"syscall"
)

// setDeathSignal does nothing: only Linux can tie a child's life to its
// parent's. A server left behind by a crash is stopped by the next start.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
