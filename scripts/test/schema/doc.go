// Package schema compares messages with the JSON Schemas of docs/schema, as a
// consumer would. It knows the keywords that these schemas use and no others.
//
// # Caveats
//
// The schemas let a consumer meet members that it does not know, because later
// versions may add some. The tests are stricter: a member of today's messages
// that no schema names is an error, so that the schemas stay complete.
package schema
