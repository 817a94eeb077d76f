package mqtt

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

const MaxTopic = 65535 // MQTT 3.1.1, 1.5.3: two bytes of length

var (
	errTopicEmpty    = errors.New("topic is empty")
	errTopicLong     = errors.New("topic is longer than 65535 bytes")
	errTopicUTF8     = errors.New("topic is not valid UTF-8")
	errTopicWildcard = errors.New("topic contains + or #, which only subscriptions may")
	errTopicControl  = errors.New("topic contains a control character")
	errFilterHash    = errors.New("filter has a # that is not its last level")
	errFilterPlus    = errors.New("filter has a + that is not a whole level")
)

// ValidateTopic says whether s can be published to: not empty, at most 65535
// bytes of UTF-8, without + # NUL and other control characters (MQTT 3.1.1,
// 1.5.3 and 4.7). Brokers close the connection on most of these, and would again
// after each reconnect. Empty levels are legal, and so is a $ at the begin:
// clouds have such topics.
func ValidateTopic(s string) error {
	switch {
	case s == "":
		return errTopicEmpty
	case len(s) > MaxTopic:
		return errTopicLong
	case !utf8.ValidString(s):
		return errTopicUTF8
	case strings.ContainsAny(s, "+#"):
		return errTopicWildcard
	case strings.ContainsFunc(s, notInTopic):
		return errTopicControl
	}
	return nil
}

// ValidateFilter says whether s can be subscribed to (MQTT 3.1.1, 4.7.1).
func ValidateFilter(s string) error {
	levels := strings.Split(s, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i == len(levels)-1, level == "+":
			levels[i] = "x"
		case strings.Contains(level, "#"):
			return errFilterHash
		case strings.Contains(level, "+"):
			return errFilterPlus
		}
	}
	if s == "" {
		return errTopicEmpty
	}
	return ValidateTopic(strings.Join(levels, "/"))
}

// notInTopic is true for control characters and for the two code points that
// MQTT 3.1.1, 1.5.3 lets a receiver close the connection for.
func notInTopic(r rune) bool {
	return unicode.IsControl(r) || r&0xFFFE == 0xFFFE || r >= 0xFDD0 && r <= 0xFDEF
}
