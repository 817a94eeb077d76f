package web

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"fieldferry/gateway/live"
)

// View is what there is to see of a gateway. All methods may be called from any
// goroutine and never wait for a bus, the buffer or the uplink.
type View interface {
	// Snapshot returns the newest snapshot, nil before the first.
	Snapshot() *live.Snapshot
	// Bus returns what can be looked at of a CAN source, Line of a Modbus source.
	Bus(source string) (live.Bus, bool)
	Line(source string) (live.Line, bool)
	// Course returns the last hour of a figure, or its last day, and when it began.
	Course(name string, day bool) (live.Course, time.Time)
	// Figures lists the names Course knows.
	Figures() []string
	// Numbers returns the last value of registers and signals by name; see live.Look.
	Numbers(names []string) []live.Number
	// LastNotes and LastDisconnects return what happened lately, oldest first: to
	// alarms, and to the connection to the broker.
	LastNotes() []live.Note
	LastDisconnects() []live.Disconnect
	// LastAnnounced returns what the gateway has last said of itself to the broker.
	LastAnnounced() live.Announced
	// Stored returns what the buffer holds of each source, and what was lost lately.
	Stored() live.Stored
}

// openFeed returns the feed of a topic, nil if there is no such topic.
func openFeed(v View, topic string) Feed {
	kind, source, _ := strings.Cut(topic, ":")
	switch kind {
	case "overview":
		return &stateFeed{get: func() any { return v.Snapshot() }}
	case "alarms":
		return &stateFeed{get: func() any { return alarmsOf(v) }}
	case "exchanges":
		if _, ok := v.Line(source); ok {
			return &stateFeed{get: func() any { return exchangesOf(v, source) }}
		}
	case "can":
		if _, ok := v.Bus(source); ok {
			return &rowsFeed[live.ID]{get: func() []live.ID { return canRows(v, source) }, same: sameID}
		}
	case "roll":
		if _, ok := v.Bus(source); ok {
			return &rollFeed{view: v, source: source}
		}
	case "signals":
		source, id, _ := strings.Cut(source, ":")
		if _, ok := v.Bus(source); ok {
			return &stateFeed{get: func() any { return signalsOf(v, source, id) }}
		}
	case "values":
		if _, ok := v.Line(source); ok {
			return &rowsFeed[live.Value]{get: func() []live.Value { return pointRows(v, source) }, same: sameValue}
		}
		if _, ok := v.Bus(source); ok {
			return &rowsFeed[live.Value]{get: func() []live.Value { return pointRows(v, source) }, same: sameSignal}
		}
	}
	return nil
}

// stateFeed is a topic that is sent whole whenever it differs.
type stateFeed struct {
	get  func() any
	last []byte
}

// Full implements [Feed].
func (f *stateFeed) Full() []byte {
	if f.last == nil {
		f.last = encode(f.get())
	}
	return f.last
}

// Next implements [Feed].
func (f *stateFeed) Next() []byte {
	b := encode(f.get())
	if bytes.Equal(b, f.last) {
		return nil
	}
	f.last = b
	return b
}

// rowsFeed is a table of which only the rows that changed are sent. Rows keep
// their places, new ones come behind: a row is sent with its place.
type rowsFeed[T any] struct {
	get  func() []T
	same func(a, b *T) bool
	last []T
}

// Full implements [Feed].
func (f *rowsFeed[T]) Full() []byte {
	if f.last == nil {
		f.last = f.get()
	}
	return encode(map[string]any{"rows": f.last})
}

// Next implements [Feed].
func (f *rowsFeed[T]) Next() []byte {
	rows := f.get()
	changed := map[int]*T{}
	for i := range rows {
		if i >= len(f.last) || !f.same(&rows[i], &f.last[i]) {
			changed[i] = &rows[i]
		} else {
			rows[i] = f.last[i] // what the clients have
		}
	}
	whole := len(rows) < len(f.last) // another configuration
	f.last = rows
	switch {
	case whole:
		return encode(map[string]any{"rows": rows})
	case len(changed) == 0:
		return nil
	}
	return encode(map[string]any{"changed": changed})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		b, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return b
}

func canRows(v View, source string) []live.ID {
	b, ok := v.Bus(source)
	if !ok {
		return []live.ID{}
	}
	table, _ := b.Table()
	return table
}

// pointRows are the last values of a source of either kind.
func pointRows(v View, source string) []live.Value {
	if l, ok := v.Line(source); ok {
		return l.Table()
	}
	if b, ok := v.Bus(source); ok {
		return b.Points()
	}
	return []live.Value{}
}

func exchangesOf(v View, source string) any {
	l, ok := v.Line(source)
	if !ok {
		return map[string]any{"exchanges": []live.Exchange{}}
	}
	return map[string]any{"exchanges": l.Exchanges()}
}

// alarmsOf are the alarms that are raised, and what happened lately.
func alarmsOf(v View) any {
	raised := []live.Alarm{}
	if s := v.Snapshot(); s != nil && s.Alarms != nil {
		raised = s.Alarms
	}
	return map[string]any{"raised": raised, "notes": v.LastNotes()}
}

// idSignals is the reply about one arbitration id.
type idSignals struct {
	live.ID
	Signals []live.Signal `json:"signals"`
}

func signalsOf(v View, source, id string) *idSignals {
	b, ok := v.Bus(source)
	if !ok {
		return nil
	}
	row, signals, ok := b.Signals(id)
	if !ok {
		return nil
	}
	return &idSignals{row, signals}
}

// sameSignal is sameValue for a signal, whose frame comes up to a thousand times
// a second: its age alone is no news for a while.
func sameSignal(a, b *live.Value) bool {
	const news = 2 * time.Second
	age := a.At.Sub(b.At)
	return age.Abs() < news && a.Error == b.Error && a.Out == b.Out && bytes.Equal(a.Value, b.Value) && a.Name == b.Name && a.Device == b.Device && a.ID == b.ID
}

// sameID heeds the id: long messages stand behind, and move when an id is new.
func sameID(a, b *live.ID) bool {
	return a.Count == b.Count && a.ID == b.ID && a.Packets == b.Packets && slices.Equal(a.Changed, b.Changed)
}

func sameValue(a, b *live.Value) bool {
	return a.At.Equal(b.At) && a.Error == b.Error && bytes.Equal(a.Value, b.Value) && a.Name == b.Name
}
