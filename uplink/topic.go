package uplink

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxTopic = 65535 // MQTT 3.1.1, 1.5.3: two bytes of length

var (
	errTopicEmpty    = errors.New("topic is empty")
	errTopicLong     = errors.New("topic is longer than 65535 bytes")
	errTopicUTF8     = errors.New("topic is not valid UTF-8")
	errTopicWildcard = errors.New("topic contains + or #, which only subscriptions may")
	errTopicControl  = errors.New("topic contains a control character")
	errTopicLevel    = errors.New("topic has an empty level: it begins or ends with a slash, or has two in a row")
	errTopicDollar   = errors.New("topic begins with $, which is the broker's own")
)

// ValidateTopic says whether s can be published to: not empty, at most 65535
// bytes of UTF-8, without + # NUL and other control characters, without empty
// levels, not beginning with $ (MQTT 3.1.1, 1.5.3 and 4.7). Brokers close the
// connection on most of these, and would again after each reconnect.
func ValidateTopic(s string) error {
	switch {
	case s == "":
		return errTopicEmpty
	case len(s) > maxTopic:
		return errTopicLong
	case !utf8.ValidString(s):
		return errTopicUTF8
	case strings.ContainsAny(s, "+#"):
		return errTopicWildcard
	case strings.ContainsFunc(s, notInTopic):
		return errTopicControl
	case s[0] == '/' || s[len(s)-1] == '/' || strings.Contains(s, "//"):
		return errTopicLevel
	case s[0] == '$':
		return errTopicDollar
	}
	return nil
}

// notInTopic is true for control characters and for the two code points that
// MQTT 3.1.1, 1.5.3 lets a receiver close the connection for.
func notInTopic(r rune) bool {
	return unicode.IsControl(r) || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
}
