//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/weir-run/weir/bench/torture/history"
)

// beatEvery is how often a job writes that it lives.
const beatEvery = 100 * time.Millisecond

// jobConfig is what a deployment's command says of its job.
type jobConfig struct {
	dir       string        // where it keeps its file
	from, to  time.Duration // it takes a time between these two
	fail      int           // exit code of an attempt that fails
	failures  int           // attempts that fail, the first ones
	crash     bool          // it ends itself by SIGKILL, half of the time
	stubborn  bool          // it ignores the polite signal
	children  int           // processes that it starts and does not wait for
	lines     int           // lines of output for each beat
	execution string        // in a child: its parent's
}

// job is the program that every run of a torture executes. What it writes into its own file is the evidence.
func job(args []string, out io.Writer) (code int) {
	var c jobConfig
	f := flag.NewFlagSet("torture job", flag.ContinueOnError)
	f.StringVar(&c.dir, "dir", "", "folder of the jobs' files")
	f.DurationVar(&c.from, "from", time.Second, "shortest time")
	f.DurationVar(&c.to, "to", time.Second, "longest time")
	f.IntVar(&c.fail, "fail", 0, "exit code of an attempt that fails")
	f.IntVar(&c.failures, "failures", 0, "attempts that fail")
	f.BoolVar(&c.crash, "crash", false, "end by SIGKILL, half of the time")
	f.BoolVar(&c.stubborn, "stubborn", false, "ignore the polite signal")
	f.IntVar(&c.children, "children", 0, "processes to start")
	f.IntVar(&c.lines, "lines", 0, "lines of output for each beat")
	f.StringVar(&c.execution, "execution", "", "the parent's execution")
	if f.Parse(args) != nil {
		return 2
	}
	code, err := c.live(out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture job:", err)
		return 3
	}
	return code
}

func (c jobConfig) live(out io.Writer) (code int, err error) {
	began := history.Clock()
	attempt, err := strconv.Atoi(os.Getenv("WEIR_ATTEMPT"))
	if err != nil {
		return 0, fmt.Errorf("read WEIR_ATTEMPT: %w", err)
	}
	who := history.Identity{
		Run: os.Getenv("WEIR_RUN_ID"), Attempt: attempt, Worker: os.Getenv("WEIR_WORKER"), PID: os.Getpid(),
		Execution: c.execution, Child: c.execution != "",
	}
	if !who.Child {
		who.Execution = fmt.Sprintf("%d-%d", who.PID, began)
	}
	file, err := history.Append(filepath.Join(c.dir, fmt.Sprintf("%s.%d.%d-%d", who.Run, attempt, who.PID, began)))
	if err != nil {
		return 0, err
	}
	if err := file.Write(history.Line{What: history.Start, At: began, Identity: &who}); err != nil {
		return 0, err
	}
	polite := make(chan os.Signal, 1)
	signal.Notify(polite, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	for i := range c.children {
		if err := c.child(who, i%2 == 1); err != nil {
			return 0, err
		}
	}
	printed := 0
	left := time.NewTimer(c.from + rand.N(c.to-c.from+1))
	beat := time.NewTicker(beatEvery)
	for {
		select {
		case <-beat.C:
			for range c.lines {
				printed++
				fmt.Fprintf(out, outputLine+"\n", printed, attempt, who.Run)
			}
			if err := file.Write(history.Line{What: history.Beat, At: history.Clock()}); err != nil {
				return 0, err
			}
		case <-polite:
			if err := file.Write(history.Line{What: history.Term, At: history.Clock()}); err != nil {
				return 0, err
			}
			if !c.stubborn {
				return c.exit(file, 128+int(syscall.SIGTERM), printed)
			}
		case <-left.C:
			return c.end(file, who, printed)
		}
	}
}

// end is how a job ends that nobody ended.
func (c jobConfig) end(file *history.Writer, who history.Identity, printed int) (code int, err error) {
	if c.crash && rand.N(2) == 0 {
		return 0, errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("SIGKILL did not end the job"))
	}
	if !who.Child && who.Attempt <= c.failures {
		return c.exit(file, c.fail, printed)
	}
	return c.exit(file, 0, printed)
}

func (c jobConfig) exit(file *history.Writer, code, printed int) (int, error) {
	return code, file.Write(history.Line{What: history.Exit, At: history.Clock(), Code: code, Lines: printed})
}

// outputLine is what a job prints: its number within the attempt, the attempt, and the run.
const outputLine = "line %d of attempt %d of run %s"

// output reads what a job printed.
func output(line []byte) (o history.Output, err error) {
	if _, err := fmt.Sscanf(string(line), outputLine, &o.Number, &o.Attempt, &o.Run); err != nil {
		return o, fmt.Errorf("output %q is none of a job's lines: %w", line, err)
	}
	return o, nil
}

// child starts a process that lives longer than the job. A stray one leaves the job's process group.
func (c jobConfig) child(parent history.Identity, stray bool) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start a child: %w", err)
	}
	cmd := exec.Command(self, "job", "-dir", c.dir, "-from", (3 * c.to).String(), "-to", (4 * c.to).String(), "-stubborn", "-execution", parent.Execution)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: stray}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a child: %w", err)
	}
	return cmd.Process.Release()
}
