//go:build unix && race

package fidelity

// buildFlags are those that the program is built with: the tests' own. A race in
// it is its exit status, 66.
var buildFlags = []string{"-race"}
