// Package skips has a test that skips, for the bench's own tests.
package skips
