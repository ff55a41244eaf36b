// The program reader of the exhibit only reads: rows 1 to 500, for as long as
// CORPUS_SECONDS says.
package main

import (
	"database/sql"

	"github.com/poolproof/poolproof/corpus/go/exhibit"
)

func main() {
	exhibit.Work("reader", 1, 500, func(db *sql.DB, id int) error {
		var name string
		err := db.QueryRow("SELECT name FROM item WHERE id = $1", (id-1)%500+1).Scan(&name)
		if err == sql.ErrNoRows { // no fault of a reader's: somebody may have deleted it
			return nil
		}
		return err
	})
}
