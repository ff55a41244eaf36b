package poolproof

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/wire"
)

// SendBatch sends the scope and all queued statements in one round trip, as
// one implicit transaction: all or nothing. Put statements that may fail last:
// Odyssey 1.5 answers those after an error out of step.
// The results must be closed to release the connection; Close returns the error
// of the transaction's end. Batch.BeginTx is refused: see InTx.
func (s Session) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	switch {
	case s.err != nil:
		return &batchResults{err: s.err, closed: true}
	case b.Len() == 0:
		return &batchResults{closed: true}
	}
	w := work{check: s.db.inScope, queries: queued(b)}
	if !s.db.oneSync.Load() {
		tx := &transaction{session: s}
		return tx.sendBatch(ctx, w, b, func(err error) error { return tx.end(ctx, err) })
	}
	r, err := s.start(ctx, w)
	if err != nil {
		return &batchResults{err: err, closed: true}
	}
	return &batchResults{x: r.x, queries: b.QueuedQueries, begun: true, finish: r.finish}
}

func queued(b *pgx.Batch) []query {
	queries := make([]query, b.Len())
	for i, q := range b.QueuedQueries {
		queries[i] = query{q.SQL, q.Arguments}
	}
	return queries
}

// batchResults reads the results of a batch in the order of its queries.
type batchResults struct {
	x       *wire.Exchange
	queries []*pgx.QueuedQuery // not yet read
	begun   bool               // NextResult was called for the first of them already
	rows    *wire.Rows         // handed out last
	finish  func(error) error
	err     error
	closed  bool
}

var _ pgx.BatchResults = (*batchResults)(nil)

var errBatchClosed = errors.New("the batch is closed")

// next goes to the next query's result.
func (br *batchResults) next() error {
	if br.err != nil {
		return br.err
	}
	if br.closed {
		return errBatchClosed
	}
	if br.rows != nil {
		br.rows.Close()
	}
	if len(br.queries) > 0 {
		br.queries = br.queries[1:]
	}
	if br.begun {
		br.begun = false
		return nil
	}
	if err := br.x.NextResult(); err != nil {
		br.err = classify("batch", err)
	}
	return br.err
}

// Exec reads the next result and drops its rows.
func (br *batchResults) Exec() (pgconn.CommandTag, error) {
	rows, err := br.Query()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

// Query reads the next result's rows.
func (br *batchResults) Query() (pgx.Rows, error) {
	rows := br.query()
	return rows, rows.Err()
}

func (br *batchResults) query() *wire.Rows {
	if err := br.next(); err != nil {
		return wire.FailedRows(err)
	}
	br.rows = br.x.Rows(func(err error) error { return classify("batch", err) })
	return br.rows
}

// QueryRow reads the next result's first row.
func (br *batchResults) QueryRow() pgx.Row { return wire.Row{Rows: br.query()} }

// Close runs the callbacks that are left, reads to the transaction's end and
// returns the first error.
func (br *batchResults) Close() error {
	if br.closed {
		return br.err
	}
	defer func() {
		if !br.closed { // a callback panicked
			br.closed = true
			br.err = br.finish(errors.New("a callback panicked"))
		}
	}()
	for br.err == nil && len(br.queries) > 0 {
		var err error
		if fn := br.queries[0].Fn; fn != nil {
			err = fn(br)
		} else {
			_, err = br.Exec()
		}
		if br.err == nil {
			br.err = err
		}
	}
	if br.rows != nil {
		br.rows.Close()
	}
	br.closed = true
	br.err = br.finish(br.err)
	return br.err
}

// Tx is always nil: a scope's batch is a transaction of its own.
func (br *batchResults) Tx() pgx.Tx { return nil }
