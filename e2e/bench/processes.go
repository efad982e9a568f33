package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks of /proc/PID/stat in a second: the same on every Linux that Go supports.
const ticks = 100

// cpuSeconds is what a process and the children that it waited for have used.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	total := 0
	for _, field := range fields[11:15] {
		value, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		total += value
	}
	return float64(total) / ticks, nil
}

// memory in MiB: resident now, the highest it was, and the part that is the process's own (not files).
type memory struct {
	Resident  float64 `json:"resident_mib"`
	Peak      float64 `json:"peak_mib"`
	Anonymous float64 `json:"anonymous_mib"`
	Threads   int     `json:"threads"`
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	var found memory
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		value, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			found.Resident = value / 1024
		case "VmHWM":
			found.Peak = value / 1024
		case "RssAnon":
			found.Anonymous = value / 1024
		case "Threads":
			found.Threads = int(value)
		}
	}
	return found, nil
}

// serverProcesses finds the API server and etcd of a test bed by the state directory among their arguments.
func serverProcesses(state string) []int {
	var found []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		program, rest, _ := strings.Cut(string(text), "\x00")
		name := filepath.Base(program)
		if (name == "kube-apiserver" || name == "etcd") && strings.Contains(rest, state+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// totalCPU sums over processes.
func totalCPU(pids []int) (float64, error) {
	total := 0.0
	for _, pid := range pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return 0, err
		}
		total += seconds
	}
	return total, nil
}

// machine is how busy everything on this machine was: seconds of CPU by all processes, since boot.
func machine() (busy, stolen float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var values []float64
	for _, field := range strings.Fields(line)[1:] {
		value, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		values = append(values, value/ticks)
	}
	if len(values) < 8 {
		return 0, 0, fmt.Errorf("/proc/stat has %d values", len(values))
	}
	return values[0] + values[1] + values[2] + values[5] + values[6], values[7], nil
}
