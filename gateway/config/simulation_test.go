package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/bus/modbus"
)

// simulationOf reads a register map.
func simulationOf(t *testing.T, text string) (*Simulation, []Problem) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadSimulation(path, Options{})
}

// A register map takes addresses as the configuration does, for all units, one of
// them or one register, and follows its own advice.
func TestSimulationAddresses(t *testing.T) {
	s, problems := simulationOf(t, `address_base: 1
units:
  - unit_id: 1
    registers:
      - {register: input, address: 3, value: 1}
      - {register: input, address: 4, address_base: 0, value: 1}
  - unit_id: 2
    address_base: 0
    address_format: modicon
    registers:
      - {address: 30006, value: 1}
      - {address: 00007, value: true}
      - {register: input, address: 30001, address_format: wire, value: 1}
`)
	if s == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	var got []uint16
	for _, u := range s.Units {
		for _, r := range u.Registers {
			got = append(got, r.Address)
		}
	}
	for i, want := range []uint16{2, 4, 5, 6, 30001} {
		if got[i] != want {
			t.Errorf("addresses %v", got)
		}
	}
	if s.Units[1].Registers[1].Table != modbus.Coil {
		t.Error("00007 is not a coil")
	}
	s, problems = simulationOf(t, "units: [{unit_id: 1, registers: [{register: input, address: 30001, value: 1}]}]\n")
	if s == nil || len(problems) != 1 || !strings.Contains(problems[0].Fix, "address_format: modicon") {
		t.Errorf("%v", problems)
	}
}

// A decimal comma in a map of one line leaves the rest of the number for a key.
func TestDecimalComma(t *testing.T) {
	_, problems := simulationOf(t, "units: [{unit_id: 1, registers: [{register: input, address: 3, scale: 0,1, value: 1}]}]\n")
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	if got := strings.Join(all, "\n"); !strings.Contains(got, "registers[0].1: unknown key; if it is the rest of a number such as 0,1, write 0.1 with a point") {
		t.Error(got)
	}
}
