package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// origin is what is known of where a process comes from. Its environment tells, unless it was cleared (env -i) or is hidden, as that of
// ssh-agent and of all that is setuid; its group tells, unless it left that; its parents tell for as long as they live. Of one of which
// none of these is known its age tells which jobs it is not from: it ends when those are over that were there before it.
type origin struct {
	job     string // the execution's name; "": not known
	start   int64  // clock ticks: tells it from an earlier process of its number; 0: /proc hides it (hidepid)
	adopted bool   // it is an orphan, and its number its own until it is reaped
	between int64  // clock reading since when it has been between two programs, so that its environment is not there yet; 0: it is not
	spared  bool   // it may not be killed
}

// look returns what is known of an orphan.
func (o *orphans) look(pid int) *origin {
	p := o.known[pid]
	if p != nil && p.adopted && p.job != "" {
		return p
	}
	st := statOf(pid)
	if p == nil || p.start != st.start {
		p = &origin{start: st.start}
		o.known[pid] = p
	}
	p.adopted = true
	if p.job != "" {
		return p
	}
	name, readable := markOf(pid, o.marker)
	if p.job = name; name == "" {
		p.job = o.grouped(st.group)
	}
	switch between := readable && p.job == "" && st.between; {
	case !between:
		p.between = 0
	case p.between == 0:
		p.between = clock()
	}
	return p
}

// kept tells whether a process may belong to a job that has not ended.
func (o *orphans) kept(p *origin) bool {
	if p.job != "" {
		j := o.jobs[p.job]
		return j != nil && !j.exited
	}
	for _, j := range o.jobs {
		if !j.exited && (p.start == 0 || j.begun < (p.start+1)*tick) {
			return true // also one that is just being forked
		}
	}
	return false
}

// grouped returns the name of the job whose process group it is.
func (o *orphans) grouped(group int) string {
	for name, j := range o.jobs {
		if j.pid == group && !j.ended {
			return name
		}
	}
	return ""
}

// trace notes that what descends from a process is a job's. That can be told only while its parents live: it is done before they are killed.
func (o *orphans) trace(pid int, name string) {
	if o.fd < 0 || name == "" {
		return
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, child := range childrenOf(queue[0]) {
			if start := statOf(child).start; o.known[child] == nil || o.known[child].start != start {
				o.known[child] = &origin{job: name, start: start}
				queue = append(queue, child)
			}
		}
	}
}

// tick is the unit in which the kernel tells when a process was started.
const tick = int64(time.Second / 100)

// stat is what is read in /proc/…/stat.
type stat struct {
	group   int
	start   int64 // clock ticks since boot
	between bool  // it has given up its program and not got the environment of the next yet
}

// statOf reads it; of a process that there is not, it is zero.
func statOf(pid int) (st stat) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return st
	}
	const state, group, start, envEnd = 3, 5, 22, 51 // fields of proc(5), which counts from 1; the second is the name, in parentheses
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= envEnd-state {
		return st
	}
	st.group, _ = strconv.Atoi(string(fields[group-state]))
	st.start, _ = strconv.ParseInt(string(fields[start-state]), 10, 64)
	st.between = string(fields[0]) != "Z" && string(fields[envEnd-state]) == "0" // the kernel sets it last
	return st
}

// childrenOf are the processes whose parent is pid.
func childrenOf(pid int) (children []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, t := range threads {
		b, err := os.ReadFile(dir + "/" + t.Name() + "/children")
		if err != nil {
			continue
		}
		for word := range bytes.FieldsSeq(b) {
			if child, err := strconv.Atoi(string(word)); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// markOf returns what follows marker in the environment that the process was started with, and whether that can be read: a process may
// hide it from all but root, and then stat tells nothing of it either.
func markOf(pid int, marker string) (rest string, readable bool) {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if rest, ok := bytes.CutPrefix(v, []byte(marker)); ok {
			return string(rest), true
		}
	}
	return "", true
}
