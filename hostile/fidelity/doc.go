// Package fidelity holds poolproof proxy --observe to what it promises: a client
// cannot tell it from the server. pgx's own test suite is the client.
//
// It has tests only. They build the program, start it as a process of its own,
// with the race detector where the tests have it, and take minutes, which is why
// they are no part of the command's tests.
package fidelity
