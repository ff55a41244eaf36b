// Package distance puts a server farther away: a TCP relay on loopback that
// makes every round trip longer by a fixed time, to within some tens of
// microseconds, without limiting how much is under way.
//
//	client ──► relay process ──► server
//	            one thread: epoll ─► queue, first due first out ─► write
//	                                 timerfd
//
// It is a process of its own, this program started again, because timers of a
// Go program fire a millisecond late when it has nothing else to do (its
// poller waits in whole milliseconds), and because a measuring program's
// garbage collector and scheduler must not be part of the distance.
package distance
