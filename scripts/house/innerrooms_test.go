package house

import (
	"path"
	"slices"
	"strings"
)

// innerRoom is a package of the gateway and what it may import of the project.
type innerRoom struct {
	imports []string // below the module; "bus/..." stands for a room with all its packages
	reason  string   // why it may not import more
}

const (
	door = "a door only translates between what is asked and what is shown: buses, buffer and broker are reached through the gateway"
	leaf = "it is a leaf: it serves every room and knows none"
)

// The rooms of the gateway. The package gateway itself wires them all and
// stands in no rule but that of the star.
var inner = map[string]innerRoom{
	module + "/gateway/alarm":          {[]string{"bus", "buffer/beneath", "gateway/record", "gateway/statedir"}, "alarms are made of events and clocks, whatever bus, buffer or broker they are about"},
	module + "/gateway/bundle":         {nil, leaf},
	module + "/gateway/clock":          {nil, leaf},
	module + "/gateway/command":        {[]string{"bus/...", "gateway/quota"}, "what changes devices does not know who asked, nor how the answer travels"},
	module + "/gateway/config":         {[]string{"bus/...", "buffer", "uplink", "gateway/command", "gateway/web"}, "the configuration is vocabulary: the validators of the leaves decide, nothing is started"},
	module + "/gateway/control":        {[]string{"gateway/live", "gateway/alarm", "gateway/config", "gateway/command", "gateway/passwd", "gateway/socket"}, door},
	module + "/gateway/daemon":         {[]string{"gateway", "gateway/command", "gateway/config", "gateway/live", "gateway/record", "gateway/remote", "gateway/statedir", "gateway/web", "bus/modbus"}, "it keeps one gateway at a time, and the page that outlives it: buffer and broker are the gateway's business"},
	module + "/gateway/journal":        {nil, leaf},
	module + "/gateway/live":           {[]string{"bus/...", "gateway/payload/native"}, "last values are made of what a bus brings: who buffers, sends or configures it is not seen"},
	module + "/gateway/ledger":         {[]string{"gateway/payload/native"}, "a consumer knows nothing but what it has received"},
	module + "/gateway/outbox":         {[]string{"buffer", "uplink", "gateway/payload"}, "records go from the buffer to the uplink in a form it does not know: what they are about is the format's business"},
	module + "/gateway/packaged":       {[]string{"gateway/passwd"}, "it knows the service and its machine, and nothing of what the service does"},
	module + "/gateway/passwd":         {nil, leaf},
	module + "/gateway/payload":        {[]string{"buffer"}, "it is the seam between records and their forms, and knows neither"},
	module + "/gateway/payload/native": {[]string{"bus/...", "buffer", "gateway/clock", "gateway/payload", "gateway/record", "gateway/topic"}, "a payload is a form of a record: who delivers it is the uplink's business"},
	module + "/gateway/quota":          {nil, leaf},
	module + "/gateway/record":         {[]string{"bus", "bus/can", "bus/can/dbc", "bus/modbus", "gateway/clock"}, "a body is facts: in which form they are sent is the formats' business"},
	module + "/gateway/remote":         {[]string{"gateway/command"}, "it judges documents: who delivers them and who puts a configuration in place is not seen"},
	module + "/gateway/source":         {[]string{"bus/...", "gateway/clock", "gateway/config", "gateway/live", "gateway/record"}, "a source makes records of what a bus brings: who keeps and who sends them is not seen"},
	module + "/gateway/socket":         {nil, leaf},
	module + "/gateway/statedir":       {nil, leaf},
	module + "/gateway/topic":          {nil, leaf},
	module + "/uplink/mqtt":            {[]string{"uplink/internal/wsconn"}, "it is one connection: sessions, retries and the pace are the uplink's, and what is in a message is the gateway's"},
	module + "/gateway/web":            {[]string{"gateway/live", "gateway/alarm", "gateway/config", "gateway/command", "gateway/passwd", "gateway/socket"}, door},
}

// changers are the packages that change devices without a permit.
var changers = []string{module + "/bus/can/send", module + "/bus/modbus/commission"}

// innerVerdict says why code of the program in from may not import to, both
// packages of the project, by the rules of the inner rooms; empty when it may.
func innerVerdict(from, to string) string {
	fromRoom, fake := place(from)
	if slices.Contains(changers, to) && fromRoom != "cmd" && fromRoom != "scripts" && !fake {
		return "it changes devices without a permit: only the verbs of a person may"
	}
	if to == module+"/bus/can/write" && from != module+"/gateway/command" {
		return "it sends on a bus: only gateway/command carries permits"
	}
	if to == module+"/uplink/mqtt" && fromRoom != "uplink" {
		return "a connection knows no queue and no retry: use the uplink"
	}
	rule, ok := inner[from]
	if !ok || allowed(strings.TrimPrefix(to, module+"/"), rule.imports) {
		return ""
	}
	return from + " may not import it: " + rule.reason
}

func allowed(to string, imports []string) bool {
	return slices.ContainsFunc(imports, func(i string) bool {
		room, all := strings.CutSuffix(i, "/...")
		return to == i || all && (to == room || strings.HasPrefix(path.Clean(to), room+"/"))
	})
}
