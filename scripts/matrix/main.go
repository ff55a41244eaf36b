// Command matrix measures drivers through poolers and makes docs/matrix.html: see
// package matrix. It is what "make matrix" runs, in the repository's folder.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/matrix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := matrix.Config{Told: func(text string) { _, _ = fmt.Fprintln(os.Stdout, text) }}
	flag.StringVar(&cfg.Root, "root", ".", "the repository's `folder`")
	flag.StringVar(&cfg.Out, "out", "docs/matrix/"+matrix.Today()+"-here.json", "the `file` of results, which a run adds to")
	flag.IntVar(&cfg.Clients, "clients", 16, "clients at once, 16 at most")
	flag.IntVar(&cfg.Operations, "operations", 8, "operations of each client")
	flag.DurationVar(&cfg.Patience, "patience", time.Minute, "how long a program may wait without an operation that ends; what has not ended then hangs")
	flag.BoolVar(&cfg.Current, "current", false, "leave older versions out")
	flag.BoolVar(&cfg.Older, "older", false, "leave the corpus's own versions out")
	flag.BoolVar(&cfg.Again, "again", false, "measure cells that the file has, too")
	drivers := flag.String("drivers", "", "only these, by the beginning of their names, with commas between")
	ways := flag.String("ways", "", "only these, by the beginning of their names: "+strings.Join(matrix.WayNames(), ", "))
	bound := flag.Duration("for", 0, "begin no cell later than this; the next run goes on (default: no bound)")
	var e matrix.Elsewhere
	flag.StringVar(&e.Pooled, "pooled", "", "the `URL` of a pooler that runs already, with an application's login; measure that one only")
	flag.StringVar(&e.Direct, "direct", "", "with -pooled: the owner's `URL` of the same, empty database")
	flag.StringVar(&e.Way.Name, "name", "", "with -pooled: the pooler's short name (\"supavisor\")")
	flag.StringVar(&e.Way.Title, "title", "", "with -pooled: its name for people (\"Supavisor 2.9, transaction\")")
	flag.StringVar(&e.Way.Version, "version", "", "with -pooled: its version")
	flag.StringVar(&e.Place, "place", "elsewhere", "with -pooled: where it is")
	flag.IntVar(&e.Servers, "servers", 2, "with -pooled: how many connections it has to the server")
	only := flag.Bool("page", false, "measure nothing, make the page")
	flag.Parse()
	if e.Pooled != "" {
		cfg.Elsewhere = &e
		if e.Way.Title == "" {
			e.Way.Title = e.Way.Name
		}
	}
	cfg.Drivers, cfg.Ways = list(*drivers), list(*ways)
	if *bound > 0 {
		cfg.Until = time.Now().Add(*bound)
	}
	if !*only {
		if _, err := matrix.Run(ctx, cfg); err != nil {
			return err
		}
	}
	return matrix.WritePage(cfg.Root)
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
