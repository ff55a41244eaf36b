// The program river adds a job to River's queue and works on it.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type greeting struct{}

func (greeting) Kind() string { return "greeting" }

type greeter struct {
	river.WorkerDefaults[greeting]
	done chan struct{}
}

func (g *greeter) Work(context.Context, *river.Job[greeting]) error {
	close(g.done)
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println("wrong:", err)
		os.Exit(1)
	}
	return v
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	direct := must(pgxpool.New(ctx, os.Getenv("DIRECT_URL")))
	migrator := must(rivermigrate.New(riverpgxv5.New(direct), nil))
	_ = must(migrator.Migrate(ctx, rivermigrate.DirectionUp, nil))
	url := os.Getenv("DATABASE_URL")
	if os.Args[1] != "prepared" {
		url += "&default_query_exec_mode=exec"
	}
	pool := must(pgxpool.New(ctx, url))
	g := &greeter{done: make(chan struct{})}
	workers := river.NewWorkers()
	river.AddWorker(workers, g)
	client := must(river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, Workers: workers,
		FetchPollInterval: 200 * time.Millisecond, PollOnly: os.Args[1] != "default",
	}))
	if err := client.Start(ctx); err != nil {
		panic(err)
	}
	_ = must(client.Insert(ctx, greeting{}, nil))
	select {
	case <-g.done:
	case <-ctx.Done():
		fmt.Println("wrong: the job was not run")
		os.Exit(1)
	}
	_ = client.Stop(ctx)
}
