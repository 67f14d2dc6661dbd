package schemas

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName_offersTheNearestValidName(t *testing.T) {
	long := strings.Repeat("a", MaxName)
	for name, want := range map[string]string{ // "valid", or the nearest name
		"a": "valid", "my-flow_2": "valid", "-": "valid", "_x": "valid", "9": "valid", long: "valid",
		"":               "",
		" ":              "",
		"...":            "",
		"日本":             "",
		"my flow":        "my-flow",
		"my.flow":        "my-flow",
		"my  /  flow":    "my-flow",
		"etl>":           "etl",
		".etl":           "etl",
		"*":              "",
		"prod.*":         "prod",
		"naïve":          "na-ve",
		"a\x00b":         "a-b",
		"\xff\xfea":      "a",
		long + "b":       long,
		long[:63] + ".b": long[:63] + "b",
		long[:62] + ".b": long[:62] + "-b",
		long + ".":       long,
	} {
		err := CheckName("pool", name)
		if (err == nil) != (want == "valid") || ValidName(name) != (err == nil) {
			t.Errorf("%q: got error %v and valid %v, want %q", name, err, ValidName(name), want)
			continue
		}
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*NameError](err)
		if !ok || e.Nearest != want || e.Kind != "pool" || e.Name != name {
			t.Errorf("%q: got %#v, want nearest %q", name, err, want)
		}
	}
}

func TestNameError_isForPeople(t *testing.T) {
	for name, want := range map[string]string{
		"my flow": `pool name "my flow" is not valid: use 1 to 64 letters, digits, _ or - (such as "my-flow")`,
		"":        `pool name "" is not valid: use 1 to 64 letters, digits, _ or -`,
	} {
		if got := CheckName("pool", name).Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := CheckName("pool", strings.Repeat("a b", 1<<20)).Error(); len(got) > 500 {
		t.Errorf("got %d bytes for a name of 3 MB, want at most 500", len(got))
	}
}

func TestNearest_isWhatWasMeant(t *testing.T) {
	fields := []string{"parameters", "job_variables", "tags", "timeout", "parent", "expires_at"}
	for name, want := range map[string]string{
		"parameters": "parameters", "paramters": "parameters", "Parameters": "parameters", "parametres": "parameters", "params": "",
		"job-variables": "job_variables", "jobVariables": "job_variables", "tag": "tags", "tasg": "tags", "time_out": "timeout",
		"expiresAt": "expires_at", "": "", "x": "", "zzzzzzz": "",
	} {
		if got := Nearest(name, fields); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	if got := Nearest("m", []string{"l"}); got != "" {
		t.Errorf("a letter for another: got %q, want nothing", got)
	}
	if got := Nearest("etl", []string{"elt", "etl2", "etl"}); got != "etl" {
		t.Errorf("got %q, want etl itself", got)
	}
	if got := Nearest(strings.Repeat("parameters", 1<<16), fields); got != "" {
		t.Errorf("a long name: got %q, want nothing", got)
	}
}

func TestEdits_countsSwapsOnce(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abcd", "badc", 2}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
		if got := edits(c.b, c.a); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
