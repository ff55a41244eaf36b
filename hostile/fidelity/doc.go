// Package fidelity tests what poolproof proxy --observe promises: a client cannot
// distinguish it from the server. The client is pgx's own test suite.
//
// The package has tests only. They build the program, in the soak with the race
// detector, and run it as a process of its own. They take minutes, so they are not
// among the command's tests.
package fidelity
