package poolproof

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/poolproof/poolproof/internal/wire"
)

// closeGrace is how long CloseContext waits, its context done, for statements that
// it has interrupted to end.
const closeGrace = time.Second

// Close refuses new work with ErrClosed, waits for what is under way, however long
// that takes, and closes the connections. Further calls wait for the same end.
// CloseContext does not wait for ever.
func (db *DB) Close() { <-db.closed() }

// CloseContext is Close with a time limit. When ctx is done, it cancels what is still
// under way: statements fail with ErrUnavailable and are stopped on the server,
// open transactions are rolled back, and using one later is an error (ErrTxEnded).
// Then it returns, within two seconds, an error of kind ErrClosed, which wraps
// ctx's, and says how much was still running, since when, and the longest one's
// SQL, without arguments. It does not wait for the functions of InTx to return.
// Nil means that everything ended by itself.
func (db *DB) CloseContext(ctx context.Context) error {
	done := db.closed()
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	running := db.running()
	err := &Error{Kind: ErrClosed, Op: "close", Err: fmt.Errorf("%s: cancelled: %w", describeRunning(running, time.Now()), context.Cause(ctx)),
		Hint: "stop what uses the database first, or give CloseContext more time"}
	for conn := range running {
		conn.Interrupt() // whoever reads from it gives it up, and has the server stop
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C: // held, and not read from: between a transaction's statements, or rows
		for conn := range db.running() {
			conn.Abandon()
		}
	}
	return err
}

// closed has the pool refuse new work, and returns a channel that is closed when
// what is under way has ended.
func (db *DB) closed() <-chan struct{} {
	db.refuse()
	done := make(chan struct{})
	go func() {
		defer close(done)
		db.pool.Close()
		db.discards.Wait()
	}()
	return done
}

// running returns the connections that are out, and since when.
func (db *DB) running() map[*wire.Conn]time.Time {
	db.mu.Lock()
	defer db.mu.Unlock()
	return maps.Clone(db.inUse)
}

// maxShownSQL is how much of a statement an error shows, in bytes.
const maxShownSQL = 200

func describeRunning(running map[*wire.Conn]time.Time, now time.Time) string {
	var longest *wire.Conn
	for conn, since := range running {
		if longest == nil || since.Before(running[longest]) {
			longest = conn
		}
	}
	if longest == nil { // ended in this very moment, or connections are being given up
		return "no statement or transaction was running any more, connections were still being closed"
	}
	text := fmt.Sprintf("%d statements or transactions were still running, the longest for %v", len(running), now.Sub(running[longest]).Round(time.Millisecond))
	if len(running) == 1 {
		text = fmt.Sprintf("a statement or transaction was still running, for %v", now.Sub(running[longest]).Round(time.Millisecond))
	}
	if sql := strings.Join(strings.Fields(longest.LastSQL()), " "); sql != "" {
		if len(sql) > maxShownSQL {
			sql = strings.ToValidUTF8(sql[:maxShownSQL], "") + " …"
		}
		text += " (" + sql + ")"
	}
	return text
}
