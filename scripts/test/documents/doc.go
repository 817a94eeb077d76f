// Package documents tries what the documents show: configurations pass check,
// and commands name verbs and flags that there are. It has tests only.
package documents
