package web

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// check says where a value is not what a schema asks for.
func check(doc, schema object, v any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		return check(doc, doc["components"].(object)["schemas"].(object)[name].(object), v, at)
	}
	kinds := []any{}
	switch k := schema["type"].(type) {
	case string:
		kinds = append(kinds, k)
	case []any:
		kinds = k
	default:
		return nil
	}
	if !slices.ContainsFunc(kinds, func(k any) bool { return isKind(k.(string), v) }) {
		return []string{fmt.Sprintf("%s is %T, not %v", at, v, kinds)}
	}
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			wrong = append(wrong, check(doc, schema["items"].(object), e, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := schema["properties"].(object)
		for name, e := range v {
			if p, ok := properties[name].(object); ok {
				wrong = append(wrong, check(doc, p, e, at+"."+name)...)
			} else if more, ok := schema["additionalProperties"].(object); ok {
				wrong = append(wrong, check(doc, more, e, at+"."+name)...)
			} else if schema["additionalProperties"] == false {
				wrong = append(wrong, at+"."+name+" is not in the file")
			}
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				wrong = append(wrong, at+"."+name.(string)+" is missing")
			}
		}
	}
	return wrong
}

func isKind(kind string, v any) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == math.Trunc(v)
	case []any:
		return kind == "array"
	default:
		return kind == "object"
	}
}
