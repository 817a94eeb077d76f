package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/command"
	"fieldferry/gateway/live"
)

const openapiFile = "openapi.json"

// described is what the OpenAPI file says of a route beside what the table of
// routes does.
type described struct {
	summary string
	body    any // of the request; nil: none
	reply   any // nil: no JSON
	status  int // 0: 200
	query   string
	other   string // media type of a reply that is not JSON
}

type words struct {
	Words []uint16 `json:"words"`
	Took  float64  `json:"took_ms"`
}

var descriptions = map[string]described{
	"GET /healthz": {summary: "Whether the daemon works; an outage of the broker is none of the daemon", reply: struct {
		OK    bool       `json:"ok"`
		State live.State `json:"state"`
	}{}},
	"GET /readyz": {summary: "Whether the buffer is open and takes records to disk; an outage of the broker does not count", reply: struct {
		OK bool `json:"ok"`
	}{}},
	"GET /metrics": {summary: "Metrics in the text format of Prometheus; web.metrics.open may open it to this machine", other: "text/plain"},
	"GET /api/v1/me": {summary: "Who is logged in", reply: struct {
		Name     string `json:"name,omitempty"`
		Role     Role   `json:"role,omitempty"`
		Setup    bool   `json:"setup,omitempty"`
		Secure   bool   `json:"secure"`
		Insecure bool   `json:"insecure"`
		Demo     bool   `json:"demo"`
	}{}},
	"POST /api/v1/login":  {summary: "Log in; the reply sets a cookie", body: struct{ Name, Password string }{}, reply: identity{}},
	"POST /api/v1/logout": {summary: "Log out", status: 204},
	"POST /api/v1/setup":  {summary: "Make the first account by the code in the log", body: struct{ Code, Name, Password string }{}, reply: identity{}},
	"GET /api/v1/status":  {summary: "The whole state of the gateway", reply: live.Snapshot{}},
	"GET /api/v1/events":  {summary: "Stream of events (HTML Living Standard, 9.2): NAME/full is the state of a topic, NAME a change", query: "topics,topic,every", other: "text/event-stream"},
	"GET /api/v1/sources": {summary: "The sources", reply: struct {
		Sources []live.Source `json:"sources"`
	}{}},
	"GET /api/v1/sources/{source}/values": {summary: "The last value of each register of a Modbus line, or of each signal of a CAN bus, with the time of the frame that carried it; limits do not thin it out", reply: struct {
		Values []live.Value `json:"values"`
	}{}},
	"GET /api/v1/can/{source}/frames": {summary: "The last frame of each arbitration id on the bus, whatever the limits of the configuration keep back, and each long J1939 message that a DBC file describes (packets)", reply: struct {
		Frames []live.ID `json:"frames"`
		Others uint64    `json:"others"`
	}{}},
	"GET /api/v1/can/{source}/frames/{id}": {summary: "The last frame of one id on the bus, and the last value of each of its signals", reply: idSignals{}},
	"GET /api/v1/can/{source}/roll":        {summary: "The newest 500 frames on a bus, oldest first, also those that the limits keep back", reply: rolled{}},
	"GET /api/v1/can/{source}/log":         {summary: "The frames on the bus of the last ten seconds as candump -l writes them, also those that the limits keep back", other: "text/plain"},
	"GET /api/v1/history": {summary: "The course of figures over an hour or a day; a gap is null", query: "figure,span", reply: struct {
		Figures []string `json:"figures"`
		Courses []course `json:"courses"`
	}{}},
	"GET /api/v1/alarms": {summary: "Alarms that are raised, and what happened lately", reply: struct {
		Raised []live.Alarm `json:"raised"`
		Notes  []live.Note  `json:"notes"`
	}{}},
	"GET /api/v1/buffer": {summary: "The buffer, what it holds of each source (about), and the newest losses", reply: struct {
		live.Buffer
		live.Stored
	}{}},
	"GET /api/v1/uplink": {summary: "The connection to the broker", reply: struct {
		Uplink      live.Uplink       `json:"uplink"`
		Disconnects []live.Disconnect `json:"disconnects"`
		live.Announced
	}{}},
	"GET /api/v1/modbus/{line}/plan":  {summary: "How a line is polled", reply: live.Plan{}},
	"GET /api/v1/modbus/{line}/units": {summary: "What each unit of a line answers", reply: live.Modbus{}},
	"GET /api/v1/modbus/{line}/exchanges": {summary: "The last exchanges on a line, in hex", reply: struct {
		Exchanges []live.Exchange `json:"exchanges"`
	}{}},
	"POST /api/v1/modbus/{line}/read":   {summary: "Ask a unit once, between two polls", body: Query{}, reply: words{}},
	"POST /api/v1/modbus/{line}/scan":   {summary: "Search a line for units", body: struct{ From, To int }{}, reply: scan{}, status: 202},
	"GET /api/v1/modbus/{line}/scan":    {summary: "The search that runs, or ran last", reply: scan{}},
	"DELETE /api/v1/modbus/{line}/scan": {summary: "Stop the search", status: 204},
	"POST /api/v1/modbus/{line}/find":   {summary: "Search for the baud rate and parity of a serial line; it is not polled meanwhile", body: findAsk{}, reply: find{}, status: 202},
	"GET /api/v1/modbus/{line}/find":    {summary: "The search for the settings that runs, or ran last", reply: find{}},
	"DELETE /api/v1/modbus/{line}/find": {summary: "Stop the search for the settings", status: 204},
	"POST /api/v1/commands":             {summary: "Write a point of the configuration within its limits, or read one; the reply says what became of it", body: commandBody{}, reply: command.Reply{}},
	"POST /api/v1/commands/pause":       {summary: "Stop all commands, also after a restart", status: 204},
	"POST /api/v1/commands/resume":      {summary: "Let commands go on", status: 204},
	"GET /api/v1/config":                {summary: "The configuration file without its secrets", reply: ConfigText{}},
	"POST /api/v1/config/check": {summary: "What is wrong with a text in place of the file; the body is the text", reply: struct {
		OK       bool            `json:"ok"`
		Problems []ConfigProblem `json:"problems"`
		Changes  []Change        `json:"changes,omitempty"` // from what runs to the text
	}{}},
	"GET /api/v1/config/attempt": {summary: "The last configuration that somebody wanted to put in place since the daemon's start: applying, watching (with left_s, the countdown), confirmed, rejected or rolled_back", reply: struct {
		Attempt *live.ConfigAttempt `json:"attempt"`
	}{}},
	"POST /api/v1/config/apply": {summary: "Put a configuration in place; the body is the text, If-Match the ETag of GET /api/v1/config that it was made from. Secrets that were shown as ******** keep their values while their line is as it was. " +
		"watch is how long it is tried (5s to 24h, default 10m, 0: not at all); with keep=true it goes back unless POST /api/v1/config/keep comes within that time. " +
		"202: on its way, see GET /api/v1/config/attempt. 409: another one is being tried. 412: changed meanwhile. 422: wrong, with problems. 428: no If-Match", query: "watch,keep", reply: live.ConfigAttempt{}, status: 202},
	"POST /api/v1/config/keep":     {summary: "Confirm the configuration that is being tried; 409: none is", status: 204},
	"POST /api/v1/config/rollback": {summary: "End the trial: the former configuration comes back. Without a trial, put the configuration before the confirmed one in place, on trial for the time of watch; 409: there is none", query: "watch", reply: live.ConfigAttempt{}, status: 202},
	"GET /api/v1/logs": {summary: "The newest lines of the log", query: "since", reply: struct {
		Lines []live.LogLine `json:"lines"`
	}{}},
	"POST /api/v1/bundle": {summary: "The support bundle", body: BundleOptions{}, other: "application/gzip"},
	"GET /api/v1/mark":    {summary: "The last mark that was put into the log", reply: Mark{}},
	"POST /api/v1/mark":   {summary: "Put a mark into the log and the audit: state is start, stop or note", body: struct{ State, Note string }{}, reply: Mark{}},
}

// commandBody is a request as a person at the page sends it; see docs/COMMANDS.md.
type commandBody struct {
	ID     string          `json:"id,omitempty"`
	Point  string          `json:"point,omitempty"`
	Value  json.RawMessage `json:"value,omitempty"`
	Expect json.RawMessage `json:"expect,omitempty"`
	Read   string          `json:"read,omitempty"`
	TTL    string          `json:"ttl,omitempty"`
	Reason string          `json:"reason,omitempty"`
}

type identity struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
}

type object = map[string]any

// schemas makes JSON Schemas of Go types.
type schemas struct{ named object }

func (s *schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return object{}
	}
	switch t.Kind() {
	case reflect.Pointer:
		inner := s.of(t.Elem())
		if kind, ok := inner["type"].(string); ok {
			return object{"type": []string{kind, "null"}}
		}
		return inner
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	default:
		return object{"type": "integer"}
	}
}

func (s *schemas) structure(t reflect.Type) object {
	if name := t.Name(); name != "" {
		name = strings.ToUpper(name[:1]) + name[1:]
		if _, ok := s.named[name]; !ok {
			s.named[name] = nil // while it is made
			s.named[name] = s.members(t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return s.members(t)
}

func (s *schemas) members(t reflect.Type) object {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous:
			inner := s.members(f.Type)
			for name, v := range inner["properties"].(object) {
				properties[name] = v
			}
			required = append(required, inner["required"].([]string)...)
			continue
		case tag == "":
			tag = strings.ToLower(f.Name)
		}
		properties[tag] = s.of(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, tag)
		}
	}
	slices.Sort(required)
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// openapi makes the file of the table of routes and the types of the replies.
func openapi(t *testing.T, table []route) []byte {
	t.Helper()
	s := schemas{object{}}
	paths := object{}
	for _, r := range table {
		d, ok := descriptions[r.pattern]
		if !ok {
			t.Errorf("%s is not described", r.pattern)
		}
		method, path, _ := strings.Cut(r.pattern, " ")
		op := object{"summary": d.summary, "responses": s.responses(&d, r.role)}
		if r.role != "" {
			op["security"] = []object{{"token": []string{string(r.role)}}, {"session": []string{string(r.role)}}}
		}
		parameters := []object{}
		for _, m := range parameter.FindAllStringSubmatch(path, -1) {
			parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for name := range strings.SplitSeq(d.query, ",") {
			if name != "" {
				parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string"}})
			}
		}
		if len(parameters) > 0 {
			op["parameters"] = parameters
		}
		if d.body != nil {
			op["requestBody"] = object{"content": object{"application/json": object{"schema": s.of(reflect.TypeOf(d.body))}}}
		}
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(method)] = op
	}
	s.named["Problem"] = object{"type": "object", "required": []string{"detail", "status", "title", "type"}, "properties": object{
		"type": object{"type": "string"}, "title": object{"type": "string"}, "status": object{"type": "integer"}, "detail": object{"type": "string"}}}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(object{
		"openapi": "3.1.0",
		"info":    object{"title": "fieldferry", "version": "1", "description": "What a running gateway shows. Errors are RFC 9457 problems."},
		"paths":   paths,
		"components": object{"schemas": s.named, "securitySchemes": object{
			"token":   object{"type": "http", "scheme": "bearer"},
			"session": object{"type": "apiKey", "in": "cookie", "name": cookieName},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (s *schemas) responses(d *described, role Role) object {
	good := object{"description": "as asked"}
	switch {
	case d.reply != nil:
		good["content"] = object{"application/json": object{"schema": s.of(reflect.TypeOf(d.reply))}}
	case d.other != "":
		good["content"] = object{d.other: object{}}
	}
	status := d.status
	if status == 0 {
		status = 200
	}
	bad := object{"description": "a problem", "content": object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}}}
	return object{fmt.Sprint(status): good, "default": bad}
}

// The file has every route, and what it says of replies is what the types say.
func TestOpenAPI(t *testing.T) {
	b := newBench(t, Config{})
	want := openapi(t, b.table())
	if *update {
		if err := os.WriteFile(openapiFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(openapiFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the routes and types say; run go test ./gateway/web -run OpenAPI -update, then go generate ./gateway/web (%v)", openapiFile, err)
	}
	if len(descriptions) != len(b.table()) {
		t.Errorf("%d routes, %d descriptions", len(b.table()), len(descriptions))
	}
}

// What the server answers is what the file says, checked without the types.
func TestRepliesKeepToOpenAPI(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) {
		o.Reader, o.Logs, o.Configs = register{}, &live.Logs{}, fixedConfig{}
		o.Changer, o.Redact = fixedConfig{}, func(text []byte) []byte { return text }
	})
	send(b.view, 0x123, 1, 2)
	s := everything()
	s.Taken = time.Now()
	s.Sources[0].Name, s.Alarms = "engine", []live.Alarm{{Code: "x"}}
	b.view.Publish(s)
	b.view.Notes.Add(live.Note{Time: time.Now(), Code: "x", Detail: map[string]any{"a": 1}})
	b.view.Disconnects.Add(live.Disconnect{Time: time.Now(), Error: "x"})
	text, err := os.ReadFile(openapiFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	token := b.token(Admin)
	bodies := map[string]string{"POST /api/v1/modbus/{line}/read": `{"unit":17,"register":"holding","address":7,"count":1}`,
		"POST /api/v1/modbus/{line}/find": `{"units":[17]}`}
	checked := 0
	for _, r := range b.table() {
		method, path, _ := strings.Cut(r.pattern, " ")
		op := doc["paths"].(object)[path].(object)[strings.ToLower(method)].(object)
		if strings.Contains(path, "/events") {
			continue
		}
		real := strings.NewReplacer("{source}/values", "line1/values", "{source}", "engine", "{line}", "line1", "{id}", "123").Replace(path)
		if strings.HasSuffix(path, "/history") {
			real += "?figure=in"
		}
		resp := b.ask(method, real, bodies[r.pattern], "Authorization", token)
		body, _ := io.ReadAll(resp.Body)
		reply, known := op["responses"].(object)[fmt.Sprint(resp.StatusCode)].(object)
		if !known {
			reply = op["responses"].(object)["default"].(object)
		}
		content, _ := reply["content"].(object)
		for kind, media := range content {
			if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, kind) {
				t.Errorf("%s: %s %s, and the file says %s", r.pattern, resp.Status, got, kind)
			}
			schema, ok := media.(object)["schema"].(object)
			var v any
			if !ok {
				continue
			}
			if err := json.Unmarshal(body, &v); err != nil {
				t.Errorf("%s: %v", r.pattern, err)
			}
			checked++
			for _, wrong := range check(doc, schema, v, "$") {
				t.Errorf("%s: %s", r.pattern, wrong)
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d replies were checked", checked)
	}
	b.scans.end()
	b.finds.end()
}

type fixedConfig struct{}

func (fixedConfig) Config() (ConfigText, error)  { return ConfigText{Path: "f.yaml"}, nil }
func (fixedConfig) Check([]byte) []ConfigProblem { return []ConfigProblem{{Line: 1}} }
func (fixedConfig) LookAtConfig(bool) live.ConfigState {
	return live.ConfigState{Tag: "now", Attempt: &live.ConfigAttempt{ID: "1"}}
}
func (fixedConfig) ApplyConfig(_ context.Context, by string, c live.ConfigCandidate) (live.ConfigAttempt, error) {
	switch a := (live.ConfigAttempt{ID: "1", By: by, State: "applying", Keep: c.Keep, Why: c.Watch.String()}); {
	case string(c.Text) == "busy":
		return a, errors.New("busy")
	case c.Tag != "now":
		return live.ConfigAttempt{State: "rejected", Conflict: true, Why: "changed"}, nil
	case string(c.Text) == "bad":
		return live.ConfigAttempt{State: "rejected", Problems: []live.ConfigProblem{{Line: 3, What: "bad"}}}, nil
	default:
		return a, nil
	}
}
func (fixedConfig) RollBackConfig(_ context.Context, by string, watch time.Duration) (live.ConfigAttempt, error) {
	return live.ConfigAttempt{ID: "1", By: by, State: "applying", Why: watch.String()}, nil
}
func (fixedConfig) KeepConfig(context.Context, string) error { return nil }
func (fixedConfig) Attempted() *live.ConfigAttempt           { return &live.ConfigAttempt{ID: "1"} }

// A configuration from the page: nobody's change is lost, only administrators may,
// and what is wrong stands on its line.
func TestConfigChange(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) { o.Configs, o.Changer = fixedConfig{}, fixedConfig{} })
	admin, operate := b.token(Admin), b.token(Operate)
	if r := b.ask("GET", "/api/v1/config", "", "Authorization", admin); r.Header.Get("ETag") != `"now"` {
		t.Errorf("%v", r.Header)
	}
	for _, c := range []struct {
		token, path, body, tag string
		status                 int
		want                   string
	}{
		{operate, "apply", "good", `"now"`, 403, ""},
		{operate, "keep", "", "", 403, ""},
		{operate, "rollback", "", "", 403, ""},
		{"", "apply", "good", `"now"`, 401, ""},
		{admin, "apply", "good", "", 428, "If-Match"},
		{admin, "apply", "good", "now", 428, "If-Match"},
		{admin, "apply", "good", `"before"`, 412, "Changed."},
		{admin, "apply", "bad", `"now"`, 422, `"line":3`},
		{admin, "apply", "busy", `"now"`, 409, "Busy."},
		{admin, "apply?watch=soon", "good", `"now"`, 400, "watch"},
		{admin, "apply?watch=-1m", "good", `"now"`, 400, "watch"},
		{admin, "apply", "good", `"now"`, 202, `"why":"10m0s"`},
		{admin, "apply?watch=5m&keep=true", "good", `"now"`, 202, `"keep":true`},
		{admin, "apply", strings.Repeat("a", maxBody+1), `"now"`, 413, ""},
		{admin, "keep", "", "", 204, ""},
		{admin, "rollback?watch=0", "", "", 202, `"by":"web:t-admin"`},
	} {
		r := b.ask("POST", "/api/v1/config/"+c.path, c.body, "Authorization", c.token, "If-Match", c.tag)
		if text := all(t, r); r.StatusCode != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s %.10s %s: %d %.200s", c.path, c.body, c.tag, r.StatusCode, text)
		}
	}
	if r := b.ask("POST", "/api/v1/config/apply", "good", "Authorization", admin, "If-Match", `"now"`, "Sec-Fetch-Site", "cross-site"); r.StatusCode != 403 {
		t.Errorf("from another site: %d", r.StatusCode)
	}
	if r := b.ask("GET", "/api/v1/config/apply", "", "Authorization", admin); r.StatusCode != 404 && r.StatusCode != 405 {
		t.Errorf("GET: %d", r.StatusCode)
	}
}
