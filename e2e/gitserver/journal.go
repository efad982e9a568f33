package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// journal appends JSON lines to a file, each with one write, so that readers never see half a line of a live service.
type journal struct {
	mutex sync.Mutex
	file  *os.File
}

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	return &journal{file: file}, nil
}

func (j *journal) record(entry any) {
	line, err := json.Marshal(entry)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gitserver: cannot encode a log entry:", err)
		return
	}
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		fmt.Fprintln(os.Stderr, "gitserver: cannot write a log entry:", err)
	}
}

// timestamp is the form of every time in the logs: UTC, microseconds.
func timestamp(moment time.Time) string {
	return moment.UTC().Format("2006-01-02T15:04:05.000000Z")
}
