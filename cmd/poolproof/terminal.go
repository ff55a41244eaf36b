package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/poolproof/poolproof/internal/visible"
)

// isTerminal reports whether a person reads along.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// coloured reports whether colours are wanted there (no-color.org).
func coloured(w any) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// How often the title is written, the first time after as long.
const titleEvery = 2 * time.Second

// inTitle shows progress in the title of the terminal's window while a program
// writes to the same terminal: the only place there where it disturbs none of
// the program's lines. Where w is no terminal it does nothing.
func inTitle(w io.Writer, text func() string) (stop func()) {
	if !coloured(w) {
		return func() {}
	}
	return title(w, titleEvery, text)
}

// title is inTitle for a terminal. What the title was before is put back (xterm's
// control sequences, "Window manipulation", 22 and 23).
func title(w io.Writer, every time.Duration, text func() string) (stop func()) {
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		written := false
		for {
			select {
			case <-tick.C:
				if !written {
					_, _ = io.WriteString(w, "\x1b[22;0t") // a terminal that is gone is noticed elsewhere
					written = true
				}
				_, _ = fmt.Fprintf(w, "\x1b]0;%s\x07", visible.Line(text()))
			case <-done:
				if written {
					_, _ = io.WriteString(w, "\x1b[23;0t")
				}
				return
			}
		}
	})
	return func() {
		close(done)
		shown.Wait()
	}
}
