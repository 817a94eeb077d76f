package main

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"sort"
)

// writeHeap writes which functions hold how much memory, most first: the bytes
// and objects in use and those allocated since the start, then the calls.
// runtime/pprof does so in a form for programs, and is 70 kB of machine code.
func writeHeap(w io.Writer) error {
	runtime.GC()
	n, _ := runtime.MemProfile(nil, true)
	list := make([]runtime.MemProfileRecord, n+64) // room for those that come meanwhile
	n, ok := runtime.MemProfile(list, true)
	if !ok {
		return fmt.Errorf("the heap has more than %d places of allocation", len(list))
	}
	list = list[:n]
	sort.Slice(list, func(i, j int) bool { return list[i].InUseBytes() > list[j].InUseBytes() })
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "One in %d bytes is sampled.\n", runtime.MemProfileRate)
	for i := range list {
		r := &list[i]
		fmt.Fprintf(out, "\n%d bytes in %d objects; allocated %d bytes in %d\n", r.InUseBytes(), r.InUseObjects(), r.AllocBytes, r.AllocObjects)
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); f.Function != "" {
				fmt.Fprintf(out, "  %s %s:%d\n", f.Function, f.File, f.Line)
			}
		}
	}
	return out.Flush()
}
