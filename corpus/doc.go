// Package corpus holds small programs in the languages and with the drivers that
// people use before PostgreSQL, each in a faulty and a correct form, and one test
// that runs them all:
//
//   - through the hostile pooler, which must find exactly the faults that the
//     table in corpus_test.go names, every time, and none in a correct form;
//   - through a real PgBouncer 1.18 in transaction mode, where each fault must show
//     its consequence, so that no code is theory.
//
// The table in corpus_test.go has the drivers, field_test.go what was reported in
// public, libraries_test.go the libraries above the drivers. The last take minutes:
// they run in the soak, or with "go test ./corpus -every", which also runs them
// through PgBouncer 1.24. TestAdvice walks the table of libraries of package
// hostile: each knob that prove names is set by a form of a program here, or says
// that it is only documented.
//
// A program reads DATABASE_URL, DIRECT_URL and PG*, takes its form as argument,
// prints a line that begins with "wrong:" for each wrong answer, and exits with 0
// if there was none. What it needs is named, with versions, in its language's
// folder (requirements.txt, package.json, pom.xml, Cargo.toml, go.mod) and installed
// by "scripts/setup test"; Ruby, PHP, Perl and two of the Java programs use Debian's
// packages.
package corpus
