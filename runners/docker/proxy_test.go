package docker

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/runnertest"
)

// proxy is between a worker and its engine: it can keep a request, or its answer, for as long as the test likes, as a worker does
// that stands still. What was begun is not undone by that.
type proxy struct {
	host string
	hold string // the method of the requests to hold, or the end of their path; empty: none

	held    chan struct{} // a value for each that is held
	goOn    chan struct{} // takes a value for each that may go on
	release chan struct{} // closed when all may
	late    bool          // it is the answer that is held
	hung    chan struct{} // closed when every request is to be held; nil: none is but those above

	answer func(*http.Response)                   // may change an answer; nil: none is
	lose   func(r *http.Request) (ask, lost bool) // whether a request is cut off instead, and whether the engine gets it all the same; nil: none is
}

func newProxy(t testing.TB, engine, hold string, late bool) *proxy {
	t.Helper()
	p := &proxy{hold: hold, late: late, held: make(chan struct{}, 10), goOn: make(chan struct{}), release: make(chan struct{})}
	p.serve(t, engine)
	return p
}

// serve starts it between engine and host.
func (p *proxy) serve(t testing.TB, engine string) {
	t.Helper()
	p.host = "unix://" + filepath.Join(t.TempDir(), "p.sock")
	back := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(engine, "unix://"))
			},
		},
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if p.answer != nil {
				p.answer(r)
			}
			if p.late && p.holds(r.Request) {
				p.wait()
			}
			return nil
		},
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.late && p.holds(r) {
			p.wait()
		}
		if p.lose != nil {
			if ask, lost := p.lose(r); lost {
				if ask {
					back.ServeHTTP(httptest.NewRecorder(), r)
				}
				panic(http.ErrAbortHandler)
			}
		}
		select {
		case <-p.hung:
			<-r.Context().Done()
		default:
			back.ServeHTTP(w, r)
		}
	})}
	l, err := net.Listen("unix", strings.TrimPrefix(p.host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
}

func (p *proxy) holds(r *http.Request) bool {
	return p.hold != "" && (r.Method == p.hold || strings.HasSuffix(r.URL.Path, p.hold))
}

func (p *proxy) wait() {
	p.held <- struct{}{}
	select {
	case <-p.goOn:
	case <-p.release:
	}
}

// A worker stands still at some point of its start. Another one, which has the run by then, looks for the execution: either it finds
// it at work and goes on with it, or there will never be one.
func TestFind_leavesNoStartOnItsWay(t *testing.T) {
	shared.Up(t)
	for _, tc := range []struct {
		name, hold string
		late       bool // it has reached the engine, and the answer is on its way
		found      bool
	}{
		{"before the container is made", "/containers/create", false, false},
		{"when the container is made", "/containers/create", true, false},
		{"before it is started", "/start", false, false},
		{"when it is started", "/start", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := newProxy(t, shared.Host(), tc.hold, tc.late)
			still, second := openOn(t, dir, p.host), openOn(t, dir, shared.Host())
			defer still.Close()
			defer second.Close()
			job := shell(t, "exec sleep 600", nil)
			started := make(chan error, 1)
			go func() {
				_, err := still.Start(patient(t), spec("run.1", job, nil))
				started <- err
			}()
			<-p.held
			e, err := second.Find(patient(t), runners.Sought{Name: "run.1", Output: runnertest.NewRecorder()})
			if found := err == nil; found != tc.found {
				t.Errorf("find: %v, want found %v", err, tc.found)
			}
			if !tc.found && !errors.Is(err, runners.ErrGone) {
				t.Errorf("find: %v, want ErrGone", err)
			}
			close(p.release)
			if err := <-started; (err == nil) != tc.found {
				t.Errorf("the start that stood still: %v, want success %v", err, tc.found)
			}
			running := shared.Docker(t, "ps", "-q", "--filter", "label="+labelSystem+"="+second.config.System)
			if n := len(strings.Fields(running)); tc.found != (n == 1) || n > 1 {
				t.Errorf("%d containers run", n)
			}
			if e != nil {
				if err := e.Stop(patient(t), 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Whoever looks for an execution sees a container that is only made, and another worker's start comes before its removal: a job that
// runs is found, and never ended.
func TestFind_neverRemovesAContainerThatRuns(t *testing.T) {
	shared.Up(t)
	dir := t.TempDir()
	for name, look := range map[string]func(r *runner, name string, job json.RawMessage) (runners.Execution, error){
		"find": func(r *runner, name string, _ json.RawMessage) (runners.Execution, error) {
			return r.Find(patient(t), runners.Sought{Name: name, Output: runnertest.NewRecorder()})
		},
		"start": func(r *runner, name string, job json.RawMessage) (runners.Execution, error) {
			return r.Start(patient(t), spec(name, job, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			start, removal := newProxy(t, shared.Host(), "/start", false), newProxy(t, shared.Host(), http.MethodDelete, false)
			still, second := openOn(t, dir, start.host), openOn(t, dir, removal.host)
			defer still.Close()
			defer second.Close()
			job, name := shell(t, "exec sleep 600", nil), name+".1"
			type found struct {
				runners.Execution
				err error
			}
			started, looked := make(chan found, 1), make(chan found, 1)
			go func() {
				e, err := still.Start(patient(t), spec(name, job, nil))
				started <- found{e, err}
			}()
			<-start.held
			go func() {
				e, err := look(second, name, job)
				looked <- found{e, err}
			}()
			<-removal.held // it has seen a container that has not started
			close(start.release)
			first := <-started
			close(removal.release)
			other := <-looked
			if first.err != nil || other.err != nil {
				t.Fatalf("start: %v, %s: %v, want one container, found by both", first.err, name, other.err)
			}
			if first.ID() != other.ID() || shared.Docker(t, "inspect", "-f", "{{.State.Running}}", first.ID()) != "true" {
				t.Errorf("got containers %s and %s, want one that runs", first.ID(), other.ID())
			}
			if err := other.Stop(patient(t), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// A cancel comes while a container starts, and the engine dies at the same moment, before it has answered: a container that runs is the
// asker's to end, and where none runs there will be none.
func TestStart_cancelledAsTheEngineDiesTellsWhatRuns(t *testing.T) {
	shared.Up(t)
	why := errors.New("somebody asked for it")
	for name, reached := range map[string]bool{"before the request has reached it": false, "before it has answered": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(patient(t))
			p := &proxy{}
			p.lose = func(r *http.Request) (bool, bool) {
				if !strings.HasSuffix(r.URL.Path, "/start") {
					return false, false
				}
				cancel(why)
				return reached, true
			}
			p.serve(t, shared.Host())
			r := openOn(t, t.TempDir(), p.host)
			defer r.Close()
			e, err := r.Start(ctx, spec("run.1", shell(t, "exec sleep 600", nil), nil))
			running := shared.Docker(t, "ps", "-q", "--filter", "label="+labelSystem+"="+r.config.System)
			if !reached {
				if !errors.Is(err, why) || running != "" {
					t.Errorf("start = %v, want the cancel's cause; running: %q, want nothing", err, running)
				}
				return
			}
			if err != nil || running == "" {
				t.Fatalf("start = %v, running: %q, want an execution that runs", err, running)
			}
			if err := e.Stop(patient(t), 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// A cancel comes while a container starts, and the engine has started it: another worker may hold it by then, so that nobody but the
// asker ends it.
func TestStart_cancelledTooLateLeavesTheContainerToTheAsker(t *testing.T) {
	shared.Up(t)
	dir := t.TempDir()
	p := newProxy(t, shared.Host(), "/start", true)
	r, second := openOn(t, dir, p.host), openOn(t, dir, shared.Host())
	defer r.Close()
	defer second.Close()
	ctx, cancel := context.WithCancel(patient(t))
	started := make(chan error, 1)
	go func() {
		_, err := r.Start(ctx, spec("run.1", shell(t, "exec sleep 600", nil), nil))
		started <- err
	}()
	<-p.held
	e, err := second.Find(patient(t), runners.Sought{Name: "run.1", Output: runnertest.NewRecorder()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	close(p.release)
	if err := <-started; err != nil {
		t.Errorf("start = %v, want what runs", err)
	}
	if shared.Docker(t, "inspect", "-f", "{{.State.Running}}", e.ID()) != "true" {
		t.Error("the container that another worker holds does not run any more")
	}
	if err := e.Stop(patient(t), 0); err != nil {
		t.Error(err)
	}
}
