// The program cleaner of the exhibit only deletes ids that do not exist, for as
// long as CORPUS_SECONDS says.
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
			for id := 100_000 + w; id <= 100_400 || time.Now().Before(end); id += 4 {
				if _, err := db.Exec("DELETE FROM item WHERE id = $1", id); err != nil {
					fmt.Println("cleaner:", err)
				}
			}
		})
	}
	work.Wait()
}
