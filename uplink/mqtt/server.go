package mqtt

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// Server is a broker's address, as parsed by [ParseServer]. Its text forms
// never show the user or the password.
type Server struct {
	_ [0]func() // nobody compares them: saves the code for it

	Scheme string // mqtt, mqtts, ws or wss
	Host   string // name or address, IPv6 without brackets
	Port   int    // 1 to 65535
	Path   string // ws and wss only; begins with a slash, with the query
	user   *url.Userinfo
}

// ServerError is what is wrong with a server's URL. It does not quote the URL:
// a mistyped one may have its password anywhere.
type ServerError struct {
	What string // such as "has no host"
	Fix  string // what to do
}

func (e *ServerError) Error() string { return "server URL " + e.What + "; " + e.Fix }

const serverExample = "write such as mqtts://broker.example:8883"

var (
	errServerEmpty    = &ServerError{"is empty", serverExample}
	errServerScheme   = &ServerError{"has none of the schemes mqtt, mqtts, ws and wss", serverExample}
	errServerHost     = &ServerError{"names no host", serverExample}
	errServerHostName = &ServerError{"has a host that is not a host name", serverExample}
	errServerIPv6     = &ServerError{"has an IPv6 address that is none, or not in brackets", "write such as mqtt://[2001:db8::1]:1883"}
	errServerPort     = &ServerError{"has a port that is not a number from 1 to 65535", "the usual ones are 1883, and 8883 for mqtts"}
	errServerPath     = &ServerError{"has something after the port", "remove it; only ws and wss have a path"}
	errServerURLPath  = &ServerError{"has a path that cannot be read", "write such as wss://broker.example/mqtt"}
	errServerUser     = &ServerError{"has a user or password that cannot be read", "percent-encode special characters"}
)

// schemes maps every accepted spelling to the scheme and its default port.
var schemes = map[string]struct {
	name string
	port int
}{
	"mqtt": {"mqtt", 1883}, "tcp": {"mqtt", 1883},
	"mqtts": {"mqtts", 8883}, "ssl": {"mqtts", 8883}, "tls": {"mqtts", 8883},
	"ws": {"ws", 80}, "wss": {"wss", 443},
}

// ParseServer reads a broker's URL: scheme mqtt (also tcp), mqtts (also ssl,
// tls), ws or wss, an optional user and password, a host, an optional port,
// and for ws and wss an optional path (default /mqtt). The error is a
// *[ServerError] and never contains what was in the URL.
func ParseServer(s string) (Server, error) {
	if s == "" {
		return Server{}, errServerEmpty
	}
	scheme, rest, found := strings.Cut(s, "://")
	def, known := schemes[strings.ToLower(scheme)]
	if !found || !known {
		return Server{}, errServerScheme
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, rest = rest[:i], rest[i:]
	} else {
		rest = ""
	}
	srv := Server{Scheme: def.name, Port: def.port}
	var err error
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if srv.user, err = parseUser(authority[:i]); err != nil {
			return Server{}, err
		}
		authority = authority[i+1:]
	}
	if srv.Host, srv.Port, err = parseHostPort(authority, def.port); err != nil {
		return Server{}, err
	}
	if srv.Path, err = parsePath(def.name, rest); err != nil {
		return Server{}, err
	}
	return srv, nil
}

func parseUser(s string) (*url.Userinfo, error) {
	name, password, has := strings.Cut(s, ":")
	name, err := url.PathUnescape(name)
	if err != nil || name == "" {
		return nil, errServerUser
	}
	if !has {
		return url.User(name), nil
	}
	if password, err = url.PathUnescape(password); err != nil {
		return nil, errServerUser
	}
	return url.UserPassword(name, password), nil
}

func parseHostPort(s string, port int) (string, int, error) {
	host, text := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || end+1 < len(s) && s[end+1] != ':' {
			return "", 0, errServerIPv6
		}
		host, text = s[1:end], s[end+1:]
		address, zone, scoped := strings.Cut(host, "%")
		if ip := net.ParseIP(address); ip == nil || !strings.Contains(address, ":") || scoped && !isHostName(zone) {
			return "", 0, errServerIPv6
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		if strings.LastIndexByte(s, ':') != i {
			return "", 0, errServerIPv6
		}
		host, text = s[:i], s[i:]
	}
	if host == "" {
		return "", 0, errServerHost
	}
	if !strings.HasPrefix(s, "[") && !isHostName(host) {
		return "", 0, errServerHostName
	}
	if text == "" {
		return host, port, nil
	}
	n, err := strconv.ParseUint(text[1:], 10, 16)
	if err != nil || n == 0 || text[1] == '0' {
		return "", 0, errServerPort
	}
	return host, int(n), nil
}

func isHostName(s string) bool {
	bad := strings.ContainsFunc(s, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	return !bad && s != "" && len(s) <= 253 && s[0] != '.' && s[0] != '-' && !strings.Contains(s, "..")
}

func parsePath(scheme, s string) (string, error) {
	if scheme == "mqtt" || scheme == "mqtts" {
		if s != "" && s != "/" {
			return "", errServerPath
		}
		return "", nil
	}
	if s == "" {
		return "/mqtt", nil // MQTT 3.1.1 leaves it open; this is what brokers use
	}
	u, err := url.Parse(s)
	if err != nil || u.Fragment != "" || !strings.HasPrefix(s, "/") {
		return "", errServerURLPath
	}
	return s, nil
}

// Address is host:port, fit for dialling.
func (s Server) Address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// String is the URL without user and password.
func (s Server) String() string {
	// A query may carry a signature (AWS IoT over WebSocket): it is a secret.
	path, _, _ := strings.Cut(s.Path, "?")
	return s.Scheme + "://" + s.Address() + path
}

// GoString is String, so that no verb of package fmt shows the secret.
func (s Server) GoString() string { return s.String() }

// MarshalText is String, for encoders and structured logs.
func (s Server) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// HasUser says whether the URL names a user.
func (s Server) HasUser() bool { return s.user != nil }

func (s Server) usesTLS() bool { return s.Scheme == "mqtts" || s.Scheme == "wss" }

func (s Server) usesWebSocket() bool { return s.Scheme == "ws" || s.Scheme == "wss" }
