// Package protocol names the one-byte codes of PostgreSQL's protocol 3.
//
//	client ──► Parse 'P' · Bind 'B' · Describe 'D' · Execute 'E' · Sync 'S'
//	server ──► ParseComplete '1' · BindComplete '2' · DataRow 'D' · CommandComplete 'C' · ReadyForQuery 'Z'
//
// A letter means one thing from a client and another from a server: 'S' is Sync
// or ParameterStatus, 'C' is Close or CommandComplete. So compare the type of a
// message only with names of its own direction. The names are those of
// PostgreSQL's documentation ("Message Formats").
package protocol

// Types of the messages that a client sends.
const (
	Bind         byte = 'B'
	Close        byte = 'C'
	CopyFail     byte = 'f'
	Describe     byte = 'D'
	Execute      byte = 'E'
	Flush        byte = 'H'
	FunctionCall byte = 'F'
	Parse        byte = 'P'
	Password     byte = 'p' // any answer to a request for authentication, SASL's and GSSAPI's too
	Query        byte = 'Q'
	Sync         byte = 'S'
	Terminate    byte = 'X'
)

// Types of the messages that either side sends.
const (
	CopyData byte = 'd'
	CopyDone byte = 'c'
)

// Types of the messages that a server sends.
const (
	Authentication       byte = 'R'
	BackendKeyData       byte = 'K'
	BindComplete         byte = '2'
	CloseComplete        byte = '3'
	CommandComplete      byte = 'C'
	CopyBothResponse     byte = 'W'
	CopyInResponse       byte = 'G'
	DataRow              byte = 'D'
	EmptyQueryResponse   byte = 'I'
	ErrorResponse        byte = 'E'
	NoData               byte = 'n'
	NoticeResponse       byte = 'N'
	NotificationResponse byte = 'A'
	ParameterDescription byte = 't'
	ParameterStatus      byte = 'S'
	ParseComplete        byte = '1'
	PortalSuspended      byte = 's'
	ReadyForQuery        byte = 'Z'
	RowDescription       byte = 'T'
)

// The status in a ReadyForQuery.
const (
	Idle              byte = 'I'
	InTransaction     byte = 'T'
	FailedTransaction byte = 'E' // only ROLLBACK is accepted
)

// Fields of an ErrorResponse ("Error and Notice Message Fields").
const (
	FieldCode    byte = 'C' // the SQLSTATE
	FieldRoutine byte = 'R' // the server's function that reports the error
)

// Statement says in a Close or Describe that the name is a prepared statement's,
// and not a portal's.
const Statement byte = 'S'

// The answers to a request for encryption, each one byte without a header.
const (
	EncryptionAccepted byte = 'S'
	EncryptionRefused  byte = 'N'
)
