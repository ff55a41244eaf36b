module github.com/poolproof/poolproof/matrix/programs/go/libpq

go 1.26.0

require github.com/lib/pq v1.12.3
