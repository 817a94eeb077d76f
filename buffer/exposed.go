package buffer

import (
	"fmt"
	"os"
	"syscall"
)

// Exposed says what is wrong with who may write to a directory; empty: nothing,
// or it is not there. Whoever may can remove and replace records.
func Exposed(dir string) (what, advice string) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", ""
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Sprintf("everybody may write to %s", dir), "take that away by chmod 700"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if me := os.Geteuid(); ok && int(st.Uid) != me {
		return fmt.Sprintf("%s belongs to user %d, and this runs as user %d", dir, st.Uid, me), "run it as that user, or give the directory and its files to this one by chown"
	}
	return "", ""
}
