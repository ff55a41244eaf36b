package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/poolproof/poolproof/hostile"
)

// Command is how the program under test ended.
type Command struct {
	Exit int `json:"exit"`
}

// JSON writes a report as the command-line contract has it. command is nil
// where none was run.
func JSON(w io.Writer, r hostile.Report, command *Command) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(struct {
		hostile.Report
		Command *Command `json:"command,omitempty"`
	}{r, command})
	if err != nil {
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	return nil
}
