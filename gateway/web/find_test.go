package web

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

const findPath = "/api/v1/modbus/line1/find"

// looked is the search of a line as it is told.
func (b *bench) looked(token string) (job find) {
	b.t.Helper()
	if err := json.NewDecoder(b.ask("GET", findPath, "", "Authorization", token).Body).Decode(&job); err != nil {
		b.t.Fatal(err)
	}
	return job
}

func TestFind(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) { o.Reader = register{} })
	token := b.token(Operate)
	if r := b.ask("POST", findPath, `{"units":[17]}`, "Authorization", b.token(Read)); r.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer: %s", r.Status)
	}
	if job := b.looked(token); job.Running || job.Of != 0 {
		t.Errorf("before any: %+v", job)
	}
	for _, body := range []string{`{}`, `{"units":[0]}`, `{"units":[248]}`, `{"units":[1,2,3,4,5]}`, `{"units":[1],"parities":["X"]}`, `{"units":[1],"parities":[""]}`,
		`{"units":[1],"baud_rates":[300]}`, `{"units":[1],"stop_bits":3}`, `{"units":[1],"baud_rates":[9600,9600,9600,9600,9600,9600,9600,9600,9600]}`} {
		if r := b.ask("POST", findPath, body, "Authorization", token); r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %s", body, r.Status)
		}
	}
	if r := b.ask("POST", findPath, `{"units":[16,17]}`, "Authorization", token); r.StatusCode != http.StatusAccepted {
		t.Fatal(r.Status)
	}
	b.finds.all.Wait()
	job := b.looked(token)
	if job.Running || job.Aborted || job.Error != "" || job.Asked != 42 || job.Of != 42 || len(job.Found) != 1 || job.Found[0].Try != (Try{19200, "E", 1, 17}) || job.Found[0].Answer != "exception 2" {
		t.Errorf("%+v", job)
	}
	if b.audited("find") != 1 {
		t.Error("the audit does not know of it")
	}
}

// stuck is a line that finds nothing until it is told to stop.
type stuck struct{ register }

func (stuck) FindLine(ctx context.Context, _ string, _ []Try, _ func(Try, time.Duration, error)) error {
	<-ctx.Done()
	return ctx.Err()
}

// One search at a time; it can be stopped, and the end of the server stops it.
func TestFindIsStopped(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) { o.Reader = stuck{} })
	token := b.token(Operate)
	start := func() int { return b.ask("POST", findPath, `{"units":[1]}`, "Authorization", token).StatusCode }
	if a, c := start(), start(); a != http.StatusAccepted || c != http.StatusConflict {
		t.Errorf("first %d, second %d", a, c)
	}
	b.ask("DELETE", findPath, "", "Authorization", token)
	b.finds.all.Wait()
	if job := b.looked(token); job.Running || !job.Aborted || job.Error != "" {
		t.Errorf("%+v", job)
	}
	start()
	b.finds.end()
}
