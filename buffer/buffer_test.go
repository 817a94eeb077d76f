package buffer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	counting = true
	if os.Getenv(workloadEnv) != "" {
		workload()
		return
	}
	// See handle.close: bbolt keeps its lock when both meta pages go bad.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("go.etcd.io/bbolt.(*DB).Close"))
}

func testConfig(t testing.TB) Config {
	return Config{Dir: t.TempDir(), SyncInterval: time.Second}
}

func mustOpen(t testing.TB, cfg Config) *Buffer {
	t.Helper()
	b, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustClose(t testing.TB, b *Buffer) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// readAll reads everything from an offset on without acknowledging it.
func readAll(t testing.TB, b *Buffer, from uint64) (all []Record, next uint64) {
	t.Helper()
	var batch Batch
	for {
		next, err := b.Read(from, &batch, 100, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Records) == 0 {
			return all, next
		}
		for _, r := range batch.Records {
			r.Data = append([]byte(nil), r.Data...)
			all = append(all, r)
		}
		from = next
	}
}

func TestRecordsSurviveAReopen(t *testing.T) {
	cfg := testConfig(t)
	b := mustOpen(t, cfg)
	s, q := b.Source("engine"), b.Source("line1")
	for i := range 1000 {
		if seq := s.Append(int64(i), fmt.Appendf(nil, "record %d", i)); seq != uint64(i+1) {
			t.Fatalf("record %d got sequence number %d", i, seq)
		}
		if i%10 == 0 {
			q.Lose(int64(i), 3, RxOverflow)
			q.Append(int64(i), nil)
		}
	}
	first := b.Stats().Session
	mustClose(t, b)

	b = mustOpen(t, cfg)
	defer mustClose(t, b)
	if got := b.Stats().Session; got != first+1 {
		t.Errorf("session %d after %d", got, first)
	}
	if got := b.Stats().Pending; got != 1200 {
		t.Errorf("%d records pending, want 1200", got)
	}
	all, next := readAll(t, b, 0)
	n, lost := 0, uint64(0)
	for _, r := range all {
		if r.Session != first {
			t.Fatalf("record of session %d, want %d", r.Session, first)
		}
		switch {
		case r.Source == "engine":
			n++
			if r.Seq != uint64(n) || string(r.Data) != fmt.Sprintf("record %d", n-1) || r.Time != int64(n-1) {
				t.Fatalf("record %d is %+v", n, r)
			}
		case r.Lost > 0:
			lost += r.Lost
			if r.Reason != RxOverflow {
				t.Fatalf("loss %+v", r)
			}
		}
	}
	if n != 1000 || lost != 300 || len(all) != 1200 {
		t.Errorf("%d records, %d lost, %d in all", n, lost, len(all))
	}
	b.Ack(0, next)
	if st := b.Stats(); st.Pending != 0 || st.Acked != 1200 {
		t.Errorf("after the acknowledgement: %+v", st)
	}
}

func TestAcknowledgedInTimeIsNeverWritten(t *testing.T) {
	cfg := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		s := b.Source("engine")
		for i := range 5000 {
			s.Append(int64(i), []byte("0123456789abcdef"))
			time.Sleep(time.Millisecond)
			if i%200 == 199 { // 200 ms old at most
				b.Ack(b.First(), b.next)
			}
		}
		b.Ack(b.First(), b.next)
		time.Sleep(time.Minute)
		if st := b.Stats(); st.Commits != 0 || st.WrittenBytes != 0 || st.Segments != 0 {
			t.Errorf("something was written: %+v", st)
		}
		mustClose(t, b)
	})
}

func TestRecordIsOnDiskAfterSyncInterval(t *testing.T) {
	cfg := testConfig(t)
	synctest.Test(t, func(t *testing.T) {
		b := mustOpen(t, cfg)
		s := b.Source("engine")
		for i := range 100 {
			begin := time.Now()
			s.Append(int64(i), []byte("x"))
			time.Sleep(cfg.SyncInterval)
			synctest.Wait()
			if st := b.Stats(); st.Unsynced != 0 {
				t.Fatalf("record %d is not on disk after %v", i, time.Since(begin))
			}
		}
		if st := b.Stats(); st.Commits != 100 {
			t.Errorf("%d commits for 100 records a second apart", st.Commits)
		}
		mustClose(t, b)
	})
}

func TestSyncIntervalZeroReadsOnlyWhatIsSynced(t *testing.T) {
	cfg := testConfig(t)
	cfg.SyncInterval = 0
	synced := false
	b, err := open(cfg, nil, func(stage string) error {
		synced = synced || stage == "committed"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, b)
	b.Source("engine").Append(1, []byte("x"))
	if err := b.Wait(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	b.disk.Lock()
	defer b.disk.Unlock()
	if !synced {
		t.Error("readable before it was synced")
	}
	if all, _ := readAll(t, b, 0); len(all) != 1 {
		t.Errorf("%d records", len(all))
	}
}

func TestWaitEndsWithItsContextAndWithTheBuffer(t *testing.T) {
	b := mustOpen(t, testConfig(t))
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error)
	go func() { got <- b.Wait(ctx, b.First()) }()
	cancel()
	if err := <-got; err != context.Canceled {
		t.Errorf("Wait returned %v", err)
	}
	go func() { got <- b.Wait(context.Background(), b.First()) }()
	mustClose(t, b)
	if err := <-got; err != ErrClosed {
		t.Errorf("Wait returned %v", err)
	}
}

func TestSecondOpenNamesTheHolder(t *testing.T) {
	cfg := testConfig(t)
	b := mustOpen(t, cfg)
	defer mustClose(t, b)
	synctest.Test(t, func(t *testing.T) {
		_, err := Open(cfg, nil)
		if err == nil || !containsPID(err.Error()) {
			t.Errorf("second open: %v", err)
		}
	})
}

func containsPID(s string) bool {
	want := fmt.Sprintf("process %d;", os.Getpid())
	for i := range s {
		if len(s)-i >= len(want) && s[i:i+len(want)] == want {
			return true
		}
	}
	return false
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(cfg.Dir, "deep", "buffer")
	b := mustOpen(t, cfg)
	b.Source("engine").Append(1, []byte("x"))
	mustClose(t, b)
	err := filepath.Walk(cfg.Dir, func(path string, info os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	cfg := testConfig(t)
	cfg.SyncInterval = time.Hour
	b := mustOpen(t, cfg)
	defer mustClose(t, b)
	s := b.Source("engine")
	data := make([]byte, 24)
	at := uint64(0)
	run := func() {
		for range 100 {
			s.Append(1, data)
		}
		at = b.next
		b.Ack(b.First(), at)
	}
	run()
	if n := testing.AllocsPerRun(1000, run); n != 0 {
		t.Errorf("%v allocations for 100 records", n)
	}
}
