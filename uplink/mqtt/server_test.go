package mqtt

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseServer(t *testing.T) {
	good := map[string]string{
		"mqtt://broker.example":                       "mqtt://broker.example:1883",
		"tcp://broker.example:1884":                   "mqtt://broker.example:1884",
		"MQTTS://broker.example":                      "mqtts://broker.example:8883",
		"ssl://10.0.0.1:1":                            "mqtts://10.0.0.1:1",
		"tls://10.0.0.1:65535/":                       "mqtts://10.0.0.1:65535",
		"ws://broker.example":                         "ws://broker.example:80/mqtt",
		"wss://broker.example/a/b?sig=secret":         "wss://broker.example:443/a/b",
		"mqtt://[2001:db8::1]":                        "mqtt://[2001:db8::1]:1883",
		"mqtt://[fe80::1%eth0]:1883":                  "mqtt://[fe80::1%eth0]:1883",
		"mqtt://user@broker.example":                  "mqtt://broker.example:1883",
		"mqtt://user:secret@broker.example:1883":      "mqtt://broker.example:1883",
		"mqtts://user:se%40cret%2F@[::1]:8883":        "mqtts://[::1]:8883",
		"mqtt://user:with@at:and:colons@host.example": "mqtt://host.example:1883",
	}
	for in, want := range good {
		s, err := ParseServer(in)
		if err != nil || s.String() != want {
			t.Errorf("ParseServer(%q) = %v, %v; want %s", in, s, err, want)
		}
	}
	bad := map[string]error{
		"":                             errServerEmpty,
		"broker.example":               errServerScheme,
		"broker.example:1883":          errServerScheme,
		"http://broker.example":        errServerScheme,
		"mqtt:broker.example":          errServerScheme,
		"mqtt://":                      errServerHost,
		"mqtt://:1883":                 errServerHost,
		"mqtt://user:secret@":          errServerHost,
		"mqtt://host:0":                errServerPort,
		"mqtt://host:70000":            errServerPort,
		"mqtt://host:-1":               errServerPort,
		"mqtt://host:":                 errServerPort,
		"mqtt://host:1883x":            errServerPort,
		"mqtt://2001:db8::1":           errServerIPv6,
		"mqtt://::1:1883":              errServerIPv6,
		"mqtt://[::1":                  errServerIPv6,
		"mqtt://[::1]1883":             errServerIPv6,
		"mqtt://[10.0.0.1]":            errServerIPv6,
		"mqtt://[]:1883":               errServerIPv6,
		"mqtt://host/topic":            errServerPath,
		"mqtts://host?x=y":             errServerPath,
		"mqtt://host name":             errServerHostName,
		"mqtt://host\n:1883":           errServerHostName,
		"mqtt://user:%zz@host":         errServerUser,
		"mqtt://@host":                 errServerUser,
		"ws://host/a#b":                errServerURLPath,
		"mqtt://user:sec/ret@host:188": errServerPort,
	}
	for in, want := range bad {
		if s, err := ParseServer(in); err != want { //nolint:errorlint // they are not wrapped
			t.Errorf("ParseServer(%q) = %v, %v; want error %v", in, s, err, want)
		}
	}
}

func TestServerShowsNoSecret(t *testing.T) {
	s, err := ParseServer("wss://bob:secret@host.example/path?token=secret")
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %v %s", s, s, s, s, &s, text)
	if strings.Contains(all, "secret") || strings.Contains(all, "bob") {
		t.Errorf("shown: %s", all)
	}
	if !s.HasUser() || s.Path != "/path?token=secret" {
		t.Errorf("HasUser %v, Path %q", s.HasUser(), s.Path)
	}
}

func FuzzParseServer(f *testing.F) {
	for _, s := range []string{"mqtt://h", "wss://u:p@[::1]:1/x?y", "tcp://a:b", "mqtt://u:%41@h:65535", "ws://h/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseServer(in)
		if err != nil {
			return
		}
		if s.Host == "" || s.Port < 1 || s.Port > 65535 {
			t.Fatalf("%q gave host %q port %d", in, s.Host, s.Port)
		}
		again, err := ParseServer(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q gave %q, which gives %v, %v", in, s, again, err)
		}
	})
}

func TestValidateTopic(t *testing.T) {
	for _, s := range []string{"a", "fieldferry/gw-01/engine", "a b/ü/日本", "a/$b", "/a", "a/", "a//b", "/", "$aws/things/x/jobs/get", strings.Repeat("x", 65535)} {
		if err := ValidateTopic(s); err != nil {
			t.Errorf("ValidateTopic(%.20q) = %v", s, err)
		}
	}
	for s, want := range map[string]error{
		"": errTopicEmpty, "a/+": errTopicWildcard, "a#": errTopicWildcard, "a\x00": errTopicControl, "a\nb": errTopicControl,
		"a\xff": errTopicUTF8, "a\uFFFF": errTopicControl, strings.Repeat("x", 65536): errTopicLong,
	} {
		if err := ValidateTopic(s); err != want { //nolint:errorlint // they are not wrapped
			t.Errorf("ValidateTopic(%.20q) = %v, want %v", s, err, want)
		}
	}
}

func TestValidateFilter(t *testing.T) {
	for _, s := range []string{"a", "+", "#", "a/+/b", "a/#", "+/+", "/#", "$share/group/a/#", "a//+"} {
		if err := ValidateFilter(s); err != nil {
			t.Errorf("ValidateFilter(%q) = %v", s, err)
		}
	}
	for s, want := range map[string]error{
		"": errTopicEmpty, "a#": errFilterHash, "#/a": errFilterHash, "a/b+": errFilterPlus, "+a/b": errFilterPlus, "a\x00/#": errTopicControl,
	} {
		if err := ValidateFilter(s); err != want { //nolint:errorlint // they are not wrapped
			t.Errorf("ValidateFilter(%q) = %v, want %v", s, err, want)
		}
	}
}

func TestMatches(t *testing.T) { // the examples of MQTT 3.1.1, 4.7
	for filter, of := range map[string]struct{ yes, no []string }{
		"sport/tennis/player1/#": {[]string{"sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"}, []string{"sport/tennis/player12"}},
		"sport/tennis/+":         {[]string{"sport/tennis/player1", "sport/tennis/"}, []string{"sport/tennis/player1/ranking", "sport/tennis"}},
		"sport/+":                {[]string{"sport/"}, []string{"sport"}},
		"+/+":                    {[]string{"/finance"}, []string{"finance", "$SYS/x"}},
		"/+":                     {[]string{"/finance"}, []string{"finance"}},
		"+":                      {[]string{"a"}, []string{"/a", "a/", "$a"}},
		"#":                      {[]string{"a/b/c", "/"}, []string{"$SYS/x"}},
		"$SYS/#":                 {[]string{"$SYS/x", "$SYS"}, []string{"a"}},
		"a":                      {[]string{"a"}, []string{"A", "a/b", ""}},
	} {
		for _, topic := range of.yes {
			if !matches(filter, topic) {
				t.Errorf("%q does not match %q", filter, topic)
			}
		}
		for _, topic := range of.no {
			if matches(filter, topic) {
				t.Errorf("%q matches %q", filter, topic)
			}
		}
	}
}
