// The program reader of the exhibit only reads: rows 1 to 500, for as long as
// CORPUS_SECONDS says.
package main

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	_ "github.com/lib/pq"
)

func main() {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	db.SetMaxIdleConns(4)
	seconds, _ := strconv.ParseFloat(os.Getenv("CORPUS_SECONDS"), 64)
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for id := 1 + w; id <= 500 || time.Now().Before(end); id += 4 {
				var name string
				// An id that is not found is no fault of a reader's: somebody may have deleted it.
				if err := db.QueryRow("SELECT name FROM item WHERE id = $1", (id-1)%500+1).Scan(&name); err != nil && err != sql.ErrNoRows {
					fmt.Println("reader:", err)
				}
			}
		})
	}
	work.Wait()
}
