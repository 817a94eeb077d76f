package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// BenchmarkUnguardedParser shows why tokens are guarded before they are
// parsed: twice the size takes the parser four times the memory and time.
func BenchmarkUnguardedParser(b *testing.B) {
	for _, n := range []int{2000, 4000, 8000} {
		for shape, text := range map[string]string{
			"keys in one map": wideMap(n),
			"nested lists":    strings.Repeat("[", n/2) + strings.Repeat("]", n/2),
		} {
			b.Run(fmt.Sprintf("%s/%d", shape, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := parser.Parse(lexer.Tokenize(text), 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	full, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{"full": string(full), "3200 registers": largeSite()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if cfg, problems := Parse("testdata/good/full.yaml", []byte(text), surroundings()); cfg == nil {
					b.Fatal(lines(problems))
				}
			}
		})
	}
}
