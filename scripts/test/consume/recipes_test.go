package consume

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fieldferry/scripts/test/rig"
)

// What a gateway with values sends, beside the messages about itself.
var withValues = []string{
	`{"v":1,"gateway":"gw","session":9,"source":"line1","seq":1,"count":2,"records":[` +
		`{"seq":1,"ts":"2026-11-25T20:30:00.041000001Z","type":"modbus","device":"main meter","values":{"u":230.25,"on":true,"mode":{"value":1,"label":"auto"},"energy":"28147931469447271","power":null,"say":"a \"b\" \\ c"},"errors":{"power":"not a number","current":"exception 2"}},` +
		`{"seq":2,"ts":"2026-11-25T20:30:01.041Z","type":"modbus","device":"main meter","values":{"u":231,"state":{"value":5,"flags":["run","fault"]}}}]}`,
	`{"v":1,"gateway":"gw","session":9,"source":"bus","seq":1,"count":2,"records":[` +
		`{"seq":1,"ts":"2026-11-25T20:30:00.500000000Z","type":"can","id":"0CF00400","ext":true,"name":"EEC1","data":"00","pgn":61444,"sa":0,"signals":{"EngineSpeed":8032}},` +
		`{"seq":2,"ts":"2026-11-25T20:30:00.500000000Z","type":"can","id":"0CF00403","ext":true,"name":"EEC1","data":"00","pgn":61444,"sa":3,"signals":{"EngineSpeed":700}}]}`,
	`{"v":1,"gateway":"gw","session":9,"source":"raw","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-25T20:30:00.500000000Z","type":"can","id":"123","data":"0011FF"}]}`,
}

// Messages of a hostile client, which are in nobody's way: one that no database
// takes, and records whose values are not of the form.
var hostile = []string{
	`{"records": nonsense`,
	`{"v":1,"gateway":"gw","session":9,"source":"odd","seq":1,"count":1,"records":[{"seq":1,"type":"event"}]}`,
	`{"v":1,"gateway":"` + noise() + `","session":9,"source":"odd","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-25T20:30:00.5Z","type":"event"}]}`,
	`{"v":1,"gateway":"gw","session":9,"source":"odd","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-25T20:30:00.5Z","type":"modbus","values":{"\ud800":1}}]}`,
	`{"v":1,"gateway":"gw\u0000","session":9,"source":"odd","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-25T20:30:00.5Z","type":"event"}]}`,
	strings.Repeat("[", 100000),
}

// noise is a name that is too long for a key, and does not shrink.
func noise() string {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	return text.String()
}

const oddValues = `{"v":1,"gateway":"gw","session":9,"source":"odd","seq":1,"count":2,"records":[` +
	`{"seq":1,"ts":"2026-11-25T20:30:00.5Z","type":"modbus","values":7,"errors":7},` +
	`{"seq":2,"ts":"2026-11-25T20:30:00.5Z","type":"modbus","sa":{},"errors":[1],"values":{"large":1e400,"small":1e-400,"list":[1]}}]}`

func publish(t *testing.T, m *rig.Mosquitto, topic, message string) {
	t.Helper()
	pub := rig.Need(t, "mosquitto_pub", "mosquitto-clients")
	cmd := exec.Command(pub, "-p", strconv.Itoa(m.Port), "-q", "1", "-t", topic, "-s")
	cmd.Stdin = strings.NewReader(message)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

func needPython(t *testing.T, module, pkg string) {
	t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import "+module).Run() != nil {
		missing(t, pkg, true)
	}
}

// subscribed starts a program of the documents and waits until the broker has
// its subscription, which it then keeps.
func subscribed(t *testing.T, m *rig.Mosquitto, env []string, file string, args ...string) *rig.Process {
	t.Helper()
	needPython(t, "paho.mqtt.client", "python3-paho-mqtt")
	before := strings.Count(m.Said(), "Sending SUBACK")
	p := rig.Start(t, env, "/usr/bin/python3", append([]string{docs + "consume/" + file, "127.0.0.1", strconv.Itoa(m.Port)}, args...)...)
	p.Until("the subscription", func() bool { return strings.Count(m.Said(), "Sending SUBACK") > before })
	return p
}

// postgres is a server of Debian's package with one database.
type postgres struct {
	t      *testing.T
	bin    string
	dir    string
	server *rig.Process
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		missing(t, "postgresql", true)
	}
	dir, err := os.MkdirTemp("", "pg") // the server's user finds its way to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{t: t, bin: filepath.Dir(found[len(found)-1]), dir: dir}
	if u, err := user.Lookup("postgres"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("setpriv", p.argv("initdb", "-D", dir+"/data", "-U", "postgres", "-A", "trust", "-N")...).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.start()
	return p
}

// argv are the arguments of setpriv: the server does not run as root.
func (p *postgres) argv(program string, args ...string) []string {
	var who []string
	if os.Geteuid() == 0 {
		who = []string{"--reuid=postgres", "--regid=postgres", "--clear-groups"}
	}
	return append(append(who, p.bin+"/"+program), args...)
}

func (p *postgres) start() {
	p.t.Helper()
	p.server = rig.Start(p.t, nil, "setpriv", p.argv("postgres", "-D", p.dir+"/data", "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off")...)
	p.server.Says("ready to accept connections")
}

// sql is what a statement returns, without decoration.
func (p *postgres) sql(statement string) string {
	p.t.Helper()
	out, err := exec.Command(p.bin+"/psql", "-h", p.dir, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-Atc", statement).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (p *postgres) file(name string) {
	p.t.Helper()
	if out, err := exec.Command(p.bin+"/psql", "-h", p.dir, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qf", docs+"consume/"+name).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Every record is in the database once, also when the database was away.
func TestPostgreSQL(t *testing.T) {
	needPython(t, "psycopg2", "python3-psycopg2")
	db := newPostgres(t)
	db.file("postgres.sql")
	m := rig.StartMosquitto(t, "log_type all")
	conn := "host=" + db.dir + " user=postgres"
	p := subscribed(t, m, pythonAlone(t).env, "postgres.py", conn)
	publish(t, m, "fieldferry/gw/status", `{"v":1,"state":"online","gateway":"gw"}`)
	for _, message := range append(messages, withValues...) {
		publish(t, m, "fieldferry/gw/any", message)
	}
	for _, message := range append(hostile, oddValues) {
		publish(t, m, "fieldferry/gw/any", message)
	}
	publish(t, m, "fieldferry/gw/config/part/0a/1", "can:\n")
	publish(t, m, "fieldferry/gw/gateway/gzip", packed(envelope(7, 13, event(13))))
	publish(t, m, "fieldferry/gw/gateway/zstd", squeezed(t, envelope(7, 14, event(14))))
	p.Until("the last message", func() bool { return db.sql("SELECT count(*) FROM record WHERE seq = 13") == "1" })
	p.Until("the unread messages", func() bool { return db.sql("SELECT count(*) FROM unread") == strconv.Itoa(len(hostile)+1) })
	if n := strings.Count(p.Log.String(), "not read: fieldferry/gw/"); n != len(hostile)+1 {
		t.Errorf("%d messages are named as not read", n)
	}

	// The database goes; what comes meanwhile is acknowledged when it is back.
	db.server.Kill()
	publish(t, m, "fieldferry/gw/gateway", envelope(9, 3, event(3)))
	<-p.Done()
	if p.ExitCode() == 0 {
		t.Error("the program goes on without a database")
	}
	db.start()
	p = subscribed(t, m, nil, "postgres.py", conn) // with a library for zstd
	p.Until("the record of the outage", func() bool {
		return db.sql("SELECT count(*) FROM record WHERE session = 9 AND source = 'gateway'") == "3"
	})

	for statement, want := range map[string]string{
		"SELECT count(*) FROM record WHERE source = 'gateway'":                 "13",
		"SELECT count(*) FROM unread":                                          strconv.Itoa(len(hostile)),
		"SELECT name, number, text FROM value WHERE source = 'odd' ORDER BY 1": "large||1" + strings.Repeat("0", 400) + "\nlist||[1]\nsmall||0." + strings.Repeat("0", 399) + "1",
		"SELECT first, last, reason FROM loss":                                 "8|10|evicted",
		"SELECT session, source, first, last FROM missing":                     "7|gateway|4|4",
		"SELECT device, name, number, text, label, error FROM value WHERE source = 'line1' ORDER BY 2, 3": strings.Join([]string{
			"main meter|current||||exception 2", "main meter|energy||28147931469447271||", "main meter|mode|1|1|auto|", "main meter|on|1|true||", "main meter|power||||not a number",
			`main meter|say||a "b" \ c||`, `main meter|state|5|5|["run", "fault"]|`, "main meter|u|230.25|230.25||", "main meter|u|231|231||"}, "\n"),
		"SELECT device, sa, name, number, stamp FROM value WHERE source = 'bus' ORDER BY sa": "EEC1|0|EngineSpeed|8032|2026-11-25T20:30:00.500000000Z\nEEC1|3|EngineSpeed|700|2026-11-25T20:30:00.500000000Z",
	} {
		if got := db.sql(statement); got != want {
			t.Errorf("%s is\n%s, want\n%s", statement, got, want)
		}
	}
	t.Run("a later start", func(t *testing.T) {
		db.sql("SELECT take('" + strings.ReplaceAll(envelope(11, 1700, event(1700), event(1702)), "'", "''") + "')")
		if got, want := db.sql("SELECT first, last FROM missing WHERE session = 11"), "1701|1701"; got != want {
			t.Errorf("missing are %q, want %s", got, want)
		}
	})
	t.Run("losses that overlap", func(t *testing.T) {
		for _, message := range overlapping {
			db.sql("SELECT take('" + message + "')")
		}
		const lost = "SELECT session, sum(numbers) FROM lost WHERE session > 20 GROUP BY 1 ORDER BY 1"
		if got := db.sql(lost); got != "21|4\n22|6" {
			t.Errorf("lost are\n%s", got)
		}
		if got := db.sql("SELECT * FROM missing WHERE session > 20"); got != "" {
			t.Errorf("missing are %s", got)
		}
	})
	t.Run("again", func(*testing.T) { db.file("postgres.sql") })
	t.Run("CSV", func(t *testing.T) { csvFiles(t, db) })
	t.Run("Grafana", func(t *testing.T) { grafana(t, db) })
}

// csvFiles runs the commands of the document that export.
func csvFiles(t *testing.T, db *postgres) {
	text, err := os.ReadFile(docs + "consume/README.md")
	if err != nil {
		t.Fatal(err)
	}
	copies := regexp.MustCompile(`psql -d plant -c "(\\copy .* TO '(\w+\.csv)' CSV HEADER)"`).FindAllStringSubmatch(string(text), -1)
	if len(copies) != 3 {
		t.Fatalf("the document has %d exports", len(copies))
	}
	dir := t.TempDir()
	for _, c := range copies {
		db.sql(strings.ReplaceAll(c[1], c[2], dir+"/"+c[2]))
	}
	value, err := os.ReadFile(dir + "/value.csv")
	if err != nil || !strings.HasPrefix(string(value), "ts,gateway,source,device,sa,name,number,text,label,error\n") {
		t.Errorf("%v\n%s", err, value)
	}
	for _, line := range []string{"00.500000000Z,gw,bus,EEC1,3,EngineSpeed,700,700,,", "00.041000001Z,gw,line1,main meter,,energy,,28147931469447271,,",
		"00.041000001Z,gw,line1,main meter,,mode,1,1,auto,", "00.041000001Z,gw,line1,main meter,,current,,,,exception 2"} {
		if !strings.Contains(string(value), "\n2026-11-25T20:30:"+line+"\n") {
			t.Errorf("%s is not in\n%s", line, value)
		}
	}
	if frames, err := os.ReadFile(dir + "/frame.csv"); err != nil || !strings.Contains(string(frames), "\n2026-11-25T20:30:00.500000000Z,gw,raw,123,0011FF\n") {
		t.Errorf("%v\n%s", err, frames)
	}
	query := regexp.MustCompile(`psql -d plant -c "(SELECT body->>'ts' .*)"`).FindStringSubmatch(string(text))
	if query == nil || !strings.Contains(db.sql(query[1]), "|gw|raw|123|0011FF") {
		t.Errorf("the query of frames: %q", query)
	}
	// The lines of pandas are Python; they run where it is there.
	lines := regexp.MustCompile("(?s)```python\n(.*?)```").FindStringSubmatch(string(text))
	if lines == nil {
		t.Fatal("the document has no lines of pandas")
	}
	const program = `import ast, os, sys
tree = ast.parse(sys.argv[1])
os.chdir(sys.argv[2])
try:
    import pandas
except ImportError:
    sys.exit("SKIPPED: pandas is missing")
try:
    import pyarrow
except ImportError:
    pandas.DataFrame.to_parquet = lambda *_: None
exec(sys.argv[1])
assert str(value.ts.dtype) == "datetime64[ns, UTC]", value.ts.dtype
assert "EngineSpeed" in open("wide.csv").read()
`
	if out, err := exec.Command("/usr/bin/python3", "-c", program, lines[1], dir).CombinedOutput(); err != nil {
		if !strings.HasPrefix(string(out), "SKIPPED") {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
	}
}

// grafana runs the queries of the dashboard.
func grafana(t *testing.T, db *postgres) {
	text, err := os.ReadFile(docs + "consume/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Templating struct{ List []struct{ Query string } }
		Panels     []struct {
			Title   string
			Targets []struct{ RawSQL string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	macro := regexp.MustCompile(`\$__timeFilter\((\w+)\)`)
	run := func(title, query string) {
		query = macro.ReplaceAllString(strings.ReplaceAll(query, "$source", "line1"), "$1 BETWEEN '2026-11-01' AND '2026-12-01'")
		if strings.Contains(query, "$") || db.sql(query) == "" {
			t.Errorf("%s: nothing comes of %s", title, query)
		}
	}
	for _, v := range board.Templating.List {
		run("variable", v.Query)
	}
	for _, p := range board.Panels {
		run(p.Title, p.Targets[0].RawSQL)
	}
	if len(board.Panels) < 3 {
		t.Errorf("%d panels", len(board.Panels))
	}
}

// Every value is in the database, with its nanoseconds and its type.
func TestInfluxDB(t *testing.T) {
	program := need(t, "influxd", true)
	dir := t.TempDir()
	conf := filepath.Join(dir, "influxdb.conf")
	text := "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\n dir = \"" + dir + "/meta\"\n[data]\n dir = \"" + dir + "/data\"\n wal-dir = \"" +
		dir + "/wal\"\n[http]\n bind-address = \"127.0.0.1:0\"\n[monitor]\n store-enabled = false\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := rig.Start(t, nil, program, "-config", conf)
	port := server.Finds(regexp.MustCompile(`Listening on HTTP.*127\.0\.0\.1:(\d+)`))[1]
	influx := need(t, "influx", true)
	ask := func(query string) string {
		out, err := exec.Command(influx, "-port", port, "-database", "plant", "-format", "csv", "-precision", "ns", "-execute", query).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", query, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	ask("CREATE DATABASE plant")
	m := rig.StartMosquitto(t, "log_type all")
	p := subscribed(t, m, nil, "influx.py", "http://127.0.0.1:"+port+"/write?db=plant")
	for _, message := range slices.Concat(hostile, []string{oddValues}, messages, withValues, withValues[:1]) {
		publish(t, m, "fieldferry/gw/any", message)
	}
	publish(t, m, "fieldferry/gw/bus/gzip", packed(withValues[1]))
	publish(t, m, "fieldferry/gw/late/zstd", squeezed(t, strings.ReplaceAll(withValues[1], `"bus"`, `"late"`)))
	p.Until("the signal of the frame", func() bool { return strings.Contains(ask("SELECT EngineSpeed FROM late"), "8032") })
	for query, want := range map[string]string{
		`SELECT u, "on", mode, "energy.text", "say.text" FROM line1 WHERE device = 'main meter'`: "name,time,u,on,mode,energy.text,say.text\n" +
			`line1,1795638600041000001,230.25,true,1,28147931469447271,"a ""b"" \ c"` + "\nline1,1795638601041000000,231,,,,",
		"SELECT EngineSpeed, sa FROM bus WHERE gateway = 'gw'": "name,time,EngineSpeed,sa\nbus,1795638600500000000,8032,0\nbus,1795638600500000000,700,3",
	} {
		if got := ask(query); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", query, got, want)
		}
	}
	p.Signal(syscall.SIGTERM)
}

// The flow's function passes each record once.
func TestNodeRED(t *testing.T) {
	node := need(t, "node", false)
	text, err := os.ReadFile(docs + "consume/nodered.json")
	if err != nil {
		t.Fatal(err)
	}
	var flow []struct{ ID, Type, Func string }
	if err := json.Unmarshal(text, &flow); err != nil {
		t.Fatal(err)
	}
	for _, n := range flow {
		if n.Type != "function" {
			continue
		}
		const program = `const node = {error: e => { failed.push(e); }}, failed = [], kept = {}, zlib = require("zlib");
const f = new Function("msg", "context", "node", "zlib", process.argv[1]);
const context = {get: k => kept[k], set: (k, v) => { kept[k] = v; }};
const pass = payload => f({topic: "fieldferry/gw/any", payload}, context, node, zlib);
const zstd = Buffer.from(process.argv[3], "hex");
let n = 0;
for (const m of JSON.parse(process.argv[2])) { const out = pass(Buffer.from(m)); n += out ? out[0].length : 0; pass(zlib.gzipSync(m)); }
console.log(n, JSON.stringify(Object.values(kept.seen)));
pass(Buffer.from("nonsense")); pass(Buffer.from("")); f({topic: "fieldferry/gw/config/part/0a/1", payload: Buffer.from("can:")}, context, node, zlib);
pass(zlib.gzipSync(" ".repeat(100 << 20)));
const late = pass(zstd);
console.log(failed.length - (late ? 0 : 1), late ? late[0].length === 1 : failed.pop().includes("zstd needs Node"));`
		list, err := json.Marshal(append([]string{`{"v":1,"state":"online"}`, `{"v":2,"records":[]}`}, messages...))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `"libs": [{"var": "zlib", "module": "zlib"}]`) || !strings.Contains(string(text), `"datatype": "buffer"`) {
			t.Error("the flow does not have what its function needs")
		}
		out, err := exec.Command(node, "-e", program, n.Func, string(list), hex.EncodeToString([]byte(squeezed(t, envelope(9, 3, event(3)))))).CombinedOutput()
		if got, want := strings.TrimSpace(string(out)), "10 [[[1,3],[5,7],[11,12]],[[1,2]]]\n2 true"; err != nil || got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
		return
	}
	t.Error("the flow has no function")
}

// Telegraf's configuration is one of TOML that asks for what an envelope has.
func TestTelegraf(t *testing.T) {
	const program = `import json, sys, tomllib
i = tomllib.load(open(sys.argv[1], "rb"))["inputs"]["mqtt_consumer"][0]
o = i["json_v2"][0]
assert i["qos"] == 1 and i["persistent_session"] and i["data_format"] == "json_v2", i
e = json.loads(sys.argv[2])
for tag in o["tag"]: assert tag["path"] in e, tag
for r in e[o["object"][0]["path"]]: assert o["object"][0]["timestamp_key"] in r, r
`
	for _, m := range append(messages, withValues...) {
		if out, err := exec.Command("/usr/bin/python3", "-c", program, docs+"consume/telegraf.conf", m).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// The three programs of Python stand alone, and read messages in the same way.
func TestTheProgramsUnpackInTheSameWay(t *testing.T) {
	function := regexp.MustCompile(`(?s)\ndef unpack\(.*?\n\n`)
	var all []string
	for _, name := range []string{"consumer.py", "postgres.py", "influx.py"} {
		text, err := os.ReadFile(docs + "consume/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, function.FindString(string(text)))
		if !strings.Contains(string(text), "client.reconnect_delay_set(1, 10)") {
			t.Errorf("%s waits up to two minutes for a broker that is back", name)
		}
	}
	if all[0] == "" || all[1] != all[0] || all[2] != all[0] {
		t.Errorf("%q", all)
	}
}
