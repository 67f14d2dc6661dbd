//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// family is a process and all its descendants that live.
func family(pid int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if child, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			parent := number(stat(child), parentField)
			children[parent] = append(children[parent], child)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// cpuTime is what a process and the children it has waited for have used, to 10 ms.
func cpuTime(pid int) time.Duration {
	fields, ticks := stat(pid), 0
	for i := userField; i < userField+4; i++ {
		ticks += number(fields, i)
	}
	return time.Duration(ticks) * 10 * time.Millisecond // a tick is a hundredth of a second
}

// familyTime is cpuTime of processes and all their descendants that live.
func familyTime(programs ...*program) (sum time.Duration) {
	for _, p := range programs {
		for _, pid := range family(p.cmd.Process.Pid) {
			sum += cpuTime(pid)
		}
	}
	return sum
}

// Indexes into what stat returns: fields 4 and 14 to 17 (user, system, and both of waited-for children) of proc_pid_stat(5).
const (
	parentField = 1
	userField   = 11
)

// stat returns a process's stat fields from the third on; the second is a name, which may hold blanks. None: it is gone.
func stat(pid int) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

func number(fields []string, i int) int {
	if i >= len(fields) {
		return 0
	}
	n, _ := strconv.Atoi(fields[i])
	return n
}
