package deb

import (
	"hash/crc32"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What the ARMv6 build costs on ARMv7: docs/decisions/armhf.md.

var (
	count32 atomic.Uint32
	count64 atomic.Uint64
)

func BenchmarkAtomic32(b *testing.B) {
	for b.Loop() {
		count32.Add(1)
	}
}

func BenchmarkAtomic64(b *testing.B) {
	for b.Loop() {
		count64.Add(1)
	}
}

func BenchmarkMutex(b *testing.B) {
	var mu sync.Mutex
	var n int
	for b.Loop() {
		mu.Lock()
		n++
		mu.Unlock()
	}
}

func BenchmarkText(b *testing.B) {
	now := time.Now()
	text := make([]byte, 0, 256)
	for i := 0; b.Loop(); i++ {
		text = now.AppendFormat(text[:0], time.RFC3339Nano)
		text = strconv.AppendUint(text, uint64(i), 16)
		text = strconv.AppendFloat(text, float64(i)*0.125, 'g', -1, 64)
	}
}

func BenchmarkCRC32(b *testing.B) {
	block := make([]byte, 4096)
	for b.Loop() {
		crc32.ChecksumIEEE(block)
	}
}

func BenchmarkChannel(b *testing.B) {
	values := make(chan int, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range values {
		}
	}()
	for b.Loop() {
		values <- 1
	}
	close(values)
	<-done
}
