package main

import (
	"slices"
	"testing"
)

func TestExpandAny(t *testing.T) {
	two := func() ([]string, error) { return []string{"can0", "vcan1"}, nil }
	none := func() ([]string, error) { return nil, nil }
	for _, test := range []struct {
		args, want []string
		have       func() ([]string, error)
	}{
		{[]string{"can0"}, []string{"can0"}, none},
		{[]string{"any"}, []string{"can0", "vcan1"}, two},
		{[]string{"any,0~0,#FFFFFFFF"}, []string{"can0,0~0,#FFFFFFFF", "vcan1,0~0,#FFFFFFFF"}, two},
		{[]string{"any", "can0,100:7F0", "any"}, []string{"vcan1", "can0,100:7F0"}, two},
		{[]string{"any"}, nil, none},
	} {
		got, err := expandAny(test.args, test.have)
		if !slices.Equal(got, test.want) || (err != nil) != (test.want == nil) {
			t.Errorf("%q: %q, %v, want %q", test.args, got, err, test.want)
		}
	}
}
