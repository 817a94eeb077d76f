package native

import (
	"encoding/json"

	"fieldferry/gateway/record"
)

// appendCommand appends the members of a command record. Empty ones are left
// out.
func appendCommand(dst, body []byte) ([]byte, error) {
	c, err := record.ParseCommand(body)
	if err != nil {
		return dst, err
	}
	dst = appendString(append(dst, `"id":`...), c.ID)
	dst = appendTexts(dst, [2]string{"who", c.Who}, [2]string{"by", c.By}, [2]string{"point", c.Point})
	for _, m := range [][2]string{{"value", c.Value}, {"old", c.Old}, {"read", c.Read}} {
		if m[1] != "" {
			dst = appendJSON(appendName(dst, m[0]), m[1])
		}
	}
	dst = appendTexts(dst, [2]string{"state", c.State}, [2]string{"code", c.Code})
	if c.Exception > 0 {
		dst = appendUint(append(dst, `,"exception":`...), c.Exception)
	}
	dst = appendUint(append(dst, `,"took_ms":`...), c.TookMS)
	dst = appendTexts(dst, [2]string{"reason", c.Reason}, [2]string{"signer", c.Signer})
	if c.More > 0 {
		dst = appendUint(append(dst, `,"more":`...), c.More)
	}
	if c.Again {
		dst = append(dst, `,"again":true`...)
	}
	return dst, nil
}

// appendJSON appends a JSON value as it is; what is none, for damage, as a text.
func appendJSON(dst []byte, value string) []byte {
	if json.Valid([]byte(value)) {
		return append(dst, value...)
	}
	return appendString(dst, value)
}
