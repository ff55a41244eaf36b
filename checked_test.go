package poolproof

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// A text is read once, if it passed: a refused one is refused each time, and what
// passes in a transaction does not in a scope.
func TestATextIsCheckedOnce(t *testing.T) {
	read := 0
	c := newChecked(func(sql string) error { read++; return refuseInScope(sql) })
	for range 3 {
		if err := c.check("select 1"); err != nil {
			t.Fatal(err)
		}
	}
	if read != 1 {
		t.Errorf("a text that passed was read %d times", read)
	}
	for range 3 {
		if err := c.check("commit"); !errors.Is(err, ErrStatementRefused) {
			t.Fatalf("commit: %v", err)
		}
	}
	if read != 4 {
		t.Errorf("a refused text was read %d times, with the other one", read)
	}
	inTx := newChecked(refuseInTx)
	if err := inTx.check("savepoint a"); err != nil {
		t.Error(err)
	}
	if err := c.check("savepoint a"); err == nil {
		t.Error("a savepoint passes in a scope")
	}
}

// What is remembered has a bound, in number and in length, and many may check at
// once.
func TestCheckedTextsAreBounded(t *testing.T) {
	c := newChecked(refuseInScope)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for n := range mostChecked {
				if err := c.check(fmt.Sprintf("select %d, %d", g, n)); err != nil {
					t.Error(err)
				}
				if err := c.check("reset all"); err == nil {
					t.Error("RESET passes")
				}
			}
		})
	}
	all.Wait()
	if len(c.passed) != mostChecked {
		t.Errorf("%d texts are kept, of at most %d", len(c.passed), mostChecked)
	}
	long := "select '" + strings.Repeat("x", longestChecked) + "'"
	if err := c.check(long); err != nil {
		t.Fatal(err)
	}
	if _, kept := c.passed[long]; kept {
		t.Error("a long text is kept")
	}
}

func BenchmarkCheckOfAStatementAgain(b *testing.B) {
	c := newChecked(refuseInScope)
	const sql = "select d.id, d.title, d.body from documents d join authors a on a.tenant_id = d.tenant_id and a.id = d.author_id where d.id = $1 and a.name <> 'nobody' order by d.id limit 10"
	for b.Loop() {
		if err := c.check(sql); err != nil {
			b.Fatal(err)
		}
	}
}
