package docker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/launcher"
	"github.com/weir-run/weir/schemas"
)

// maxVariable is about the longest value that Linux takes in one variable; longer parameters go into a file.
const maxVariable = 100 << 10

// resultVariable tells a job where to leave its result.
const resultVariable = "WEIR_RESULT_FILE="

// resultFile finds that in a container's environment.
func resultFile(env []string) string {
	for _, v := range env {
		if name, ok := strings.CutPrefix(v, resultVariable); ok {
			return name
		}
	}
	return ""
}

// refused is an error that trying again cannot mend.
func refused(format string, args ...any) error {
	return runners.Permanent(schemas.ReasonStartFailed, fmt.Errorf(format, args...))
}

// launch is what a run adds to its job.
func (r *runner) launch(s *runners.Spec, job *Job) (*launch, error) {
	own, err := job.Env.Resolve(r.config.Code)
	if err != nil {
		return nil, err
	}
	l := &launch{name: r.containerName(s.Name), image: job.Image, command: job.Command, labels: r.labels(s, job), result: "/tmp/weir-" + s.Name + ".json"}
	l.env = slices.Concat(own, s.Environ(), []string{resultVariable + l.result})
	if len(s.Parameters) > maxVariable {
		l.files = append(l.files, file{launcherFolder + "/parameters.json", s.Parameters})
		l.env = append(l.env, "WEIR_PARAMETERS_FILE="+launcherFolder+"/parameters.json")
	} else {
		l.env = append(l.env, "WEIR_PARAMETERS="+string(s.Parameters))
	}
	if len(job.Command) > 0 || s.Entrypoint == "" {
		return l, nil
	}
	return l, r.launchPython(s, job, l)
}

// launchPython has the container run an entrypoint, with the launcher that is put into it. Its file is looked for in the project's
// folder, which is mounted, and where there is none that has it, or it is absolute, in the image.
func (r *runner) launchPython(s *runners.Spec, job *Job, l *launch) error {
	entry, function, ok := launcher.Split(s.Entrypoint)
	if !ok {
		return refused("entrypoint %q is not file.py:function", clip(s.Entrypoint))
	}
	code := "."
	if job.WorkingDir == "" && !path.IsAbs(entry) {
		if l.code = r.code(s, entry); l.code != "" {
			if !r.mayMount(l.code, job) {
				return refused("folder %q of the deployment is not mounted: this pool's base job template has allowed_volumes %s, and this is not the worker's --code; allow it there, or run what is in the image by working_dir",
					clip(l.code), orNone(*job.AllowedVolumes))
			}
			code = codeFolder
		}
	}
	python := job.Python
	if python == "" {
		python = "python3"
	}
	l.whole, l.command = true, []string{python, launcherFolder + "/" + launcher.Script, entry + ":" + function, code}
	if !slices.ContainsFunc(l.env, func(v string) bool { return strings.HasPrefix(v, "PYTHONUNBUFFERED=") }) {
		l.env = append(l.env, "PYTHONUNBUFFERED=1") // or its lines come when it ends
	}
	files := launcher.Files()
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		l.files = append(l.files, file{launcherFolder + "/" + name, b})
		return err
	})
}

// code is the project's folder that has the entrypoint's file, on this machine: where the deployment was deployed from, or the
// worker's own. Empty: there is none, or the engine is on another machine and could not mount it.
func (r *runner) code(s *runners.Spec, entry string) string {
	if !strings.HasPrefix(r.engine.api.DaemonHost(), "unix://") {
		return ""
	}
	for _, dir := range []string{s.Code, r.config.Code} {
		if !filepath.IsAbs(dir) {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, entry)); err == nil && info.Mode().IsRegular() {
			return filepath.Clean(dir)
		}
	}
	return ""
}

// mayMount tells whether a folder may be mounted as code: the pool allows it, or the worker was given it as its own. That is never the
// whole machine, where a service is started that was given none.
func (r *runner) mayMount(dir string, job *Job) bool {
	own := filepath.Clean(r.config.Code)
	return job.allows(dir) || own != "/" && volume{source: dir}.allowed([]string{own})
}

// file is one that is put into a container before it starts.
type file struct {
	path    string
	content []byte
}

// archiveOf packs files and the folders they are in, readable by everybody.
func archiveOf(files []file) io.Reader {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	folders := map[string]bool{}
	for _, f := range files {
		if dir := path.Dir(f.path); !folders[dir] {
			folders[dir] = true
			must(t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}))
		}
		must(t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: 0o644, Size: int64(len(f.content))}))
		_, err := t.Write(f.content)
		must(err)
	}
	must(t.Close())
	return &b
}

// must ends what cannot go wrong: an archive in memory is written.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
