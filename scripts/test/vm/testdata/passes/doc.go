// Package passes has tests that pass in a guest only, for the bench's own tests.
package passes
