// Package exhibit is what the two programs of the exhibit have in common: lib/pq,
// four goroutines, and how long they work.
package exhibit

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	_ "github.com/lib/pq"
)

// Work calls act with the ids from first to last, one after another, and then with
// higher ones for as long as CORPUS_SECONDS says. It prints the errors.
func Work(name string, first, last int, act func(db *sql.DB, id int) error) {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	db.SetMaxIdleConns(4)
	seconds, _ := strconv.ParseFloat(os.Getenv("CORPUS_SECONDS"), 64) // none: once through
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for id := first + w; id <= last || time.Now().Before(end); id += 4 {
				if err := act(db, id); err != nil {
					fmt.Println(name+":", err)
				}
			}
		})
	}
	work.Wait()
}
