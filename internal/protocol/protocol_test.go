package protocol_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// The names are the letters that pgx writes.
func TestNames(t *testing.T) {
	for name, want := range map[byte][]pgproto3.Message{
		protocol.Bind: {&pgproto3.Bind{}}, protocol.CopyFail: {&pgproto3.CopyFail{}}, protocol.Flush: {&pgproto3.Flush{}},
		protocol.FunctionCall: {&pgproto3.FunctionCall{}}, protocol.Parse: {&pgproto3.Parse{}}, protocol.Query: {&pgproto3.Query{}},
		protocol.Password:  {&pgproto3.PasswordMessage{}, &pgproto3.SASLInitialResponse{}, &pgproto3.SASLResponse{}},
		protocol.Terminate: {&pgproto3.Terminate{}}, protocol.CopyData: {&pgproto3.CopyData{}}, protocol.CopyDone: {&pgproto3.CopyDone{}},
		protocol.Authentication: {&pgproto3.AuthenticationOk{}, &pgproto3.AuthenticationSASL{}}, protocol.BackendKeyData: {&pgproto3.BackendKeyData{SecretKey: make([]byte, 4)}},
		protocol.BindComplete: {&pgproto3.BindComplete{}}, protocol.CloseComplete: {&pgproto3.CloseComplete{}}, protocol.CopyBothResponse: {&pgproto3.CopyBothResponse{}},
		protocol.CopyInResponse: {&pgproto3.CopyInResponse{}}, protocol.NoticeResponse: {&pgproto3.NoticeResponse{}},
		protocol.NotificationResponse: {&pgproto3.NotificationResponse{}}, protocol.ParseComplete: {&pgproto3.ParseComplete{}}, protocol.ReadyForQuery: {&pgproto3.ReadyForQuery{TxStatus: protocol.Idle}},
		// The letters that mean something else in the other direction.
		'C': {&pgproto3.Close{ObjectType: protocol.Statement}, &pgproto3.CommandComplete{}}, 'D': {&pgproto3.Describe{ObjectType: protocol.Statement}, &pgproto3.DataRow{}},
		'E': {&pgproto3.Execute{}, &pgproto3.ErrorResponse{}}, 'S': {&pgproto3.Sync{}, &pgproto3.ParameterStatus{}},
	} {
		for _, msg := range want {
			if raw, err := msg.Encode(nil); err != nil || raw[0] != name {
				t.Errorf("%T begins with %q (%v), not with %q", msg, raw[:1], err, name)
			}
		}
	}
	for letter, pair := range map[byte][2]byte{
		'C': {protocol.Close, protocol.CommandComplete}, 'D': {protocol.Describe, protocol.DataRow},
		'E': {protocol.Execute, protocol.ErrorResponse}, 'S': {protocol.Sync, protocol.ParameterStatus},
	} {
		if pair != [2]byte{letter, letter} {
			t.Errorf("%q is %q from a client and %q from a server", letter, pair[0], pair[1])
		}
	}
}
