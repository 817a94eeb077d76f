// Package mutants breaks the product on purpose, one rule at a time, and sees to
// it that its tests notice: a test that cannot fail proves nothing.
package mutants
