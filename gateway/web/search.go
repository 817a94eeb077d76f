package web

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// search is what every search on a line has; it is a job.
type search struct {
	Running bool      `json:"running"`
	Aborted bool      `json:"aborted,omitempty"`
	Began   time.Time `json:"began"`
	By      string    `json:"by"`
	Error   string    `json:"error,omitempty"` // why it ended before its time

	stop context.CancelFunc
}

func (s *search) base() *search { return s }

// job is a search with what it has found.
type job interface{ base() *search }

// searches are the jobs of one kind that run, or ran last, by line.
type searches struct {
	mu   sync.Mutex
	list map[string]job
	all  sync.WaitGroup
}

// start starts a job for a line and answers the request for it; action is its
// name in the account, and running the answer while there is another one.
func (l *searches) start(s *Server, w http.ResponseWriter, r *http.Request, j job, action, running string, run func(ctx context.Context, line string) error) {
	if s.opts.Reader == nil {
		problem(w, http.StatusNotImplemented, "read", "This server cannot read registers.")
		return
	}
	line := r.PathValue("line")
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.list[line]; last != nil && last.base().Running {
		problem(w, http.StatusConflict, "running", running)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	b := j.base()
	*b = search{Running: true, Began: time.Now().UTC(), By: who(r).Name, stop: stop}
	if l.list == nil {
		l.list = map[string]job{}
	}
	l.list[line] = j
	s.opts.Audit(Audit{Time: time.Now(), Action: action, Who: b.By, From: address(r), Detail: line})
	l.all.Go(func() {
		defer stop()
		err := run(ctx, line)
		l.mu.Lock()
		defer l.mu.Unlock()
		b.Running, b.Aborted = false, ctx.Err() != nil
		if err != nil && !b.Aborted {
			b.Error = err.Error()
		}
	})
	writeStatus(w, http.StatusAccepted, j)
}

// last answers with the job of a line, or with none, which nobody has asked for.
func (l *searches) last(s *Server, w http.ResponseWriter, r *http.Request, none job) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.list[r.PathValue("line")]
	if j == nil {
		j = none
	}
	writeJSON(w, j)
}

// abort stops the job of a line.
func (l *searches) abort(s *Server, w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	l.mu.Lock()
	if j := l.list[r.PathValue("line")]; j != nil {
		j.base().stop()
	}
	l.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// end stops all jobs and waits for them.
func (l *searches) end() {
	l.mu.Lock()
	for _, j := range l.list {
		j.base().stop()
	}
	l.mu.Unlock()
	l.all.Wait()
}
