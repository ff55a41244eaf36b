// Package explain says what an error message of PostgreSQL, a pooler or a driver
// means: its cause, its consequence and the next command. It needs no connection.
//
// A message is recognized by the words that its author wrote, wherever a driver or
// a log has put them, and not by those around it.
package explain
