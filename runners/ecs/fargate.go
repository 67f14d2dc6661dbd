package ecs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-run/weir/runners"
)

// pair is what Fargate gives of memory with so much CPU: from least to most MiB, in steps.
type pair struct {
	cpu               runners.Amount
	least, most, step runners.Amount
}

// pairs are those of AWS's page "Amazon ECS task definition parameters for Fargate".
var pairs = []pair{
	{256, 512, 1024, 512}, // and 2048: see fits
	{512, 1024, 4096, 1024},
	{1024, 2048, 8192, 1024},
	{2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024},
	{8192, 16384, 61440, 4096},
	{16384, 32768, 122880, 8192},
}

// fits tells whether Fargate has that much memory with p's CPU.
func (p pair) fits(memory runners.Amount) bool {
	if p.cpu == 256 && memory == 2048 {
		return true
	}
	return memory >= p.least && memory <= p.most && memory%p.step == 0
}

// String says for people which memory goes with p's CPU.
func (p pair) String() string {
	if p.cpu == 256 {
		return "512, 1024 or 2048"
	}
	return fmt.Sprintf("%d to %d in steps of %d", p.least, p.most, p.step)
}

// What a task gets that says nothing, as with Prefect.
const (
	defaultCPU    = 1024
	defaultMemory = 2048
)

// resources are what the task is given of CPU and memory. What is not said is chosen so that Fargate has it.
func (j *Job) resources() (cpu, memory runners.Amount) {
	cpu, memory = j.CPU, j.Memory
	if !j.fargate() {
		return cpu, memory
	}
	switch {
	case cpu == 0 && memory == 0:
		return defaultCPU, defaultMemory
	case memory == 0:
		for _, p := range pairs {
			if p.cpu == cpu {
				return cpu, p.least
			}
		}
	case cpu == 0:
		for _, p := range pairs {
			if p.fits(memory) && (cpu == 0 || p.cpu <= defaultCPU) {
				cpu = p.cpu
			}
		}
	}
	return cpu, memory
}

func (j *Job) checkResources() error {
	if e := j.EphemeralStorage; e != 0 && (e < 21 || e > 200) {
		return fmt.Errorf("ephemeral_storage is %d, want 21 to 200 GiB; without it a task on Fargate has 20", e)
	}
	if _, err := j.runtime(); err != nil {
		return err
	}
	if j.TaskDefinition != "" && (j.CPU == 0 || j.Memory == 0) || !j.fargate() {
		return nil // the definition has the other one
	}
	cpu, memory := j.resources()
	var known []string
	for _, p := range pairs {
		if p.cpu != cpu {
			known = append(known, strconv.Itoa(int(p.cpu)))
			continue
		}
		if !p.fits(memory) {
			return fmt.Errorf("cpu %d with memory %d is no pair that Fargate has: with cpu %d memory is %s%s", cpu, memory, cpu, p, alternative(memory))
		}
		return nil
	}
	if cpu == 0 {
		return fmt.Errorf("memory %d is none that Fargate has: with cpu 256 it is %s, with cpu 1024 %s", memory, pairs[0], pairs[2])
	}
	return fmt.Errorf("cpu %d is none that Fargate has: it is %s (1024 is one vCPU)", cpu, strings.Join(known, ", "))
}

// alternative names the CPU that has that much memory.
func alternative(memory runners.Amount) string {
	var list []string
	for _, p := range pairs {
		if p.fits(memory) {
			list = append(list, strconv.Itoa(int(p.cpu)))
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("; memory %d goes with cpu %s", memory, strings.Join(list, " or "))
}
