package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/send"
	"fieldferry/gateway/alarm"
	"fieldferry/uplink/uplinktest"
)

// settime sets the clock as date(1) does: from then on the kernel takes it
// for unsynchronised.
func settime(t *testing.T, to time.Time) {
	t.Helper()
	tv := unix.NsecToTimeval(to.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		t.Fatal(err)
	}
}

// synctime sets the clock and says that it is synchronised, in one call, as
// systemd-timesyncd does.
func synctime(t *testing.T, by time.Duration) {
	t.Helper()
	x := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO | unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR}
	x.Time = unix.NsecToTimeval(int64(by.Truncate(time.Second)))
	if _, err := unix.Adjtimex(&x); err != nil {
		t.Fatal(err)
	}
}

func boottime(t *testing.T) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Error(err)
	}
	return ts.Nano()
}

// certificate makes a broker's certificate and the file of its authority.
func certificate(t *testing.T, from time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: from, NotAfter: from.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// A machine boots in 1970 and reads a real bus. The broker's certificate is not valid yet.
// The clock is set, as a time service does it, while frames keep coming: all
// of them arrive with the time at which they were sent. Only a guest's clock may be set.
func TestTheClockOfAGuestIsSet(t *testing.T) {
	if os.Getenv("FIELDFERRY_VM") != "1" {
		t.Skip("sets the clock; run scripts/test/vm/suite uml ./gateway")
	}
	const perPart, period = 40, 5 * time.Millisecond
	settime(t, time.Unix(3600, 0))
	cert, ca := certificate(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s := newSite(t, "vcan0", uplinktest.Transport{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	s.config = strings.Replace(s.config, `mqtt://`, `mqtts://`, 1)
	s.config = strings.Replace(s.config, `uplink: {`, `uplink: {tls: {ca: `+ca+`}, `, 1)
	s.open(Options{})
	s.run()

	sender, err := send.Open("vcan0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sender.Close() }()
	var sent []int64 // boot times
	part := func(n int) {
		for range n {
			f := can.Frame{ID: 0x100, Len: 4, Data: [can.MaxDataLen]byte{2: byte(len(sent) >> 8), 3: byte(len(sent))}}
			sent = append(sent, boottime(t))
			if err := sender.Send(t.Context(), &f); err != nil {
				t.Fatal(err)
			}
			time.Sleep(period)
		}
	}
	for s.gateway.sources[0].feed.src.Last() == 0 { // until the bus is read
		part(1)
	}
	first := len(sent) // the ones before may not have been heard
	part(perPart)
	for s.gateway.uplink.Stats().LastReason.String() != "certificate_not_yet_valid" {
		part(1)
	}
	if n := s.gateway.buffer.Stats().Acked; n != 0 {
		t.Errorf("%d records acknowledged", n)
	}
	target := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	synctime(t, time.Until(target))
	set := time.Now()
	zero := set.UnixNano() - boottime(t)
	good := len(sent)
	part(perPart)

	byNumber := func(got []arrival, n int) *arrival {
		for i := range got {
			if d := got[i].Data; got[i].Type == "can" && len(d) == 8 && d == dataOf(n) {
				return &got[i]
			}
		}
		return nil
	}
	got := s.wait("the last frame", "bus", func(got []arrival) bool { return byNumber(got, len(sent)-1) != nil })
	t.Logf("connected %v after the clock was set", s.gateway.uplink.Stats().Since.Sub(set))
	for n := first; n < len(sent); n++ {
		a := byNumber(got, n)
		if a == nil {
			t.Errorf("frame %d is missing", n)
			continue
		}
		// The kernel stamps a frame when it is sent or a little later.
		late := time.Duration(a.Time.UnixNano() - zero - sent[n])
		if late < -10*time.Millisecond || late > 20*time.Second {
			t.Errorf("frame %d: %v, %v after it was sent", n, a.Time, late)
		}
		if want := map[bool]string{true: "corrected"}[n < good]; a.Clock != want {
			t.Errorf("frame %d: clock %q, want %q", n, a.Clock, want)
		}
	}
	for i := 1; i < len(got); i++ {
		if got[i].Seq == got[i-1].Seq+1 && got[i].Time.Before(got[i-1].Time) {
			t.Errorf("record %d is from before the one before it", got[i].Seq)
		}
	}
	if by := s.event(alarm.ClockStep, "event", 1).Detail.By; by < 50*365*86400 {
		t.Errorf("set by %v s", by)
	}
	if raised, cleared := s.event(alarm.ClockUnsynced, "raised", 1), s.event(alarm.ClockUnsynced, "cleared", 1); raised.EventID != cleared.EventID || cleared.Clock != "" {
		t.Errorf("%+v %+v", raised, cleared)
	}

	for began := boottime(t); boottime(t)-began < int64(1500*time.Millisecond); { // not what was on the way when it became good
		part(1)
	}
	settime(t, time.Now().Add(-time.Hour))
	if by := s.event(alarm.ClockStep, "event", 2).Detail.By; by > -3599 || by < -3601 {
		t.Errorf("set back by %v s", by)
	}
	back := len(sent)
	s.event(alarm.ClockUnsynced, "raised", 2)
	part(1)
	got = s.wait("a frame with the wrong time", "bus", func(got []arrival) bool { return byNumber(got, back) != nil })
	if a := byNumber(got, back); a.Clock != "unsynced" {
		t.Errorf("%+v", a)
	}
	synctime(t, time.Hour)
	s.event(alarm.ClockUnsynced, "cleared", 2)
}

func dataOf(n int) string {
	const hex = "0123456789ABCDEF"
	return "0000" + string([]byte{hex[n>>12&15], hex[n>>8&15], hex[n>>4&15], hex[n&15]})
}
