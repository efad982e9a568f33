package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// A fault is one entry of the control file. The file is read again for every request, so a test switches faults by
// replacing it (write a new file, rename it over the old one); no file, or an empty list, means no fault.
//
//	[{"prefix": "/shop.git", "fault": "status:503"}, {"prefix": "/", "fault": "stall"}]
//
// The first entry whose prefix starts the request's path counts. Faults:
//
//	down          the connection is closed without an answer
//	status:CODE   an answer with that status code and a short text
//	redirect:URL  302 to URL followed by the request's path and query
//	stall         the request is read and never answered; ends when the client leaves or the fault is taken back
//	delay:MS      the answer begins MS milliseconds later
//	cut:N         the connection is closed after N bytes of the answer's body
//	reset:N       the connection is reset (RST) after N bytes of the answer's body
//	freeze:N      nothing more comes after N bytes of the answer's body; ends when the client leaves
//	trickle:N     after N bytes the next 300 come five a second, then the rest
//	length:N      the answer says that it is N bytes longer than it is, and ends
//	html          200 with a page of HTML
//	garbage       200 with the right type and bytes that are not packet lines
//	protocol:0    the Git-Protocol header is ignored, as by a server without protocol v2
type fault struct {
	Prefix string `json:"prefix"`
	Fault  string `json:"fault"`
}

type faultKind int

const (
	faultNone faultKind = iota
	faultDown
	faultStatus
	faultRedirect
	faultStall
	faultDelay
	faultCut
	faultReset
	faultFreeze
	faultTrickle
	faultLength
	faultHTML
	faultGarbage
	faultProtocol0
)

// effect is a fault, parsed.
type effect struct {
	kind   faultKind
	number int
	text   string
}

func parseEffect(text string) (effect, error) {
	name, argument, _ := strings.Cut(text, ":")
	number, notANumber := strconv.Atoi(argument)
	switch {
	case text == "down":
		return effect{kind: faultDown}, nil
	case text == "stall":
		return effect{kind: faultStall}, nil
	case text == "protocol:0":
		return effect{kind: faultProtocol0}, nil
	case text == "html":
		return effect{kind: faultHTML}, nil
	case text == "garbage":
		return effect{kind: faultGarbage}, nil
	case name == "redirect" && argument != "":
		return effect{kind: faultRedirect, text: strings.TrimSuffix(argument, "/")}, nil
	case name == "status" && notANumber == nil && number >= 200 && number <= 599:
		return effect{kind: faultStatus, number: number}, nil
	case name == "delay" && notANumber == nil && number >= 0:
		return effect{kind: faultDelay, number: number}, nil
	}
	counted := map[string]faultKind{"cut": faultCut, "reset": faultReset, "freeze": faultFreeze, "trickle": faultTrickle, "length": faultLength}
	if kind, known := counted[name]; known && notANumber == nil && number >= 0 {
		return effect{kind: kind, number: number}, nil
	}
	return effect{}, fmt.Errorf("unknown fault %q: write down, stall, html, garbage, status:CODE, redirect:URL, delay:MS, protocol:0, or "+
		"cut, reset, freeze, trickle, length with :N", text)
}

// effectFor reads the control file and returns what it says about a path.
func effectFor(control, path string) (effect, error) {
	if control == "" {
		return effect{}, nil
	}
	content, err := os.ReadFile(control)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(strings.TrimSpace(string(content))) == 0) {
		return effect{}, nil
	}
	if err != nil {
		return effect{}, err
	}
	var faults []fault
	if err := json.Unmarshal(content, &faults); err != nil {
		return effect{}, fmt.Errorf("%s is not a JSON list of {prefix, fault}: %w", control, err)
	}
	for _, entry := range faults {
		if strings.HasPrefix(path, entry.Prefix) {
			return parseEffect(entry.Fault)
		}
	}
	return effect{}, nil
}

// stallUntilReleased blocks until the client is gone or the control file no longer asks for a stall.
func stallUntilReleased(control, path string, gone <-chan struct{}) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-gone:
			return
		case <-ticker.C:
			if now, err := effectFor(control, path); err == nil && now.kind != faultStall {
				return
			}
		}
	}
}
