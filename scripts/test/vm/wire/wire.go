// Package wire is what the host side of the bench and the first process of
// its guest say to each other: JSON values, one after the other, on one
// two-way channel. The host sends a [Request], the guest any number of
// [Reply] values that carry the request's id.
package wire

// PlanFile is where the guest finds its [Plan].
const PlanFile = "/bench.json"

// PortName names the virtio-serial port that is the channel under QEMU.
const PortName = "fieldferry.bench"

// Host is the address under which a guest with a network reaches the
// loopback interface of the host (QEMU's and slirp's default).
const Host = "10.0.2.2"

// Plan tells the guest what to do before it answers requests.
type Plan struct {
	Modules []string // kernel modules, in the order to load them
	Channel string   // device of the channel; empty: the virtio port PortName
	Network bool     // give eth0 the address the user-mode network expects
	Disk    bool     // mount the first virtio disk, ext4, at /disk
}

// Op is what a request asks for.
type Op string

// The operations.
const (
	Start    Op = "start"    // run Argv; Output follows, then Exited
	Signal   Op = "signal"   // send Signal to the program that request Target started
	AddVCAN  Op = "vcan"     // create the virtual CAN interface Link and set it up
	LinkUp   Op = "up"       // set the interface Link up
	LinkDown Op = "down"     // set the interface Link down
	Delete   Op = "delete"   // delete the interface Link
	PowerOff Op = "poweroff" // sync and switch off; there is no reply
	Crash    Op = "crash"    // panic the kernel; there is no reply
)

// Request is what the host wants.
type Request struct {
	ID     int // chosen by the host, never 0
	Op     Op
	Argv   []string `json:",omitempty"`
	Env    []string `json:",omitempty"`
	Dir    string   `json:",omitempty"`
	Signal int      `json:",omitempty"`
	Target int      `json:",omitempty"`
	Link   string   `json:",omitempty"`
}

// Reply is what the guest has to say. The first one, with ID 0, says that
// the guest is ready, or in Error why it is not.
type Reply struct {
	ID     int
	Output []byte `json:",omitempty"` // of a program, standard output and error together
	Done   bool   `json:",omitempty"` // the last reply to this request
	Status int    `json:",omitempty"` // exit status; 128 + n when signal n ended the program
	Error  string `json:",omitempty"` // why the request failed
}
