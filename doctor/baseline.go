package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Known is a finding that somebody has taken on: by code and object, with a reason,
// until a day.
type Known struct {
	Code    Code   `json:"code"`
	Object  string `json:"object"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // 2027-01-31: counts again from the day after
}

// ReadBaseline reads {"known": […]} from a file. Each must have a reason and an expiry.
func ReadBaseline(name string) ([]Known, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the baseline: %w", err)
	}
	var file struct {
		Known []Known `json:"known"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read the baseline %s: %w", name, err)
	}
	for _, k := range file.Known {
		if _, ok := catalogue[k.Code]; !ok {
			return nil, fmt.Errorf("read the baseline %s: there is no code %q", name, k.Code)
		}
		if k.Reason == "" {
			return nil, fmt.Errorf("read the baseline %s: %s of %q has no reason", name, k.Code, k.Object)
		}
		if _, err := time.Parse(time.DateOnly, k.Expires); err != nil {
			return nil, fmt.Errorf("read the baseline %s: %s of %q does not expire on a day like 2027-01-31", name, k.Code, k.Object)
		}
	}
	return file.Known, nil
}

// Mark marks the findings that are known on that day, and writes the verdict anew.
// What has expired counts, and is noted.
func (r *Report) Mark(known []Known, today time.Time) {
	day := today.Format(time.DateOnly)
	for i, c := range r.Checks {
		for _, k := range known {
			if c.Status != Fail && c.Status != Warn || k.Code != c.ID || k.Object != c.Object || c.ID == NoConnection {
				continue
			}
			if k.Expires < day {
				r.Notes = append(r.Notes, fmt.Sprintf("the baseline's %s of %s expired on %s, so it counts (%s)", k.Code, k.Object, k.Expires, k.Reason))
				continue
			}
			r.Checks[i].Known = &k
		}
	}
	if r.Reached {
		r.conclude()
	}
}
