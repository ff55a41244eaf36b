package pgtest

import "os"

// Soak reports whether this is the soak, in which tests do more, and more often,
// than is bearable on every change. `make soak` says so: it sets the environment
// variable POOLPROOF_SOAK, here to anything.
func Soak() bool { return os.Getenv("POOLPROOF_SOAK") != "" }

// Pick returns the first of two values, and in the soak the second one.
func Pick[T any](usual, soak T) T {
	if Soak() {
		return soak
	}
	return usual
}
