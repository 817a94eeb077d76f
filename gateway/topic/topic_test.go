package topic

import "testing"

func TestTopic(t *testing.T) {
	for template, want := range map[string]struct{ topic, root string }{
		"fieldferry/{gateway}/{source}":      {"fieldferry/gw/s_1", "fieldferry/gw"},
		"plant/{gateway}-x/{device}/{id}":    {"plant/gw-x/dev/123", "plant/gw-x"},
		"{source}/data":                      {"s_1/data", "fieldferry/gw"},
		"a/b":                                {"a/b", "a"},
		"a/b{source}":                        {"a/bs_1", "a"},
		"fieldferry/{gateway}/all/{name}/up": {"fieldferry/gw/all/EEC1/up", "fieldferry/gw/all"},
	} {
		tpl, err := Parse(template)
		if err != nil {
			t.Fatal(err)
		}
		if got := tpl.Render("gw", "s/1", Keys{Device: "dev", ID: "123", Name: "EEC1"}); got != want.topic {
			t.Errorf("%s: %q, want %q", template, got, want.topic)
		}
		if got := tpl.Root("gw"); got != want.root {
			t.Errorf("%s: root %q, want %q", template, got, want.root)
		}
	}
	for _, bad := range []string{"{", "a/{nope}", "{}"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
