// Package viewers tries what thousands of people who look into one gateway at
// the same time cost it: memory, processor, and no frame.
package viewers
