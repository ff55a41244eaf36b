package hostile

// What is kept of what clients send has bounds, so that a pooler can run for
// months. These are the bounds of what is kept of one client and of one server
// connection; the others stand where the thing is kept (names.go, inspect.go,
// scanner.go, finding.go).
const (
	maxPrepared    = 10_000 // named statements of a client that the pooler does not have to parse again
	maxParsedHere  = 1000   // names that a transaction has parsed, to judge them at its end
	maxOfUnit      = 1000   // texts of one unit
	maxSettings    = 200    // settings that a transaction reads, and that it sets
	maxSettingName = 200    // bytes of a setting's name
	maxOnServer    = 200    // statements that a server connection keeps from one transaction to the next
)

// keepPreparedLocked keeps a statement of the client. A profile that tracks
// statements needs each of them for as long as the client does. Others only
// judge them: of a client that has very many they judge the first.
func (s *session) keepPreparedLocked(name string, ps *preparedStatement) {
	if _, mine := s.prepared[name]; mine || s.p.profile.TracksStatements || len(s.prepared) < maxPrepared {
		s.prepared[name] = ps
	}
}

// keepParsedLocked keeps the name of a statement that the transaction has
// parsed.
func (s *session) keepParsedLocked(name string) {
	if len(s.parsedHere) < maxParsedHere {
		s.parsedHere = appendNew(s.parsedHere, name)
	}
}

// keepOfUnitLocked keeps a text of the unit under way. Of a very long unit it
// keeps the first ones and the last: BEGIN stands at the beginning, and COMMIT
// at the end.
func (s *session) keepOfUnitLocked(t *queryText) {
	if len(s.unit) < maxOfUnit {
		s.unit = append(s.unit, t)
		return
	}
	s.unit[maxOfUnit-1] = t
}

// keepSettings keeps the names of settings that a statement of the transaction
// reads and sets. If it sets very many, it may have set any.
func (x *transaction) keepSettings(reads, sets []string) {
	for _, n := range sets {
		if len(x.settingsSet) >= maxSettings {
			x.setsUnknown = true
			break
		}
		x.settingsSet = appendNew(x.settingsSet, n)
	}
	for _, n := range reads {
		if len(x.settingsRead) >= maxSettings {
			break
		}
		x.settingsRead = appendNew(x.settingsRead, n)
	}
}

// forgetStatements makes a server connection as good as new when very many
// statements were left on it: each takes the server's memory, and ours. The
// client's transaction is over. A pooler that is not hostile, or has a
// connection for each client, leaves the server's to the client.
func (p *Pooler) forgetStatements(b *backend) error {
	if len(b.statementOwners) <= maxOnServer {
		return nil
	}
	if p.cfg.Observe || p.profile.Plain {
		clear(b.statementOwners)
		return nil
	}
	if err := b.reset(); err != nil {
		return err
	}
	return p.plantTempTables(b)
}
