package gateway

import (
	"encoding/json"
	"testing"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/gateway/config"
)

// TestMetaOfSignals: units and limits of every signal, and none where the file
// gives none that can be used.
func TestMetaOfSignals(t *testing.T) {
	file, _ := dbc.Parse("m.dbc", []byte(`BO_ 1 M: 8 N
 SG_ Both : 0|8@1+ (1,-40) [-40|210] "degC" N
 SG_ Zero : 8|8@1+ (1,0) [0|250] "" N
 SG_ None : 16|8@1+ (1,0) [0|0] "V" N
 SG_ Faulty : 24|8@1+ (1,0) [x|y] "A" N
 SG_ Swapped : 32|8@1+ (1,0) [9|1] "" N
 SG_ Endless : 40|8@1+ (1,0) [0|inf] "" N
`), dbc.Options{})
	db, _ := dbc.NewDatabase(dbc.MatchAuto, file)
	got, err := json.Marshal(metaOfCAN(&config.CAN{Name: "can0", DBC: db}, can.Stats{}).Messages)
	want := `[{"name":"M","id":"001","signals":[{"name":"Both","unit":"degC","min":-40,"max":210},{"name":"Zero","min":0,"max":250},` +
		`{"name":"None","unit":"V"},{"name":"Faulty","unit":"A"},{"name":"Swapped"},{"name":"Endless","min":0}]}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}
