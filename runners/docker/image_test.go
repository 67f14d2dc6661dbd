package docker

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli/config"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
	"github.com/weir-run/weir/schemas"
)

// newRegistry starts a registry with the one image weir/tool:1, for those who log in. An image called slow never comes.
func newRegistry(t *testing.T) (host string) {
	t.Helper()
	blobs := map[string][]byte{}
	put := func(b []byte) (digest string) {
		digest = fmt.Sprintf("sha256:%x", sha256.Sum256(b))
		blobs[digest] = b
		return digest
	}
	config, layer := saved(t)
	config = append(config, '\n') // another image, which may be removed
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": put(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar", "size": len(layer), "digest": put(layer)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := put(manifest)
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		user, password, _ := r.BasicAuth()
		switch {
		case strings.Contains(r.URL.Path, "/echo/"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, `{"errors":[{"code":"UNSUPPORTED","message":"not for %s with %s, %s"}]}`, user, password, r.Header.Get("Authorization"))
		case strings.Contains(r.URL.Path, "/denied/"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
		case user != "robot" || password != "s3cret":
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
		case strings.Contains(r.URL.Path, "/slow/"):
			select {
			case <-over:
			case <-r.Context().Done():
			}
		case strings.HasSuffix(r.URL.Path, "/weir/tool/manifests/1"), strings.HasSuffix(r.URL.Path, "/manifests/"+digest):
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			w.Header().Set("Docker-Content-Digest", digest)
			w.Write(manifest)
		case blobs[last] != nil:
			w.Write(blobs[last])
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
		}
	}))
	t.Cleanup(func() {
		close(over)
		s.Close()
	})
	return strings.TrimPrefix(s.URL, "http://")
}

// saved is the shell image's configuration and its one layer.
func saved(t *testing.T) (config, layer []byte) {
	t.Helper()
	cmd := exec.Command("docker", "save", busybox)
	cmd.Env = append(cmd.Environ(), "DOCKER_HOST="+shared.Host())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		t.Fatalf("docker save: %v, %+v", err, manifest)
	}
	return files[manifest[0].Config], files[manifest[0].Layers[0]]
}

func TestPull_saysWhatWentWrong(t *testing.T) {
	shared.Up(t)
	host := newRegistry(t)
	before := config.Dir()
	config.SetDir(t.TempDir()) // nobody has logged in
	t.Cleanup(func() { config.SetDir(before) })
	t.Setenv("ROBOT_PASSWORD", "s3cret")
	t.Setenv("WRONG_PASSWORD", "guess")
	login := func(variable string) map[string]any {
		return map[string]any{"username": "robot", "password": map[string]any{"from_env": variable}}
	}
	for _, tt := range []struct {
		name      string
		more      map[string]any
		reason    schemas.Reason // empty: it runs
		permanent bool
	}{
		{"pulled", map[string]any{"image": host + "/weir/tool:1", "registry_credentials": login("ROBOT_PASSWORD")}, "", false},
		{"pulled again", map[string]any{"image": host + "/weir/tool:1", "registry_credentials": login("ROBOT_PASSWORD"), "image_pull_policy": "Always"}, "", false},
		{"there by now", map[string]any{"image": host + "/weir/tool:1", "image_pull_policy": "Never"}, "", false},
		{"no such tag", map[string]any{"image": host + "/weir/tool:2", "registry_credentials": login("ROBOT_PASSWORD")}, schemas.ReasonImageNotFound, true},
		{"not on the engine", map[string]any{"image": host + "/weir/tool:2", "image_pull_policy": "Never"}, schemas.ReasonImageNotFound, true},
		{"other platform", map[string]any{"image": busybox, "platform": "linux/s390x", "image_pull_policy": "Never"}, schemas.ReasonImageNotFound, true},
		{"wrong password", map[string]any{"image": host + "/weir/tool:3", "registry_credentials": login("WRONG_PASSWORD")}, schemas.ReasonImagePullFailed, true},
		{"no such reference", map[string]any{"image": host + "/weir/tool:4", "registry_credentials": login("NO_PASSWORD")}, schemas.ReasonImagePullFailed, true},
		{"no registry", map[string]any{"image": "127.0.0.1:9/weir/tool:1"}, schemas.ReasonImagePullFailed, false},
		{"nobody logged in", map[string]any{"image": host + "/weir/tool:3"}, schemas.ReasonImagePullFailed, true},
		{"denied to who has logged in", map[string]any{"image": host + "/denied/tool:1", "registry_credentials": login("ROBOT_PASSWORD")}, schemas.ReasonImagePullFailed, true},
		{"slow", map[string]any{"image": host + "/slow/tool:1", "registry_credentials": login("ROBOT_PASSWORD"), "start_timeout": 0.5}, schemas.ReasonStartTimedOut, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, t.TempDir())
			defer r.Close()
			e, err := r.Start(patient(t), spec("run.1", shell(t, "exit 0", tt.more), runnertest.NewRecorder()))
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				if res, err := waitFor(t, e); err != nil || res.ExitCode != 0 {
					t.Errorf("got exit code %d, %v", res.ExitCode, err)
				}
				r.Forget("run.1")
				return
			}
			_, permanent := runners.IsPermanent(err)
			if got := runners.ReasonOf(err, ""); got != tt.reason || permanent != tt.permanent {
				t.Errorf("got reason %q, permanent %v, want %q, %v: %v", got, permanent, tt.reason, tt.permanent, err)
			}
			if err != nil && strings.Contains(err.Error(), "guess") {
				t.Errorf("the error shows the password: %v", err)
			}
			if left := shared.Docker(t, "ps", "-aq", "--filter", "label="+labelSystem+"="+r.config.System); left != "" {
				t.Errorf("containers are left: %s", left)
			}
		})
	}
}

// An engine has one sentence for an image that is not there and for one that is not shown.
func TestPullError_deniedIsRefusedToWhoHasLoggedIn(t *testing.T) {
	err := errdefs.ErrNotFound.WithMessage("pull access denied for x, repository does not exist or may require 'docker login': denied: requested access is denied")
	login, encodeErr := authconfig.Encode(registry.AuthConfig{Username: "robot", Password: "s3cret"})
	if encodeErr != nil {
		t.Fatal(encodeErr)
	}
	for auth, want := range map[string]schemas.Reason{"": schemas.ReasonImageNotFound, login: schemas.ReasonImagePullFailed} {
		err := pullError(t.Context(), "x", err, auth)
		if _, permanent := runners.IsPermanent(err); !permanent || runners.ReasonOf(err, "") != want {
			t.Errorf("logged in %v: got %v, reason %q, want %q for good", auth != "", err, runners.ReasonOf(err, ""), want)
		}
	}
}

// What a registry says is told, and may be anything.
func TestPull_tellsNoSecretThatTheRegistryRepeats(t *testing.T) {
	shared.Up(t)
	host := newRegistry(t)
	t.Setenv("ROBOT_PASSWORD", "s3cret")
	r := open(t, t.TempDir())
	defer r.Close()
	_, err := r.Start(patient(t), spec("run.1", shell(t, "true", map[string]any{
		"image": host + "/echo/tool:1", "registry_credentials": map[string]any{"username": "robot", "password": map[string]any{"from_env": "ROBOT_PASSWORD"}},
	}), nil))
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "not for robot with ***, Basic ***") {
		t.Errorf("got %v, want what the registry says but the password", err)
	}
}

// A name may stand for another image when the next attempt starts.
func TestStart_runsTheImageOfTheAttemptBefore(t *testing.T) {
	shared.Up(t)
	r := open(t, t.TempDir())
	defer r.Close()
	shared.Docker(t, "tag", busybox, "weir-test/moving:1")
	job := shell(t, "test ! -e /usr/bin/python3", map[string]any{"image": "weir-test/moving:1"})
	run := func(name, before string) (code int, image string) {
		s := spec(name, job, nil)
		s.Image = before
		e, err := r.Start(patient(t), s)
		if err != nil {
			t.Fatal(err)
		}
		res, err := waitFor(t, e)
		if err != nil {
			t.Fatal(err)
		}
		return res.ExitCode, e.(runners.Imaged).Image()
	}
	code, first := run("run.1", "")
	if code != 0 || !strings.HasPrefix(first, "sha256:") {
		t.Errorf("first attempt: got exit code %d, image %q", code, first)
	}
	shared.Docker(t, "tag", "weir-test/python:1", "weir-test/moving:1")
	if code, image := run("run.2", first); code != 0 || image != first {
		t.Errorf("second attempt: got exit code %d, image %q, want %q", code, image, first)
	}
	if code, image := run("other.1", "sha256:"+strings.Repeat("0", 64)); code != 1 || image == first {
		t.Errorf("an attempt whose image is not there any more: got exit code %d, image %q, want what the name stands for", code, image)
	}
}

// What a run's events say of the image is what ran, though its name came to stand for another one as the container was made.
func TestStart_tellsTheImageThatItRuns(t *testing.T) {
	shared.Up(t)
	p := newProxy(t, shared.Host(), "/containers/create", false)
	r := openOn(t, t.TempDir(), p.host)
	defer r.Close()
	shared.Docker(t, "tag", busybox, "weir-test/moved:1")
	job := shell(t, "exec sleep 600", map[string]any{"image": "weir-test/moved:1"})
	type made struct {
		runners.Execution
		err error
	}
	started := make(chan made, 1)
	go func() {
		e, err := r.Start(patient(t), spec("run.1", job, nil))
		started <- made{e, err}
	}()
	<-p.held
	shared.Docker(t, "tag", "weir-test/python:1", "weir-test/moved:1")
	close(p.release)
	e := <-started
	if e.err != nil {
		t.Fatal(e.err)
	}
	told, ran := e.Execution.(runners.Imaged).Image(), shared.Docker(t, "inspect", "-f", "{{.Image}}", e.ID())
	if first := shared.Docker(t, "image", "inspect", "-f", "{{.Id}}", busybox); told != ran || ran != first {
		t.Errorf("told of image %s, ran %s, want what the name stood for before: %s", told, ran, first)
	}
	if err := e.Stop(patient(t), 0); err != nil {
		t.Error(err)
	}
}

// An image that is removed after it was found and before its container is made, as docker image prune does, is brought once more; and one
// that is removed each time is no mistake of the job's.
func TestStart_imageIsRemovedBeforeTheContainerIsMade(t *testing.T) {
	shared.Up(t)
	host := newRegistry(t)
	t.Setenv("ROBOT_PASSWORD", "s3cret")
	job := func(policy string) json.RawMessage {
		return shell(t, "exit 0", map[string]any{
			"image": host + "/weir/tool:1", "image_pull_policy": policy,
			"registry_credentials": map[string]any{"username": "robot", "password": map[string]any{"from_env": "ROBOT_PASSWORD"}},
		})
	}
	remove := func() {
		for _, id := range strings.Fields(shared.Docker(t, "images", "-q", host+"/weir/tool")) {
			shared.Docker(t, "rmi", "-f", id)
		}
	}
	for _, tt := range []struct {
		name, policy string
		removals     int
		reason       schemas.Reason // empty: it runs
		permanent    bool
	}{
		{"once", "IfNotPresent", 1, "", false},
		{"with nowhere to bring it from", "Never", 1, schemas.ReasonImageNotFound, true}, // it is there from the one above
		{"each time", "IfNotPresent", imageTries, schemas.ReasonStartFailed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy(t, shared.Host(), "/containers/create", false)
			r := openOn(t, t.TempDir(), p.host)
			defer r.Close()
			started := make(chan error, 1)
			go func() {
				e, err := r.Start(patient(t), spec("run.1", job(tt.policy), nil))
				if err == nil {
					_, err = e.Wait(patient(t))
					r.Forget("run.1")
				}
				started <- err
			}()
			for range tt.removals {
				select {
				case <-p.held:
					remove()
					p.goOn <- struct{}{}
				case err := <-started:
					t.Fatalf("start = %v, and the image was not looked for again", err)
				}
			}
			close(p.release)
			err := <-started
			_, permanent := runners.IsPermanent(err)
			if got := runners.ReasonOf(err, ""); (err == nil) != (tt.reason == "") || got != tt.reason || permanent != tt.permanent {
				t.Errorf("got %v (reason %q, permanent %v), want reason %q, permanent %v", err, got, permanent, tt.reason, tt.permanent)
			}
		})
	}
}
