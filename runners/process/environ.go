package process

import "strings"

// baseEnviron is what of the worker's environment its jobs get: all but Weir's own settings and whatever could let a job
// speak to NATS as the worker.
func baseEnviron(environ []string) []string {
	base := make([]string, 0, len(environ))
	for _, v := range environ {
		if name, _, ok := strings.Cut(v, "="); ok && name != "" && !withheld(name) {
			base = append(base, v)
		}
	}
	return base
}

func withheld(name string) bool {
	name = strings.ToUpper(name)
	return strings.HasPrefix(name, "NATS_") || strings.HasPrefix(name, "WEIR_") || strings.HasSuffix(name, "CREDS") ||
		strings.Contains(name, "NKEY") || name == "TRACEPARENT" || name == "TRACESTATE" || name == "NOTIFY_SOCKET"
}

// overlay joins environments; of a name that comes twice, the last value counts.
func overlay(base []string, over ...[]string) []string {
	n := 0
	for _, o := range over {
		n += len(o)
	}
	env := make([]string, 0, len(base)+n)
	for _, v := range base {
		if !named(over, v) {
			env = append(env, v)
		}
	}
	for i, o := range over {
		for _, v := range o {
			if !named(over[i+1:], v) {
				env = append(env, v)
			}
		}
	}
	return env
}

// named tells whether one of lists has a variable of v's name.
func named(lists [][]string, v string) bool {
	name := v[:strings.IndexByte(v, '=')+1]
	for _, list := range lists {
		for _, o := range list {
			if strings.HasPrefix(o, name) {
				return true
			}
		}
	}
	return false
}

// variable returns a variable's value, or "".
func variable(env []string, name string) string {
	for _, v := range env {
		if len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name {
			return v[len(name)+1:]
		}
	}
	return ""
}
