package config

// WithBounds makes opts report every bounded key that is read.
func WithBounds(opts Options, report func(path string, at, beyond []string)) Options {
	opts.bounds = report
	return opts
}
