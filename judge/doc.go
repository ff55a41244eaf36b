// Package judge reports whether a pooler is right at all: for people who build
// poolers, or choose one.
//
// [Run] makes about a hundred trials ([Trials]), each over clients of its own that
// speak PostgreSQL's protocol message by message, and compares each answer with
// PostgreSQL's own. So the measure is no opinion: a trial that is not right on
// PostgreSQL is a fault of the trial, and the tests hold that.
//
//	order       are the answers those of the questions, in their order, whole?
//	errors      does an error arrive as it was, and end what it must end?
//	strangers   does anybody get what is another client's, or feel it hang up?
//	copy        data in and out, and what goes wrong in the middle of it
//	cancel      does a cancel request meet its statement, and nobody else's?
//	protocol    versions, options, encryption, messages that no client should send
//	state       what a session keeps: kept for its client, lost, or met by others?
//
// Names are the run's own and nothing is left behind: objects are temporary and go
// with their transaction; what a trial of state leaves on a server connection is
// taken away where it was left, and if that is not met again, this one idle
// server connection is ended. A run has at most ten connections at a time.
package judge
