// What the programs in Go share: they ask for several tenants at once. See recipes_test.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
)

// ask calls one, which returns an item's name, and stores a note if it is told so.
// bare is the number of items without a tenant.
func ask(one func(tenant string, id int, note bool) (string, error), bare func() (int, error)) {
	form := os.Args[1]
	operations, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	var next, wrong, failed atomic.Int64
	var first atomic.Pointer[string]
	fail := func(err error) {
		text := err.Error()
		failed.Add(1)
		first.CompareAndSwap(nil, &text)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < operations; n = int(next.Add(1)) - 1 {
				tenant, id := fmt.Sprint("00000000-0000-4000-8000-00000000000", 1+n%4), 1+n%50
				name, err := one(tenant, id, n%4 == 0)
				if err != nil {
					fail(err)
				} else if name != fmt.Sprintf("item %d of %s", id, tenant) {
					wrong.Add(1)
				}
			}
		})
	}
	all.Wait()
	if form == "recipe" {
		n, err := bare()
		if err != nil {
			fail(err)
		}
		wrong.Add(int64(n))
	}
	text := ""
	if p := first.Load(); p != nil {
		text = *p
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"operations": operations, "wrong": wrong.Load(), "failed": failed.Load(), "first": text}); err != nil {
		panic(err)
	}
}
