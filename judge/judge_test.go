package judge_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/judge"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func judged(t *testing.T, url string, opts judge.Options) judge.Report {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	report, err := judge.Run(ctx, config, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAll(t *testing.T) {
	for _, kind := range append([]pgtest.Kind{pgtest.Direct}, pgtest.Poolers...) {
		t.Run(kind.String(), func(t *testing.T) {
			r := judged(t, pgtest.Pooled(t, pgtest.Database(t), kind), judge.Options{})
			fmt.Println(kind, r.Pooler, r.Elapsed, r.Counts)
			for _, result := range r.Results {
				if result.Outcome != judge.Right {
					fmt.Printf("%-28s %-8s %s\n", result.Name, result.Outcome, result.Text)
				}
				if result.Elapsed > time.Second {
					fmt.Printf("   slow %s %v\n", result.Name, result.Elapsed)
				}
			}
		})
	}
}
