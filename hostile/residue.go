package hostile

import (
	"slices"
	"strings"

	"github.com/poolproof/poolproof/internal/residue"
)

// leftover is one thing that a transaction left behind.
type leftover struct {
	code    Code
	subject string
	value   string // of a setting: for telling whether clients agree; never shown
}

// ofKind is the fault that each kind of residue is.
var ofKind = map[residue.Kind]Code{
	residue.Setting: SessionSetting, residue.Role: SessionRole, residue.Prepared: SQLPrepared, residue.Cursor: HoldCursor, residue.Channel: Listening,
	residue.Lock: SessionLock, residue.Temp: TempTable, residue.Link: FunctionState, residue.Slot: FunctionState,
}

// leftSince lists what is in now and not in before, in a stable order.
func leftSince(now, before residue.State) []leftover {
	var all []leftover
	for _, i := range now.Since(before) {
		all = append(all, leftover{ofKind[i.Kind], i.Name, i.Value})
	}
	slices.SortFunc(all, func(a, b leftover) int { return strings.Compare(string(a.code)+a.subject, string(b.code)+b.subject) })
	return all
}
