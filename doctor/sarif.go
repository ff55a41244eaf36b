package doctor

import (
	"io"

	"github.com/poolproof/poolproof/internal/sarif"
	"github.com/poolproof/poolproof/internal/visible"
)

// SARIF writes the findings for code scanning. They are about a database, so none of
// them has a place in the source.
func (r *Report) SARIF(w io.Writer, version string) error {
	run := sarif.Run{ColumnKind: "unicodeCodePoints", Results: []sarif.Result{}}
	run.Tool.Driver = sarif.Driver{Name: "poolproof doctor", Version: version, InformationURI: "https://github.com/poolproof/poolproof/blob/main/docs/doctor.md"}
	level := map[Status]string{Fail: "error", Warn: "warning"}
	index := map[Code]int{}
	for i, c := range Codes() {
		k := catalogue[c]
		index[c] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarif.Rule{
			ID: string(c), ShortDescription: sarif.Text{Text: k.title}, FullDescription: sarif.Text{Text: k.consequence},
			Help: sarif.Text{Text: "In production: " + k.consequence}, HelpURI: Page(c), DefaultConfiguration: sarif.Configuration{Level: level[k.status]},
		})
	}
	for _, c := range r.Checks {
		if level[c.Status] == "" {
			continue
		}
		result := sarif.Result{
			RuleID: string(c.ID), RuleIndex: index[c.ID], Level: level[c.Status], OccurrenceCount: 1,
			Message:             sarif.Text{Text: visible.Text(c.headline() + ". " + c.Detail + ". " + c.Hint)},
			PartialFingerprints: map[string]string{"poolproofObject/v1": string(c.ID) + " " + c.Object},
		}
		if c.Known != nil {
			result.Suppressions = []sarif.Suppression{{Kind: "external", Justification: c.Known.Reason}}
		}
		run.Results = append(run.Results, result)
	}
	return sarif.Write(w, run)
}
