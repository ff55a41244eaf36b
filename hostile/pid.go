package hostile

import (
	"encoding/binary"
	"regexp"
	"strconv"
	"sync/atomic"
)

// maxPIDs bounds the numbers of processes that are remembered.
const maxPIDs = 1000

// rememberPID remembers that a transaction asked for the number of its server
// process.
func (p *Pooler) rememberPID(pid uint32, x *transaction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.askedPIDs[pid]; known || len(p.askedPIDs) < maxPIDs {
		if x.over == nil {
			x.over = new(atomic.Bool)
		}
		p.askedPIDs[pid] = x.over // not x, which holds what its client said
	}
}

// judgePIDsLocked reports a statement that cancels one of these processes, if
// the transaction that asked for its number is over: another client's statement
// is cancelled, or none.
func (s *session) judgePIDsLocked(t *queryText, pids []uint32) {
	for _, pid := range pids {
		s.p.mu.Lock()
		over := s.p.askedPIDs[pid]
		s.p.mu.Unlock()
		if over != nil && over.Load() {
			s.reportLocked(StalePID, "", t, nil)
			return
		}
	}
}

// namedPID matches a number that is written in a text.
var namedPID = regexp.MustCompile(`(?i)pg_(?:cancel|terminate)_backend\s*\(\s*'?([0-9]{1,10})\b`)

// pidsIn returns the processes that a text names.
func pidsIn(sql string) (pids []uint32) {
	for _, m := range namedPID.FindAllStringSubmatch(sql, -1) {
		pids = appendPID(pids, m[1])
	}
	return pids
}

func appendPID(pids []uint32, digits string) []uint32 {
	if pid, err := strconv.ParseUint(digits, 10, 32); err == nil {
		pids = append(pids, uint32(pid))
	}
	return pids
}

// pidsBound returns the parameters of a Bind, as parseBound reads them, that may
// be numbers of processes: in text, or of two to eight bytes.
func pidsBound(params []byte) (pids []uint32) {
	values, _ := parseBound(params)
	for _, v := range values {
		switch {
		case v.bytes == nil:
		case !v.binary:
			pids = appendPID(pids, string(v.bytes[:min(len(v.bytes), 11)])) // more digits are no number of a process
		case len(v.bytes) == 2:
			pids = append(pids, uint32(binary.BigEndian.Uint16(v.bytes)))
		case len(v.bytes) == 4:
			pids = append(pids, binary.BigEndian.Uint32(v.bytes))
		case len(v.bytes) == 8:
			pids = append(pids, uint32(binary.BigEndian.Uint64(v.bytes))) // a process's number is small
		}
	}
	return pids
}
