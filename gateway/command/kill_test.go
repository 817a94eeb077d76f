package command

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// A process is killed before, in or after any step, a write of the journal or
// one to the bus, several times in a row, sometimes with the machine. Nothing is
// ever written twice; what has been taken has a final answer, which agrees with
// what was written, and never changes.
func TestKilledAtEveryStep(t *testing.T) {
	states := map[State]int{}
	for seed := range uint64(1500) {
		synctest.Test(t, func(t *testing.T) {
			r := &killRun{site: newSite(t), rand: rand.New(rand.NewPCG(seed, 1)), taken: map[string]bool{}, final: map[string]Reply{}}
			r.run()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			for _, reply := range r.final {
				states[reply.State]++
			}
		})
	}
	t.Logf("%v", states)
	for _, s := range []State{Done, Rejected, Unknown} {
		if states[s] < 20 {
			t.Errorf("only %d requests ended as %s", states[s], s)
		}
	}
}

type killRun struct {
	*site
	rand  *rand.Rand
	texts []string
	taken map[string]bool  // by id: the broker has had its PUBACK
	final map[string]Reply // the first one
}

func (r *killRun) run() {
	r.plant.disk = r.disk
	if r.rand.IntN(2) == 0 {
		r.plant.slow = time.Duration(r.rand.IntN(2000)) * time.Millisecond
	}
	for range 4 {
		r.disk.mu.Lock()
		r.disk.step, r.disk.die, r.disk.torn = 0, 1+r.rand.IntN(14), r.rand.IntN(2) == 0
		r.disk.mu.Unlock()
		r.life()
	}
	r.disk.mu.Lock()
	r.disk.die = 0
	r.disk.mu.Unlock()
	r.start()
	for i := range r.texts {
		r.send(alice, "%s", r.texts[i])
		synctest.Wait()
	}
	time.Sleep(20 * time.Second)
	for i := range r.texts {
		r.send(alice, "%s", r.texts[i])
	}
	time.Sleep(20 * time.Second)
	r.look()
	for id := range r.taken {
		if _, is := r.final[id]; !is {
			r.t.Errorf("%s was taken and has no final answer", id)
		}
	}
	r.stop()
}

// life is a process until it is killed.
func (r *killRun) life() {
	if r.rand.IntN(3) == 0 {
		r.clock.boot++
		r.clock.begun = time.Now().Add(-10 * time.Second)
	}
	r.start()
	synctest.Wait() // connected, as before any request can come
	for range 6 {
		if len(r.texts) == 0 || r.rand.IntN(2) == 0 {
			r.texts = append(r.texts, r.request(len(r.texts)))
		}
		i := r.rand.IntN(len(r.texts))
		r.send(alice, "%s", r.texts[i])
		r.disk.mu.Lock()
		if r.disk.step < r.disk.die {
			r.taken[fmt.Sprint("w", i)] = true
		}
		r.disk.mu.Unlock()
		if r.rand.IntN(2) == 0 {
			synctest.Wait()
		}
		time.Sleep(time.Duration(r.rand.IntN(500)) * time.Millisecond)
	}
	r.look()
	r.stop()
}

func (r *killRun) request(i int) string {
	value := fmt.Sprint(float64(80+i) / 2)
	fresh := fmt.Sprintf(`"epoch":%q`, r.engine.Epoch())
	if r.rand.IntN(2) == 0 {
		fresh = fmt.Sprintf(`"issued":%q,"ttl":"20s"`, time.Now().Format(time.RFC3339Nano))
	}
	return fmt.Sprintf(`{"id":"w%d","point":"setpoint","value":%s,%s}`, i, value, fresh)
}

// look compares the answers with what was written.
func (r *killRun) look() {
	r.plant.mu.Lock()
	defer r.plant.mu.Unlock()
	times := map[string]int{}
	for _, v := range r.plant.writes {
		times[v]++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, list := range r.answers {
		for _, a := range list {
			n := times[string(a.Value)]
			switch first, is := r.final[id]; {
			case n > 1:
				r.t.Errorf("%s was written %d times", id, n)
			case !a.Final():
			case a.State == Done && n != 1, a.State == Rejected && n != 0:
				r.t.Errorf("%s is %s %s (%s), and was written %d times", id, a.State, a.Code, a.Message, n)
			case !is:
				r.final[id] = a
			case is && r.taken[id] && (first.State != a.State || first.Code != a.Code):
				r.t.Errorf("%s was %s %s, and is %s %s (%s)", id, first.State, first.Code, a.State, a.Code, a.Message)
			}
		}
	}
}
