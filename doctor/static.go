package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/internal/visible"
)

// Static is a result of a linter that reads the schema, as its SARIF has it.
type Static struct {
	Tool   string `json:"tool"`
	Rule   string `json:"rule"`
	Level  string `json:"level"`
	Object string `json:"object,omitempty"`
	Text   string `json:"text"`
	// Same is the code of the report's own finding about this object, "" if the report has none.
	Same Code `json:"same,omitempty"`
}

// sameRule is which of pgrls' rules asks for the same as a code (pgrls 0.57.1).
var sameRule = map[string]Code{"SEC001": RLSOff, "SEC002": NotForced, "SEC006": OpenWrite, "SEC008": OpenRead, "SEC038": OpenRead}

// maxStatic bounds a linter's file, in bytes.
const maxStatic = 16 << 20

// AddSARIF adds the results of a linter, such as pgrls. They change neither the verdict nor [Report.Worst]: the linter has an
// exit status of its own. What the report says already of the same object is marked.
func (r *Report) AddSARIF(from io.Reader) error {
	var log struct {
		Version string `json:"version"`
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name string `json:"name"`
				} `json:"driver"`
			} `json:"tool"`
			Results []struct {
				RuleID  string `json:"ruleId"`
				Level   string `json:"level"`
				Message struct {
					Text string `json:"text"`
				} `json:"message"`
				Locations []struct {
					Logical []struct {
						Name string `json:"fullyQualifiedName"`
					} `json:"logicalLocations"`
				} `json:"locations"`
			} `json:"results"`
		} `json:"runs"`
	}
	if err := json.NewDecoder(io.LimitReader(from, maxStatic)).Decode(&log); err != nil {
		return fmt.Errorf("read the linter's SARIF: %w", err)
	}
	if log.Version != "2.1.0" {
		return fmt.Errorf("read the linter's SARIF: its version is %q, not 2.1.0", log.Version)
	}
	for _, run := range log.Runs {
		for _, result := range run.Results {
			s := Static{Tool: run.Tool.Driver.Name, Rule: result.RuleID, Level: result.Level, Text: result.Message.Text}
			if len(result.Locations) > 0 && len(result.Locations[0].Logical) > 0 {
				s.Object = result.Locations[0].Logical[0].Name
			}
			code := sameRule[s.Rule]
			if s.Tool == "pgrls" && slices.ContainsFunc(r.Checks, func(c Check) bool {
				return c.ID == code && (c.Status == Fail || c.Status == Warn) && s.Object != "" && (c.Object == s.Object || strings.HasSuffix(c.Object, " on "+s.Object))
			}) {
				s.Same = code
			}
			r.Static = append(r.Static, s)
		}
	}
	return nil
}

// static writes what a linter says and the report does not; with all, the rest, too.
func (r *Report) static(b *strings.Builder, all bool) {
	same := 0
	for _, s := range r.Static {
		if s.Same != "" {
			same++
			if !all {
				continue
			}
		}
		fmt.Fprintf(b, "\n%s %s %s: %s [static]\n      %s\n", visible.Line(s.Tool), visible.Line(s.Rule), visible.Line(s.Level), visible.Line(s.Object), indent(s.Text))
		if s.Same != "" {
			fmt.Fprintf(b, "      as %s says\n", s.Same)
		}
	}
	if same > 0 && !all {
		fmt.Fprintf(b, "\nof the linter's %s %d are findings above\n", count(len(r.Static), "result"), same)
	}
}
