package oracle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/internal/oracle"
)

// TestModel plays random histories to the API and to the oracle: same answers,
// same state. A failure is shrunk and printed as the requests that lead to it.
func TestModel(t *testing.T) {
	histories := pgtest.Pick(6, 2000)
	kinds := []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement}
	preset(t, map[string]string{"rapid.checks": strconv.Itoa(histories / len(kinds)), "rapid.steps": "80", "rapid.nofailfile": "true", "rapid.shrinktime": "1m"})
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			g := newGround(t, kind)
			codes := map[string]int{}
			rapid.Check(t, func(rt *rapid.T) { g.history(rt, codes) })
			t.Logf("answers: %v", codes)
		})
	}
}

// preset sets flags to values that the command line may still override.
func preset(t *testing.T, values map[string]string) {
	t.Helper()
	flag.Visit(func(f *flag.Flag) { delete(values, f.Name) })
	for name, value := range values {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

// history is one run of requests, to the comparison of all that is left.
type history struct {
	*ground
	*cast
	world  *oracle.World
	moment map[uuid.UUID]int64 // the epochs of that world
	lines  []string            // what changed something
	codes  map[string]int
}

func (g *ground) history(rt *rapid.T, codes map[string]int) {
	ctx := context.Background()
	h := &history{ground: g, codes: codes}
	h.world, h.cast = newCast(g.platform)
	if err := g.install(ctx, h.world); err != nil {
		rt.Fatalf("beginning: %v", err)
	}
	h.look(ctx, rt)
	h.now = func() *oracle.World { return h.world }
	steps := rapid.Custom(h.draw)
	rt.Repeat(map[string]func(*rapid.T){"step": func(rt *rapid.T) { h.step(ctx, rt, steps.Draw(rt, "step")) }})
	left, err := g.read(ctx)
	if err != nil {
		rt.Fatalf("reading what is left: %v", err)
	}
	if diff := difference(h.world, left); diff != "" {
		h.failf(rt, "another state than it should be (-want +got):\n%s", diff)
	}
	h.readAll(ctx, rt)
}

// look reads the epochs.
func (h *history) look(ctx context.Context, rt rapid.TB) (was map[uuid.UUID]int64) {
	now, err := h.epochs(ctx)
	if err != nil {
		rt.Fatalf("reading the epochs: %v", err)
	}
	was, h.moment = h.moment, now
	return was
}

// readAll asks the API for all that is left, in every tenant.
func (h *history) readAll(ctx context.Context, rt rapid.TB) {
	for id := range h.world.Tenants {
		reader := oracle.Caller{Tenant: id, User: h.world.Keepers(id, "manage_roles")[0]}
		for _, op := range everything(h.world, id) {
			h.step(ctx, rt, drawn{h.cast, reader, op})
		}
	}
}

// failf ends a history that went wrong and tells it: the requests that changed
// something, and what is wrong. The text is the same in every repetition,
// whatever the ids.
func (h *history) failf(rt rapid.TB, format string, args ...any) {
	rt.Helper()
	rt.Fatalf("%s\n\n%s", strings.Join(h.lines, "\n"), h.readable(fmt.Sprintf(format, args...)))
}

// step asks the API and the oracle, compares, and goes on to the world
// afterwards.
func (h *history) step(ctx context.Context, rt rapid.TB, d drawn) {
	before := h.world
	before.Now = time.Now()
	got, err := h.ask(ctx, d)
	if err != nil {
		rt.Fatalf("%s: %v", d, err)
	}
	made := uuid.Nil
	if list := h.list(d.op); list != nil && got.Status == http.StatusCreated {
		made = got.made()
		h.note(list, made, "")
	}
	after, want := before.Play(d.caller, d.op, made)
	h.world = after
	answer := strings.TrimSpace(fmt.Sprint(got.Status, " ", got.Code))
	h.codes[answer]++
	line := fmt.Sprintf("%s → %s", d, answer)

	if diff := difference(plain(want), plain(got.Answer)); diff != "" {
		h.failf(rt, "%s: another answer than it should be (-want +got):\n%s", line, diff)
	}
	if after != before {
		h.lines = append(h.lines, line)
		if faults := after.Broken(); len(faults) > 0 {
			h.failf(rt, "broken rules:\n%s", strings.Join(faults, "\n"))
		}
		if gains := oracle.Unearned(before, after, d.caller); len(gains) > 0 {
			h.failf(rt, "more than the caller held:\n%s", strings.Join(gains, "\n"))
		}
	}
	was := h.look(ctx, rt)
	h.compareEpochs(rt, line, before, after, was)
	if told := told(want.Epoch, h.moment); told != got.epoch {
		rt.Logf("Poolproof-Epoch is %q, want %q", got.epoch, told)
		h.failf(rt, "%s: Poolproof-Epoch does not tell the state", line)
	}
}

// compareEpochs checks that exactly what changed has another epoch.
func (h *history) compareEpochs(rt rapid.TB, line string, before, after *oracle.World, was map[uuid.UUID]int64) {
	changed := map[uuid.UUID]bool{}
	if after != before {
		var catalogue bool
		changed, catalogue = oracle.Changed(before, after)
		changed[uuid.Nil] = catalogue
	}
	for id, is := range h.moment {
		if is < was[id] || (is > was[id]) != changed[id] {
			h.failf(rt, "%s: the epoch of %s went on by %d; changed: %v", line, id, is-was[id], changed[id])
		}
		delete(changed, id)
	}
	for id := range changed {
		if changed[id] {
			h.failf(rt, "%s: %s changed and has no epoch", line, id)
		}
	}
}

// told is the epoch that an answer of this kind carries.
func told(of *uuid.UUID, is map[uuid.UUID]int64) string {
	switch {
	case of == nil:
		return ""
	case *of == uuid.Nil:
		return fmt.Sprintf("0.%d", is[uuid.Nil])
	}
	return fmt.Sprintf("%d.%d", is[*of], is[uuid.Nil])
}

// answered is what the API gave.
type answered struct {
	oracle.Answer
	epoch string
}

// made is the id in the answer to a creation.
func (a answered) made() uuid.UUID {
	if body, ok := a.Body.(map[string]any); ok {
		if data, ok := body["data"].(map[string]any); ok {
			if text, ok := data["id"].(string); ok {
				return uuid.MustParse(text)
			}
		}
	}
	return uuid.Nil
}

// ask sends the request of a step.
func (g *ground) ask(ctx context.Context, d drawn) (answered, error) {
	r := d.op.Request()
	var a answered
	var body io.Reader
	if r.Body != nil {
		raw, err := json.Marshal(r.Body)
		if err != nil {
			return a, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, g.url+r.Path, body)
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+g.tokens[d.caller.User])
	req.Header.Set("X-Tenant-ID", d.caller.Tenant.String())
	if r.Version != nil {
		req.Header.Set("If-Match", fmt.Sprintf(`"%d-0"`, *r.Version))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	if err := json.NewDecoder(res.Body).Decode(&a.Body); err != nil {
		return a, fmt.Errorf("status %d, reading the body: %w", res.StatusCode, err)
	}
	a.Status, a.epoch = res.StatusCode, res.Header.Get("Poolproof-Epoch")
	if number, _, ok := strings.Cut(strings.TrimPrefix(res.Header.Get("ETag"), `"`), "-"); ok {
		if a.Version, err = strconv.Atoi(number); err != nil {
			return a, fmt.Errorf("ETag: %w", err)
		}
	}
	if problem, ok := a.Body.(map[string]any); ok && res.StatusCode >= 400 {
		a.Code, _ = problem["code"].(string)
		a.Body = nil
	}
	return a, nil
}

// plain is an answer without what the oracle cannot know.
func plain(a oracle.Answer) any {
	return map[string]any{"status": a.Status, "code": a.Code, "version": a.Version, "body": known(decoded(a.Body))}
}

// known takes the times of creation and the audit log's contents out of a
// body, and the words out of messages.
func known(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = known(v[i])
		}
	case map[string]any:
		if _, entry := v["actor"]; entry {
			delete(v, "at")
			delete(v, "before")
			delete(v, "after")
		}
		for key, value := range v {
			switch text, isText := value.(string); {
			case key == "created_at":
				delete(v, key)
			case key == "message" && text != "":
				v[key] = "…"
			case key == "expires_at" && isText:
				if at, err := time.Parse(time.RFC3339, text); err == nil {
					v[key] = at.UTC().Format(time.RFC3339)
				}
			default:
				v[key] = known(value)
			}
		}
	}
	return v
}
