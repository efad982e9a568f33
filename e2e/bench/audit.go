package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// AuditLog counts the requests of one user in the API server's own record.
type AuditLog struct {
	path, user string
}

// mark is a place in the log, to count from.
func (l AuditLog) mark() (int64, error) {
	found, err := os.Stat(l.path)
	if err != nil {
		return 0, err
	}
	return found.Size(), nil
}

// Requests by what they do: verb and resource.
type Requests map[string]int

func (r Requests) total() int {
	total := 0
	for _, count := range r {
		total += count
	}
	return total
}

// since counts the requests that were answered after a mark; a watch counts when it is opened.
func (l AuditLog) since(mark int64) (Requests, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(mark, io.SeekStart); err != nil {
		return nil, err
	}
	found := Requests{}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return found, nil // what is left is a line that is being written
		}
		if err != nil {
			return nil, err
		}
		var event struct {
			Stage, Verb, RequestURI string
			User                    struct{ Username string }
			ObjectRef               struct{ Resource, Subresource string }
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("%s: %w", l.path, err)
		}
		counted := "ResponseComplete"
		if event.Verb == "watch" {
			counted = "ResponseStarted"
		}
		if event.User.Username != l.user || event.Stage != counted {
			continue
		}
		found[nameOf(event.Verb, event.RequestURI, event.ObjectRef.Resource, event.ObjectRef.Subresource)]++
	}
}

func nameOf(verb, uri, resource, subresource string) string {
	if verb == "patch" && strings.Contains(uri, "fieldManager=") {
		verb = "apply"
	}
	if strings.Contains(uri, "dryRun=All") {
		verb += " (dry run)"
	}
	if subresource != "" {
		resource += "/" + subresource
	}
	if resource == "" {
		resource, _, _ = strings.Cut(uri, "?")
	}
	return verb + " " + resource
}
