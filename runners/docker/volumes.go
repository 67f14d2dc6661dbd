package docker

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"
)

// A volume is one entry of the job variable volumes: SOURCE:TARGET or SOURCE:TARGET:OPTIONS. The source is a folder or file of
// the engine's machine, or the name of a volume, which is made when it is not there; options are ro, rw, z and Z.
type volume struct {
	source, target string
	options        []string
}

var (
	volumeName    = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)
	volumeOptions = []string{"ro", "rw", "z", "Z"}
)

func parseVolume(s string) (volume, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return volume{}, fmt.Errorf("volume %q is not SOURCE:TARGET or SOURCE:TARGET:ro", clip(s))
	}
	v := volume{source: parts[0], target: parts[1]}
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return v, fmt.Errorf("volume %q holds a zero byte", clip(s))
	case path.IsAbs(v.source):
		v.source = path.Clean(v.source)
	case !volumeName.MatchString(v.source):
		return v, fmt.Errorf("volume %q: its source is neither a path that starts with / nor a volume's name", clip(s))
	}
	if !path.IsAbs(v.target) || path.Clean(v.target) == "/" {
		return v, fmt.Errorf("volume %q: its target is not a path in the container that starts with /", clip(s))
	}
	v.target = path.Clean(v.target)
	if len(parts) == 3 {
		v.options = strings.Split(parts[2], ",")
		for _, o := range v.options {
			if !slices.Contains(volumeOptions, o) {
				return v, fmt.Errorf("volume %q: option %q is not one of %s", clip(s), o, strings.Join(volumeOptions, ", "))
			}
		}
	}
	return v, nil
}

// allowed tells whether a list of paths and volume names has v's source, or a folder above it.
func (v volume) allowed(list []string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		if !path.IsAbs(a) || !path.IsAbs(v.source) {
			return a == v.source
		}
		a = path.Clean(a)
		return a == "/" || v.source == a || strings.HasPrefix(v.source, a+"/")
	})
}

// allows tells whether the pool lets a source be mounted.
func (j *Job) allows(source string) bool {
	return j.AllowedVolumes == nil || volume{source: source}.allowed(*j.AllowedVolumes)
}

func (j *Job) checkVolumes() error {
	_, _, err := j.mounts()
	return err
}

// mounts turns the job's volumes into what the engine takes. A path that does not exist is an error of a mount, where a bind
// would have it made; but only binds know z and Z.
func (j *Job) mounts() (mounts []mount.Mount, binds []string, err error) {
	targets := map[string]bool{}
	for _, s := range j.Volumes {
		v, err := parseVolume(s)
		if err != nil {
			return nil, nil, err
		}
		if !j.allows(v.source) {
			return nil, nil, fmt.Errorf("volume %q is not allowed: this pool's base job template has allowed_volumes %s", clip(s), orNone(*j.AllowedVolumes))
		}
		if targets[v.target] || v.target == launcherFolder {
			return nil, nil, fmt.Errorf("volume %q: something else is mounted at %s", clip(s), v.target)
		}
		targets[v.target] = true
		if slices.Contains(v.options, "z") || slices.Contains(v.options, "Z") {
			binds = append(binds, strings.Join([]string{v.source, v.target, strings.Join(v.options, ",")}, ":"))
			continue
		}
		m := mount.Mount{Type: mount.TypeVolume, Source: v.source, Target: v.target, ReadOnly: slices.Contains(v.options, "ro")}
		if path.IsAbs(v.source) {
			m.Type = mount.TypeBind
		}
		mounts = append(mounts, m)
	}
	return mounts, binds, nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
