// Package live is what the gateway knows at this moment: the last value of
// every point, rates, a short history, and one immutable picture of the whole a
// second. The page, the API, the metrics, the status verb and the health
// records all look at it; none of them looks at a bus, the buffer or the uplink.
//
// # Nouns
//
// A [Snapshot] is the picture. The [Board] holds the newest one and makes rates
// of the counters of those before. [Frames] are the last frames of a CAN bus by
// arbitration id, [Values] the last values of a Modbus line by device and
// register. The [History] is the course of a few figures over an hour and a day.
//
// # Caveats
//
// Readers never wait for acquisition, and acquisition waits for a reader no
// longer than it takes to copy a table. A gateway that nobody can look into has
// no Frames and no Values: then they cost nothing.
package live

import (
	"time"
)

// Snapshot is the gateway at one moment. It is never changed once it is on the
// [Board]; its JSON is the reply of GET /api/v1/status and of the status verb.
type Snapshot struct {
	Taken    time.Time `json:"taken"`
	Gateway  string    `json:"gateway"`
	Version  string    `json:"version"`
	Session  uint64    `json:"session"` // 0: the buffer's disk is not there yet
	Started  time.Time `json:"started"`
	State    State     `json:"state"`
	Sentence string    `json:"sentence"` // the state as a person would say it

	Sources []Source `json:"sources"`
	Buffer  Buffer   `json:"buffer"`
	Uplink  Uplink   `json:"uplink"`
	Alarms  []Alarm  `json:"alarms"` // raised now, the worst first
	Clock   Clock    `json:"clock"`
	Process Process  `json:"process"`

	Commands *Commands `json:"commands,omitempty"` // absent: nothing can be written

	Config Config        `json:"config"`
	Counts []AlarmCount  `json:"-"` // since the start, for metrics
	Up     time.Duration `json:"-"` // since the start, by a clock nobody sets
	// Pending are alarms whose conditions hold, and that are not raised yet.
	Pending []Alarm `json:"-"`

	whole time.Duration // since a record was lost
}

// State is how the gateway fares, in one word.
type State string

// The states, from best to worst.
const (
	OK         State = "ok"          // everything that is read is delivered
	CatchingUp State = "catching_up" // an outage is over, its records are still on their way
	Attention  State = "attention"   // something does not work, such as a device, or one topic of several; nothing is lost
	Outage     State = "outage"      // nothing is delivered; records wait in the buffer
	Losing     State = "losing"      // records are lost, and accounted for
	Starting   State = "starting"    // the buffer is not open yet
)

// Source is one bus.
type Source struct {
	_ [0]func() // nobody compares sources: saves the code for it

	Name  string      `json:"name"`
	Kind  string      `json:"kind"`  // "can", "modbus" or "gateway"
	Where string      `json:"where"` // interface or port
	State SourceState `json:"state"`
	Word  string      `json:"word"` // the state as a person would say it

	Records uint64    `json:"records"`       // given out in this session
	Lost    uint64    `json:"lost"`          // in this session, before, in or behind the buffer; records of earlier sessions that were evicted in it too
	Rate    float64   `json:"rate"`          // records a second, mean of the last ten
	Last    time.Time `json:"last,omitzero"` // when the last record was appended
	Age     float64   `json:"age_s"`         // of the last record, in seconds; -1: there is none
	ReadAge float64   `json:"read_age_s"`    // since a frame or a value was read, in seconds; -1: never. A record can have an error or an event alone
	Reads   uint64    `json:"-"`             // grows with each frame, and each poll that brings a value

	CAN    *CAN    `json:"can,omitempty"`
	Modbus *Modbus `json:"modbus,omitempty"`
}

// SourceState is how a source fares, in one word.
type SourceState string

// The states of a source.
const (
	Receives SourceState = "receives"
	Partial  SourceState = "partial" // some devices of a line do not answer
	Silent   SourceState = "silent"  // the bus is up, and nothing comes
	Down     SourceState = "down"    // interface or port is not there, or no device answers
	Ended    SourceState = "ended"   // a replay is over
)

// CAN is what a CAN source adds.
type CAN struct {
	Up         bool              `json:"up"`
	Controller string            `json:"controller,omitempty"` // "error-active", ...; empty: not known
	Bitrate    uint32            `json:"bitrate,omitempty"`    // bit/s
	Load       float64           `json:"load"`                 // percent of the bus; -1: not known
	FrameRate  uint64            `json:"frame_rate"`           // frames in the last second, suppressed ones included
	Frames     uint64            `json:"frames"`               // read
	Suppressed uint64            `json:"suppressed"`           // of these, by a limit
	Dropped    uint64            `json:"dropped"`              // by the kernel, before they were read
	Malformed  uint64            `json:"malformed"`
	ErrorCount uint64            `json:"error_frames"`
	Errors     map[string]uint64 `json:"errors,omitempty"` // error frames by class
	TxErrors   *uint16           `json:"tec,omitempty"`    // transmit error counter, if known
	RxErrors   *uint16           `json:"rec,omitempty"`    // receive error counter, if known
	Restarts   uint64            `json:"restarts"`
	IDs        int               `json:"ids"` // different arbitration ids seen
}

// Modbus is what a Modbus source adds.
type Modbus struct {
	PortLost bool    `json:"port_lost"`
	Paused   bool    `json:"paused,omitempty"` // not polled: somebody looks for the settings of the line
	Busy     float64 `json:"busy"`             // share of the last ten seconds in which the line was in use, 0 to 1; -1: not known
	InUse    float64 `json:"in_use_s"`         // seconds in exchanges since the start
	Requests uint64  `json:"requests"`
	Timeouts uint64  `json:"timeouts"`
	CRC      uint64  `json:"crc_errors"`
	Stale    uint64  `json:"late_replies"`
	Stray    uint64  `json:"stray_bytes"`
	Overruns uint64  `json:"overruns"`
	Refused  int     `json:"refused_registers"` // that are not read now although their devices answer
	Units    []Unit  `json:"units"`
}

// Unit is one device of a Modbus line.
type Unit struct {
	Name       string            `json:"name"`
	ID         uint8             `json:"unit"`
	Offline    bool              `json:"offline"`
	Since      time.Time         `json:"since,omitzero"`      // offline: since when
	NextProbe  time.Time         `json:"next_probe,omitzero"` // offline: when it is asked again
	Requests   uint64            `json:"requests"`
	Answered   uint64            `json:"answered"`
	Timeouts   uint64            `json:"timeouts"`
	CRC        uint64            `json:"crc_errors"`
	Exceptions map[string]uint64 `json:"exceptions,omitempty"` // by code
	P50        float64           `json:"rtt_p50_ms"`           // of the last replies; -1: none
	P95        float64           `json:"rtt_p95_ms"`
}

// Buffer is the buffer.
type Buffer struct {
	Records   uint64            `json:"records"` // not acknowledged
	Unsynced  uint64            `json:"unsynced"`
	Disk      int64             `json:"disk_bytes"`
	Memory    int64             `json:"memory_bytes"`
	Limit     int64             `json:"limit_bytes"`
	Percent   float64           `json:"percent"`      // of the limit
	FullIn    float64           `json:"full_in_s"`    // at the rate at which it fills now, in seconds; -1: it does not
	LastsFor  float64           `json:"lasts_s"`      // without an uplink, at the rate of records now, about; -1: not known
	OldestAge float64           `json:"oldest_age_s"` // of the oldest record not acknowledged; -1: none
	Acked     uint64            `json:"acked"`
	Lost      uint64            `json:"lost"`
	LostBy    map[string]uint64 `json:"lost_by"`
	Written   uint64            `json:"disk_written_bytes"` // in this session
	Commits   uint64            `json:"commits"`
	Fault     string            `json:"fault,omitempty"`
}

// Uplink is the connection to the broker.
type Uplink struct {
	Connected bool      `json:"connected"`
	Denied    bool      `json:"denied,omitempty"` // the broker does not let the gateway publish anything
	Server    string    `json:"server,omitempty"`
	Since     time.Time `json:"since,omitzero"` // connected or disconnected
	Protocol  string    `json:"protocol"`
	Rate      float64   `json:"rate"` // records acknowledged a second, mean of the last ten
	Sent      uint64    `json:"messages_sent"`
	Acked     uint64    `json:"messages_acked"`
	Refused   uint64    `json:"messages_refused"`
	InFlight  int       `json:"in_flight"`
	Window    int       `json:"window"`
	AckP50    float64   `json:"ack_p50_ms"` // from sending a message to its acknowledgement, of the last 100; -1: none yet
	AckP95    float64   `json:"ack_p95_ms"`
	BytesUp   uint64    `json:"bytes_up"`
	BytesDown uint64    `json:"bytes_down"`
	Connects  uint64    `json:"connects"`
	Failures  uint64    `json:"failures"`
	Error     string    `json:"last_error,omitempty"`
	Reason    string    `json:"last_reason,omitempty"`
	ErrorAt   time.Time `json:"last_error_at,omitzero"`
	Backlog   uint64    `json:"backlog"`   // records an outage has left, or leaves as long as it lasts
	DoneIn    float64   `json:"done_in_s"` // until the backlog is gone, in seconds; -1: not known

	// Unanswered is for how long messages have waited and the broker has
	// acknowledged none of them, in seconds; 0: none waits.
	Unanswered float64 `json:"unanswered_s"`

	DeniedTopics []string `json:"-"` // each has an alarm
	Held         []string `json:"-"` // sources of which records wait for such a topic

	Acks Histogram    `json:"-"`              // of the time to the acknowledgement, for metrics
	Peer *Certificate `json:"peer,omitempty"` // that the broker showed last; none: no TLS
	Own  *Certificate `json:"own,omitempty"`  // that the gateway showed last
}

// Unanswering is how long messages wait while the broker acknowledges none until it
// counts as one that takes nothing. A slow link is not that slow: the connection is
// given up after twice the keep-alive time.
const Unanswering = 15 * time.Second

// Mute says that the broker acknowledges nothing though it is connected.
func (u *Uplink) Mute() bool { return u.Connected && u.Unanswered >= Unanswering.Seconds() }

// Takes says that the broker takes what is sent, as far as is known.
func (u *Uplink) Takes() bool { return u.Connected && !u.Denied && !u.Mute() }

// Histogram counts times.
type Histogram struct {
	Bounds []float64 // seconds, rising
	Counts []uint64  // of times up to each bound
	Count  uint64    // of all
	Sum    float64   // seconds
}

// Alarm is one that is raised, with what to do about it.
type Alarm struct {
	ID       uint64    `json:"id"`
	Code     string    `json:"code"`
	Severity string    `json:"severity"`
	Source   string    `json:"source"`
	Subject  string    `json:"subject,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Title    string    `json:"title"`
	Means    string    `json:"means"`
	Do       string    `json:"do"`
	Flapping bool      `json:"flapping,omitempty"`

	Detail map[string]any `json:"detail,omitempty"` // as its event has it; absent: none, or it was raised before the start
}

// IsError reports whether something does not work: severity error or critical.
func (a *Alarm) IsError() bool { return a.Severity == "error" || a.Severity == "critical" }

// AlarmCount counts one condition since the start.
type AlarmCount struct {
	_ [0]func() // nobody compares them: saves the code for it

	Code   string
	Raised int    // now
	Times  uint64 // raised, or happened
}

// Clock is whether the machine's clock is trusted.
type Clock struct {
	_ [0]func() // nobody compares them: saves the code for it

	Trusted bool   `json:"trusted"`
	Why     string `json:"why,omitempty"` // not trusted: not_synchronised, ...
}

// Process is what the daemon itself takes.
type Process struct {
	_ [0]func() // nobody compares them: saves the code for it

	Memory     int64   `json:"memory_bytes"` // resident
	CPU        float64 `json:"cpu_percent"`  // of one core, mean of the last ten seconds
	CPUSeconds float64 `json:"cpu_seconds"`  // since the start
	Goroutines int     `json:"goroutines"`
	Open       int     `json:"open_files"`
}

// Config is where the configuration came from.
type Config struct {
	_ [0]func() // nobody compares them: saves the code for it

	Path     string    `json:"path,omitempty"`
	Read     time.Time `json:"read,omitzero"`
	SHA256   string    `json:"sha256,omitempty"`
	Note     string    `json:"note,omitempty"`       // such as that a former one runs
	Afar     string    `json:"afar,omitempty"`       // what became of the last one from afar, also of one that was refused: confirmed, ...; empty: none has come
	AfarNote string    `json:"afar_note,omitempty"`  // the same in a sentence, with what runs if that is another one
	Trial    time.Time `json:"trial_until,omitzero"` // it has to prove itself until then
}
