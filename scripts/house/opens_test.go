package house

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var bareOpen = regexp.MustCompile(`\bos\.(Open|OpenFile|OpenInRoot|Create|ReadFile|WriteFile)\(`)

// What lies in the buffer's directory may have been put there by the service's
// account while root runs the program: it is opened by package beneath only.
func TestFilesOfTheBufferAreOpenedBeneathIt(t *testing.T) {
	files(t, ".go", func(path string, content []byte) {
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), root+"/")
		if dir != "buffer" && dir != "gateway/alarm" || strings.HasSuffix(path, "_test.go") {
			return
		}
		for line := range strings.Lines(string(content)) {
			if bareOpen.MatchString(line) && !strings.Contains(line, "os.Open(dir)") {
				t.Errorf("%s opens a file past package buffer/beneath: %s", path, strings.TrimSpace(line))
			}
		}
	})
}
