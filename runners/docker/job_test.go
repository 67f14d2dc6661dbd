package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest/golden"
	"github.com/weir-run/weir/schemas"
)

// rendered is a job of the default template with the given variables.
func rendered(t testing.TB, variables string) (json.RawMessage, error) {
	t.Helper()
	var vars map[string]json.RawMessage
	if err := json.Unmarshal([]byte(variables), &vars); err != nil {
		t.Fatalf("bad test data %s: %v", variables, err)
	}
	return runners.Job(Type, schemas.Pool{Name: "p"}, schemas.Deployment{Name: "d", JobVariables: vars}, nil)
}

// What the engine is asked to create.
func TestRequest_isAsReviewed(t *testing.T) {
	r := &runner{config: runners.Config{System: "0a1b2c3d", Pool: "prod", Worker: "w"}}
	s := runners.Spec{
		Name: "prod-17.2", Run: "prod-17", Attempt: 2, Pool: "prod", Queue: "default", Deployment: "etl", Worker: "w",
		Parameters: json.RawMessage(`{"n":1}`), Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for name, variables := range map[string]string{
		"least": `{"image": "busybox", "command": "echo 'hello there'"}`,
		"most": `{"image": "ghcr.io/acme/etl:1.4", "command": ["python", "-m", "etl"], "env": {"A": "b", "N": 1}, "cpu": 512, "memory": "256",
			"memswap_limit": "1g", "networks": ["front"], "volumes": ["/srv/data:/data:ro", "cache:/cache", "/srv/x:/x:z"], "privileged": true,
			"labels": {"team": "data"}, "platform": "linux/arm64/v8", "working_dir": "/app", "user": "1000:1000", "init": true, "name": "nightly",
			"stream_output": false, "keep_failed": 3}`,
		"mem_limit": `{"image": "busybox@sha256:` + strings.Repeat("0", 64) + `", "mem_limit": "512m", "memswap_limit": -1, "network_mode": "none"}`,
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := rendered(t, variables)
			if err != nil {
				t.Fatal(err)
			}
			job, err := parseJob(raw)
			if err != nil {
				t.Fatal(err)
			}
			s := s
			s.Output = discard{}
			l, err := r.launch(&s, job)
			if err != nil {
				t.Fatal(err)
			}
			options, err := request(job, l)
			if err != nil {
				t.Fatal(err)
			}
			golden.JSON(t, name+".golden.json", options)
		})
	}
}

func TestCheck_saysWhatCanNeverStart(t *testing.T) {
	for _, tt := range []struct{ variables, want string }{
		{`{}`, `job_variables.image: is required`},
		{`{"image": ""}`, `image is missing`},
		{`{"image": "Not An Image"}`, `image "Not An Image" cannot name an image`},
		{`{"image": "busybox:"}`, `image "busybox:" cannot name an image`},
		{`{"image": "i", "imagee": "x"}`, `did you mean "image"?`},
		{`{"image": "i", "image_pull_policy": "sometimes"}`, `image_pull_policy`},
		{`{"image": "i", "memory": 5}`, `the memory limit is 5MiB, an engine gives a container no less than 6 MiB`},
		{`{"image": "i", "memory": 0}`, `memory`},
		{`{"image": "i", "mem_limit": "lots"}`, `mem_limit or memswap_limit is "lots", want a number of bytes or a size such as 512m or 1g`},
		{`{"image": "i", "mem_limit": -1}`, `mem_limit is below 0`},
		{`{"image": "i", "mem_limit": "1g", "memory": 64}`, `memory and mem_limit say the same`},
		{`{"image": "i", "memory": 64, "memswap_limit": "32m"}`, `memswap_limit is 32MiB, less than the memory limit of 64MiB`},
		{`{"image": "i", "memswap_limit": "32m"}`, `memswap_limit needs memory`},
		{`{"image": "i", "cpu": 5}`, `cpu is 5, want 11 or more`},
		{`{"image": "i", "cpu": "many"}`, `cpu`},
		{`{"image": "i", "platform": "amd64"}`, `platform is "amd64", want os/arch`},
		{`{"image": "i", "networks": ["a"], "network_mode": "host"}`, `network_mode and networks are both set`},
		{`{"image": "i", "volumes": ["/data"]}`, `volume "/data" is not SOURCE:TARGET`},
		{`{"image": "i", "volumes": ["data/x:/x"]}`, `volume "data/x:/x": its source is neither`},
		{`{"image": "i", "volumes": ["/x:x"]}`, `volume "/x:x": its target is not a path`},
		{`{"image": "i", "volumes": ["/x:/"]}`, `its target is not a path`},
		{`{"image": "i", "volumes": ["/x:/x:rx"]}`, `option "rx" is not one of ro, rw, z, Z`},
		{`{"image": "i", "volumes": ["/x:/x", "/y:/x/"]}`, `something else is mounted at /x`},
		{`{"image": "i", "labels": {"run.weir.system": "x"}}`, `are Weir's own`},
		{`{"image": "i", "working_dir": "app"}`, `working_dir "app" is relative`},
		{`{"image": "i", "env": {"WEIR_RUN_ID": "x"}}`, `env WEIR_RUN_ID is set by weir itself`},
		{`{"image": "i", "registry_credentials": {"username": "u", "password": "secret"}}`, `registry_credentials.password`},
		{`{"image": "i", "start_timeout": -1}`, `start_timeout`},
	} {
		_, err := rendered(t, tt.variables)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %q in it", tt.variables, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the secret: %v", tt.variables, err)
		}
	}
}

// A pool says in its template what may be mounted, and no deployment or run can say otherwise.
func TestCheck_refusesVolumesThatThePoolDoesNotAllow(t *testing.T) {
	for _, tt := range []struct {
		allowed []string
		volume  string
		ok      bool
	}{
		{[]string{"/srv/data", "cache"}, "/srv/data:/d", true},
		{[]string{"/srv/data", "cache"}, "/srv/data/in:/d:ro", true},
		{[]string{"/srv/data", "cache"}, "cache:/d", true},
		{[]string{"/srv/data", "cache"}, "/srv/database:/d", false},
		{[]string{"/srv/data", "cache"}, "/srv/data/../secret:/d", false},
		{[]string{"/srv/data", "cache"}, "other:/d", false},
		{[]string{"/srv/data", "cache"}, "/:/d", false},
		{[]string{"/"}, "/var/run/docker.sock:/s", true},
		{[]string{"/"}, "cache:/d", false},
		{[]string{}, "/x:/d", false},
	} {
		job, err := json.Marshal(map[string]any{"image": "i", "allowed_volumes": tt.allowed, "volumes": []string{tt.volume}})
		if err != nil {
			t.Fatal(err)
		}
		err = check(job)
		if (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "is not allowed") {
			t.Errorf("%s of %q: got %v, want allowed %v", tt.volume, tt.allowed, err, tt.ok)
		}
	}
}

// A deployment names its own folder, and so its publisher the folder that is mounted.
func TestLaunch_mountsCodeOnlyFromWhereThePoolAllows(t *testing.T) {
	project, own := t.TempDir(), t.TempDir()
	below := filepath.Join(own, "below")
	for _, dir := range []string{project, own, below} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "flow.py"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(client.WithHost("unix:///nowhere.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	for _, tt := range []struct {
		allowed *[]string
		from    string
		worker  string // its --code
		want    string // empty: it is refused
	}{
		{nil, project, own, project},
		{&[]string{project}, project + "/", own, project},
		{&[]string{filepath.Dir(project)}, project, own, project},
		{&[]string{}, project, own, ""},
		{&[]string{"/srv"}, project, own, ""},
		{&[]string{}, own, own, own},
		{&[]string{}, below, own, below},
		{&[]string{}, own, below, ""},
		{&[]string{}, "", own, own},
		{&[]string{}, project, "/", ""}, // as a service is started that was given no folder
	} {
		r := &runner{config: runners.Config{System: "0a1b2c3d", Pool: "p", Code: tt.worker}, engine: &engine{api: api}}
		s := runners.Spec{Name: "p-1.1", Entrypoint: "flow.py:main", Code: tt.from, Parameters: json.RawMessage("{}"), Output: discard{}}
		l, err := r.launch(&s, &Job{Image: "i", AllowedVolumes: tt.allowed})
		if l == nil {
			t.Fatal(err)
		}
		_, permanent := runners.IsPermanent(err)
		if tt.want == "" && (!permanent || !strings.Contains(err.Error(), "allowed_volumes")) || tt.want != "" && (err != nil || l.code != tt.want) {
			t.Errorf("allowed %v, deployed from %q, worker's %q: got %q, %v, want %q mounted", tt.allowed, tt.from, tt.worker, l.code, err, tt.want)
		}
	}
}

func TestPolicy_isWhatTheTagSays(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct{ image, asked, want string }{
		{"busybox", "", pullAlways},
		{"busybox:latest", "", pullAlways},
		{"localhost:5000/busybox", "", pullAlways},
		{"busybox:1.36", "", pullIfNotPresent},
		{"busybox" + digest, "", pullIfNotPresent},
		{"sha256:" + strings.Repeat("0", 64), "", pullNever},
		{"busybox", pullNever, pullNever},
		{"busybox:1.36", pullAlways, pullAlways},
	} {
		if got := policy(&Job{Image: tt.image, ImagePullPolicy: tt.asked}); got != tt.want {
			t.Errorf("policy of %s, asked for %q: got %s, want %s", tt.image, tt.asked, got, tt.want)
		}
	}
}

// Two architectures have two names each, and images have but one.
func TestPlatform_isNamedAsImagesNameIt(t *testing.T) {
	for asked, want := range map[string]string{"linux/x86_64": "linux/amd64/", "linux/aarch64": "linux/arm64/", "linux/arm/v7": "linux/arm/v7", "linux/amd64": "linux/amd64/"} {
		p, err := (&Job{Platform: asked}).platform()
		if err != nil {
			t.Fatal(err)
		}
		if got := p.OS + "/" + p.Architecture + "/" + p.Variant; got != want {
			t.Errorf("platform %s: got %s, want %s", asked, got, want)
		}
	}
}

// FuzzJob reads job configurations: what is accepted can be asked of an engine.
func FuzzJob(f *testing.F) {
	f.Add([]byte(`{"image":"busybox","command":"echo a","volumes":["/a:/b:ro","c:/d:z"],"mem_limit":"1g","memswap_limit":-1,"platform":"linux/amd64"}`))
	f.Add([]byte(`{"image":"a/b@sha256:00","networks":["x"],"cpu":"12","registry_credentials":{"username":"u","password":{"from_env":"X"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := parseJob(b)
		if err != nil {
			return
		}
		o, err := request(j, &launch{name: "n", image: j.Image})
		if err != nil {
			t.Fatalf("accepted, and then: %v", err)
		}
		if m := o.HostConfig.Memory; m != 0 && m < minMemory {
			t.Errorf("memory is %d", m)
		}
		policy(j)
	})
}
