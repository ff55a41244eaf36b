package poolproof

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/wire"
)

const opBegin = "begin a transaction"

// beginStatements are all the forms of BEGIN, by what asks for them. There is no
// other way to one: no word of a caller's becomes part of it.
var beginStatements = func() map[pgx.TxOptions]*wire.Fixed {
	levels := map[pgx.TxIsoLevel]string{
		"": "", pgx.ReadUncommitted: " isolation level read uncommitted", pgx.ReadCommitted: " isolation level read committed",
		pgx.RepeatableRead: " isolation level repeatable read", pgx.Serializable: " isolation level serializable",
	}
	access := map[pgx.TxAccessMode]string{"": "", pgx.ReadWrite: " read write", pgx.ReadOnly: " read only"}
	deferrable := map[pgx.TxDeferrableMode]string{"": "", pgx.Deferrable: " deferrable", pgx.NotDeferrable: " not deferrable"}
	all := map[pgx.TxOptions]*wire.Fixed{}
	for level, levelText := range levels {
		for mode, modeText := range access {
			for wait, waitText := range deferrable {
				all[pgx.TxOptions{IsoLevel: level, AccessMode: mode, DeferrableMode: wait}] = wire.NewFixed("begin"+levelText+modeText+waitText, 0)
			}
		}
	}
	return all
}()

// beginWith returns the BEGIN that opts ask for.
func beginWith(opts pgx.TxOptions) (*wire.Fixed, error) {
	if opts.BeginQuery != "" || opts.CommitQuery != "" {
		return nil, &Error{Kind: ErrConfig, Op: opBegin, Err: fmt.Errorf("BeginQuery and CommitQuery are not supported: the scope must begin and end with the transaction"),
			Hint: "use IsoLevel, AccessMode and DeferrableMode"}
	}
	begin, ok := beginStatements[opts]
	if !ok {
		return nil, &Error{Kind: ErrConfig, Op: opBegin, Err: fmt.Errorf("PostgreSQL has no transaction of isolation level %q, access mode %q, deferrable mode %q", opts.IsoLevel, opts.AccessMode, opts.DeferrableMode),
			Hint: "use pgx's constants, such as pgx.Serializable and pgx.ReadOnly"}
	}
	return begin, nil
}

// isolationLevels are pgx's names of database/sql's levels. Snapshot is what
// PostgreSQL calls repeatable read.
var isolationLevels = map[sql.IsolationLevel]pgx.TxIsoLevel{
	sql.LevelDefault: "", sql.LevelReadUncommitted: pgx.ReadUncommitted, sql.LevelReadCommitted: pgx.ReadCommitted,
	sql.LevelRepeatableRead: pgx.RepeatableRead, sql.LevelSnapshot: pgx.RepeatableRead, sql.LevelSerializable: pgx.Serializable,
}

// beginWithSQL is beginWith for database/sql's options.
func beginWithSQL(opts driver.TxOptions) (*wire.Fixed, error) {
	level, ok := isolationLevels[sql.IsolationLevel(opts.Isolation)]
	if !ok {
		return nil, &Error{Kind: ErrConfig, Op: opBegin, Err: fmt.Errorf("PostgreSQL has no isolation level %s", sql.IsolationLevel(opts.Isolation)),
			Hint: "use sql.LevelReadCommitted, LevelRepeatableRead or LevelSerializable"}
	}
	asked := pgx.TxOptions{IsoLevel: level}
	if opts.ReadOnly {
		asked.AccessMode = pgx.ReadOnly
	}
	return beginWith(asked)
}

// InTxOptions is InTx with an isolation level, an access mode and a deferrable
// mode. They are part of BEGIN and so cost no round trip; SET TRANSACTION inside
// comes too late for an isolation level, because the scope has been a query.
// Anything but pgx's constants, and BeginQuery and CommitQuery, are an error of
// kind ErrConfig, and fn is not called.
//
// A serializable transaction may fail with SQLSTATE 40001, in any statement or at
// the commit. Nothing of it was kept then, and the caller may run it again.
func (s Session) InTxOptions(ctx context.Context, opts pgx.TxOptions, fn func(tx pgx.Tx) error) error {
	begin, err := beginWith(opts)
	if err != nil {
		return err
	}
	return s.inTx(ctx, begin, fn)
}
