//go:build unix && !race

package fidelity

// buildFlags are those that the program is built with: the tests' own.
var buildFlags []string
