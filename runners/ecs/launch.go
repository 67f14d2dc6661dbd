package ecs

import (
	"bytes"
	"compress/zlib"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"io/fs"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/launcher"
)

// launcherVariable carries the launcher of entrypoints into the container: nothing can be copied into one of ECS. It belongs to the task
// definition, which may be 64 KiB, and not to a run's overrides, which may be 8.
const launcherVariable = "WEIR_LAUNCHER"

// launchScript unpacks the launcher, runs it, and prints the result as [resultReader] has it.
//
//go:embed launch.py
var launchScript string

// packedLauncher are the launcher's files: JSON, compressed, in base64.
var packedLauncher = packLauncher()

func packLauncher() string {
	texts := map[string]string{}
	files := launcher.Files()
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		texts[name] = string(b)
		return err
	})
	must(err)
	b, err := json.Marshal(texts)
	must(err)
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestCompression)
	must(err)
	_, err = z.Write(b)
	must(err)
	must(z.Close())
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}

// must ends what cannot go wrong: files of this program are packed in memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// launches tells whether the run is an entrypoint, which the launcher runs.
func launches(s *runners.Spec, j *Job) bool { return len(j.Command) == 0 && s.Entrypoint != "" }

// python is the interpreter of entrypoints.
func (j *Job) python() string {
	if j.Python == "" {
		return "python3"
	}
	return j.Python
}
