package ecstest

import (
	"slices"
	"strconv"
	"strings"
)

// fargatePair tells whether Fargate has tasks of that size, in CPU units and MiB, as its documentation lists them.
func fargatePair(cpu, memory int) bool {
	between := func(from, to, step int) bool { return memory >= from && memory <= to && (memory-from)%step == 0 }
	switch cpu {
	case 256:
		return slices.Contains([]int{512, 1024, 2048}, memory)
	case 512:
		return between(1024, 4096, 1024)
	case 1024:
		return between(2048, 8192, 1024)
	case 2048:
		return between(4096, 16384, 1024)
	case 4096:
		return between(8192, 30720, 1024)
	case 8192:
		return between(16384, 61440, 4096)
	case 16384:
		return between(32768, 122880, 8192)
	}
	return false
}

// units reads a task's cpu ("1024", "1 vCPU") or memory ("2048", "2 GB"); 0: it is not there, or none.
func units(text string) int {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, suffix := range []string{"vcpu", "gb"} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if err != nil {
				return 0
			}
			return int(value * 1024)
		}
	}
	value, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return value
}
