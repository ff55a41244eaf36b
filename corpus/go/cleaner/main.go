// The program cleaner of the exhibit only deletes ids that do not exist, for as
// long as CORPUS_SECONDS says.
package main

import (
	"database/sql"

	"github.com/poolproof/poolproof/corpus/go/exhibit"
)

func main() {
	exhibit.Work("cleaner", 100_000, 100_400, func(db *sql.DB, id int) error {
		_, err := db.Exec("DELETE FROM item WHERE id = $1", id)
		return err
	})
}
