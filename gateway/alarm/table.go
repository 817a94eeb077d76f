package alarm

import (
	"time"

	"fieldferry/bus"
)

// The codes of what the gateway itself reports; those of the buses are in
// package bus.
const (
	Started         = "started" // the first note of every life of the gateway
	UplinkDown      = "uplink_down"
	UplinkMute      = "uplink_mute"
	UplinkDenied    = "uplink_denied"
	UplinkUnproved  = "uplink_unproved"
	DiskFault       = "disk_fault"
	BufferHigh      = "buffer_high"
	DiskCrowded     = "disk_crowded"
	BufferEvicting  = "buffer_evicting"
	BufferDamaged   = "buffer_damaged"
	MemoryFull      = "memory_full"
	RxOverflow      = "rx_overflow"
	RecordsRejected = "records_rejected"
	ConfigRejected  = "config_rejected"
	ClockUnsynced   = "clock_unsynced"
	ClockStep       = "clock_step"
	WebUnavailable  = "web_unavailable"
	StatusContested = "status_contested"
	// CertificateExpires is about a certificate near its end, or beyond.
	CertificateExpires = "certificate_expires"

	CommandsDenied      = "commands_denied"
	CommandsUnavailable = "commands_unavailable"
	CommandsSuspended   = "commands_suspended"
	CommandsPaused      = "commands_paused"
	CommandsForgotten   = "commands_forgotten"
	CommandFallback     = "command_fallback"
)

// boot is how long hardware may take after the service.
const boot = 5 * time.Second

// Table has every condition that any part of fieldferry reports. To add one is
// to add a row: events, the status and meta messages, the counters and
// docs/ALARMS.md follow it.
var Table = []Condition{
	{Code: Started, Severity: Info, Momentary: true, Title: "The gateway has started",
		Text: "The detail has the version, and as alarms the ids of those that were raised before and continue: any other alarm has ended. previous (clean or unclean) says how previous_session, the session before it in the same buffer, has ended, and stored the last number of each source that was on disk, a lower bound: what was acknowledged sooner never had to be. earlier lists older ones that may not have been reported. After unclean, up to sync_interval of records behind the larger of stored and what was received may be missing without a loss record. Without previous the buffer is new. life is different in every start.",
		Help: "One needs no action. Many of them in a row: look at the journal for why it restarts."},

	{Code: bus.LinkDown, Severity: Error, Start: boot, Title: "CAN interface down",
		Text: "The interface is down or not there; nothing is received from this bus.",
		Help: "Bring it up (systemd-networkd, ip link, or bitrate in the configuration); check the adapter and its driver."},
	{Code: bus.BusOff, Severity: Error, Title: "CAN controller bus-off", HiddenBy: []string{bus.LinkDown},
		Text: "The controller has left the bus after too many errors; nothing is received until it is restarted.",
		Help: "Check wiring, termination (two times 120 ohms), bit rate and for a short circuit. Set restart_ms or bitrate, so that it restarts by itself."},
	{Code: bus.ErrorPassive, Severity: Warning, Title: "CAN controller error-passive", HiddenBy: []string{bus.LinkDown, bus.BusOff},
		Text: "The controller has counted 128 errors or more; frames may be missing.",
		Help: "Check wiring, termination and bit rate. A controller that is alone on the bus and not listen-only gets there as well."},
	{Code: bus.ErrorWarning, Severity: Warning, Title: "CAN controller counts errors", HiddenBy: []string{bus.LinkDown, bus.BusOff, bus.ErrorPassive},
		Text: "The controller has counted 96 errors or more.",
		Help: "Check wiring, termination and bit rate before it gets worse."},
	{Code: RxOverflow, Severity: Error, Title: "CAN frames lost before they were read",
		Text: "The kernel dropped frames because the machine was too busy to read them; loss records say which numbers. Cleared when none was lost for a minute.",
		Help: "Lower the load of the machine, set filters, or raise net.core.rmem_max."},

	{Code: bus.PortLost, Severity: Error, Start: boot, Title: "Serial port or connection lost",
		Text: "The serial port is gone, cannot be opened or is taken by another program; or the far end cannot be connected to, or closes each connection before it has answered. No device on this line is read. A connection that is closed after an answer, or when idle, is made again without this.",
		Help: "Serial: check the adapter, the path and the access rights (group dialout), and that no other program has the port. Network: check the address, the cable and how many connections the far end takes; set connect_delay if it needs a moment after connecting."},
	{Code: bus.SlaveOffline, Severity: Error, Title: "Modbus device does not answer", HiddenBy: []string{bus.PortLost},
		Text: "The device has not answered three polls in a row; it is asked every 5 to 10 s until it does, or more rarely if that would hold up the others.",
		Help: "Check its power, unit id, baud rate, parity and the wiring. Ask it with fieldferry modbus read --line LINE --unit N, while the daemon runs, or on the page Commissioning; fieldferry modbus scan, with the daemon stopped, finds who answers. If the detail says CRC error, look also for two devices with one unit id, and at bias and termination; if it says that it answered late, set a longer timeout."},
	{Code: bus.RegisterRefused, Severity: Error, After: 10 * time.Second, Title: "Registers of a Modbus device are not read", HiddenBy: []string{bus.PortLost},
		Text: "The device answers, but not for these registers: each time it refuses them, or is silent, late or busy, or its reply is damaged or not what was asked for; the detail says which. Their values do not come; all others are read. They are tried again each minute, or at their interval if that is longer. as_written in the detail is how the configuration numbers them.",
		Help: "An exception or a timeout: compare table, address and count with the device's manual (is it numbered from 1, or as 40001? then set address_base or address_format), try it with fieldferry modbus read --line LINE --unit N, set a longer timeout, or remove the register. A CRC error or wrong reply: look for two devices with one unit id, missing bias or termination; try turnaround: 20ms."},

	{Code: bus.PollOverrun, Severity: Warning, Title: "Modbus line overloaded", HiddenBy: []string{bus.PortLost, bus.SlaveOffline},
		Text: "Over a minute more than a tenth of the polls had to be left out; values come more rarely than configured. Cleared at less than half of that. Requests that are not answered, or in time, or whole, are repeated, which takes time as well.",
		Help: "See first to slave_offline and register_refused of this line, if they are raised. Else look at the load with fieldferry check; poll less often, raise the baud rate, or see to the devices that answer late or with CRC errors."},

	{Code: DiskFault, Severity: Critical, Title: "Disk does not take records",
		Text: "Records wait in memory; what is not delivered before memory is full or power fails is lost.",
		Help: "Check that the disk is mounted, writable, not full and healthy (journalctl -k). After an error of the file system unmount it, run fsck, mount it again; fieldferry continues by itself. If the device stays busy or the service still sees the old mount: systemctl stop fieldferry, mount, systemctl start fieldferry."},
	{Code: BufferHigh, Severity: Warning, Title: "Buffer fills up",
		Text: "More than 80 % of max_size, or of what others leave of the disk if that is less, is in use; cleared below 70 %. When it is full, records are lost by the overflow policy.",
		Help: "Restore the uplink; raise max_size if outages are longer than the buffer is made for; make room on the disk if something else fills it (df)."},
	{Code: DiskCrowded, Severity: Warning, After: time.Minute, Title: "Other files take the buffer's disk",
		Text: "Others leave the buffer less than half of what it may take (max_size, or what the disk can hold if that is less), so that an outage fills it sooner; the detail says how much. Cleared at 60 %.",
		Help: "Make room (df -h, du -xhd1 /var), lower max_size to what there is, or give the buffer a disk of its own (buffer.mount_point)."},
	{Code: BufferEvicting, Severity: Critical, Title: "Buffer full, records are lost",
		Text: "The size or age limit of the buffer makes it drop records; loss records say which. Cleared when none was dropped for a minute.",
		Help: "Restore the uplink; raise max_size or max_age, or send less (limit, deadband)."},
	{Code: MemoryFull, Severity: Critical, Title: "Memory full, records are lost",
		Text: "The disk did not take records, and max_memory is full; loss records say which. Cleared when none was lost for a minute.",
		Help: "See to the disk; raise max_memory if it only stalls."},
	{Code: BufferDamaged, Severity: Error, Title: "Stored records were damaged",
		Text: "The disk gave back something else than was stored; loss records say which. Cleared when nothing more was found for a minute.",
		Help: "Look at the buffer with fieldferry buffer verify; replace a worn card."},

	{Code: UplinkDown, Severity: Error, After: 5 * time.Second, Title: "No connection to the broker", HiddenBy: []string{UplinkDenied},
		Text: "Records wait in the buffer; the detail has the reason. Shorter interruptions are not reported.",
		Help: "Follow the reason: network, name, certificate, user and password, or another client with the same client_id."},
	{Code: UplinkMute, Severity: Error, Title: "The broker acknowledges nothing", HiddenBy: []string{UplinkDown, UplinkDenied},
		Text: "There is a connection, and for 15 s none of the messages that wait was acknowledged; records wait in the buffer. The connection is given up after ack_timeout, and made again. Cleared by the next acknowledgement.",
		Help: "Look at the broker's load, disk and log, and restart it if it hangs; with several brokers in servers the next one is tried when the connection ends. On a slow link lower batch.max_bytes."},
	{Code: UplinkDenied, Severity: Error, Title: "The broker does not let the gateway publish",
		Text: "The connection works, but the broker does not take what is sent; with a topic as subject only what goes there waits in the buffer, else everything does.",
		Help: "Follow the reason: grant the gateway's user write on the topic, and read on its status topic, or raise the broker's limits."},
	{Code: UplinkUnproved, Severity: Warning, Title: "A topic is not proved to get through",
		Text: "Seen only under MQTT 3.1.1 with verify_publish: topics. The broker acknowledged the first message to the topic in the subject and did not send it back, or cannot be asked; the detail has the reason. Everything is sent all the same, and may be thrown away by an access rule of the broker. Cleared when a later message came back; it is tried again every ten minutes.",
		Help: "Grant the gateway's user write on the topic, and read, without which the broker shows nothing; or compare what a consumer gets. Under protocol \"5\" the broker says it by itself."},
	{Code: StatusContested, Severity: Warning, Title: "Another gateway uses this one's status topic",
		Text: "Again and again somebody else publishes at the gateway's status topic, and is answered by its own status. Seen only under MQTT 3.1.1 with verify_publish. The detail has the state and session of the other message.",
		Help: "Give every gateway an id of its own (gateway.id, or a topic with another root), and look at who may write to the topic."},
	{Code: RecordsRejected, Severity: Error, Momentary: true, Title: "The broker will never take a message",
		Text: "Its records are given up and accounted for by loss records; the detail says which and why.",
		Help: "Usually it is too large: lower batch.max_bytes or raise the broker's limit."},

	{Code: ConfigRejected, Severity: Warning, Title: "New configuration not taken",
		Text: "The file was read, at a reload or a start, and cannot be used; the gateway runs the configuration that last worked. The detail has the first problems and their count.",
		Help: "Correct what the log and fieldferry check say, and reload."},
	{Code: ClockUnsynced, Severity: Warning, Title: "Clock not trusted",
		Text: "No time service has set the clock, or it shows a time before the program was built; records are marked, and corrected if it is set in time.",
		Help: "Check the time service (timedatectl) and its servers; write gateway.clock: trusted if the clock is right without one."},
	{Code: WebUnavailable, Severity: Warning, Title: "The page cannot be served",
		Text: "The address of web.listen cannot be used, or its certificate cannot; the gateway works, and the server tries again every five seconds. The detail has the error.",
		Help: "Choose a free port and an address of this machine; check the files of web.tls."},
	{Code: CertificateExpires, Severity: Warning, Title: "Certificate ends soon",
		Text: "A certificate in use ends within three weeks, or within a quarter of its life if it lives less than twelve weeks, or has ended: the broker's (subject broker), the gateway's own (uplink.tls.cert) or that of the page (web.tls.cert). Then connections are refused. The detail has when it ends. Cleared when one that lasts longer is in use; while the clock is not trusted nothing is said.",
		Help: "Renew it. A new client certificate is used as soon as its file is replaced; one of the page within a minute of that or at a reload; the broker's is seen at the next connect."},
	{Code: CommandsDenied, Severity: Warning, Title: "The broker does not let the gateway hear commands", HiddenBy: []string{UplinkDown},
		Text: "The broker refuses the subscription to the topics of requests; the detail has the reason. Data is delivered all the same. It is asked again every ten minutes.",
		Help: "Grant the gateway's user read on the topics {root}/cmd/+/req and write on {root}/cmd/+/resp, or remove commands from the configuration."},
	{Code: CommandsUnavailable, Severity: Error, Title: "Commands cannot be put on disk",
		Text: "The journal of commands cannot be written, so every command is refused and nothing is written to a bus. Reads on demand and data continue. The detail has the error.",
		Help: "See to the disk of buffer.path, as for disk_fault. The next command that comes tries again."},
	{Code: CommandsSuspended, Severity: Warning, Title: "Commands are suspended",
		Text: "Another client has taken over the gateway's connection to the broker: two gateways with one client_id would both act. Commands that come by MQTT are refused until a connection has held for a minute.",
		Help: "Look for a second device with the same client_id, such as a copy of this one's card, and give it another."},
	{Code: CommandsPaused, Severity: Warning, Title: "Commands are paused",
		Text: "Somebody has paused all commands; the detail says who. They are refused, also after a restart.",
		Help: "fieldferry commands resume, or the button on the page, when it is safe."},
	{Code: CommandsForgotten, Severity: Warning, Momentary: true, Title: "The journal of commands was damaged",
		Text: "It was put aside as commands.bad. Requests that were issued before the start are refused, as nobody knows whether they were carried out.",
		Help: "Look at the disk (journalctl -k), and at the points themselves."},
	{Code: CommandFallback, Severity: Warning, Title: "A fallback value is in force",
		Text: "Nobody has renewed the value of the point in the subject in time, so the gateway has written its fallback, or is trying to; the detail says which. Cleared when a command has written the point.",
		Help: "Look at whoever should write the point: it has stopped, or cannot reach the gateway."},
	{Code: ClockStep, Severity: Info, Momentary: true, Title: "The clock was set",
		Text: "The detail has from, to, and by how many seconds. Records are in the order of seq, not of ts.",
		Help: "After a start this needs no action. Again and again: two services set the clock, or it runs badly."},
}
