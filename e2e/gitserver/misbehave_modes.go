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

// How a connection begins.
const (
	frontHTTP         = "http"
	frontTLS          = "tls"
	frontTLSMutual    = "tls-mutual"
	frontTLSOtherName = "tls-other-name"
	frontSOCKS        = "socks"
)

// proxyModes are the modes that have ports, in the order of the ports: a new one goes to the end. `FRONT/` before the
// behaviour says what a client must speak (`http` when there is none); behaviours take arguments behind colons.
//
//	tunnel               a good proxy
//	auth:WHAT            407 to everyone; WHAT says with which challenge
//	login:WHAT           407 (or 403) until the right password comes
//	status:CODE[:WAIT]   that status to everyone, with `Retry-After: WAIT`
//	html:CODE            that status with a page of some size
//	connect:WHAT         the tunnel is opened by an unusual answer
//	head:WHAT            the answer's head is broken
//	accept:WHAT          nothing is read
//	cut:N reset:N stall:N trickle:N:M   what becomes of an answer after N bytes (M: how many at 5 a second)
//	inside:WHAT          other bytes than the destination's come out of the tunnel
//	forward:WHAT         the answer to a plain request is broken
//	socks: no-method, refused, login, reply:N, silent, half, garbage, close
//	slot:N               what the control file says, `tunnel` when it says nothing
var proxyModes = []string{
	"tunnel",
	"auth:none", "auth:basic", "auth:joined", "auth:repeated", "auth:ntlm", "auth:negotiate", "auth:duplicate", "auth:digest",
	"auth:open", "auth:html",
	"login:basic", "login:joined", "login:repeated", "login:forbidden",
	"status:400", "status:401", "status:402", "status:403", "status:404", "status:405", "status:407", "status:408", "status:411",
	"status:413", "status:429:20", "status:451", "status:500", "status:501", "status:502", "status:503:20", "status:503", "status:504",
	"status:511", "status:599", "status:302", "status:304",
	"html:200", "html:403", "html:502", "html:503",
	"connect:201", "connect:204", "connect:chunked", "connect:length", "connect:100", "connect:103", "connect:http10", "connect:bare",
	"connect:lf", "connect:page",
	"head:half-close", "head:half-stall", "head:large", "head:endless", "head:garbage", "head:empty", "head:reset", "head:drip",
	"head:ssh", "head:many", "head:line",
	"accept:close", "accept:reset", "accept:silent",
	"cut:0", "cut:800", "cut:20000", "cut:60000", "reset:0", "reset:800", "reset:20000", "stall:0", "stall:800", "stall:20000",
	"trickle:4000:300", "inside:html", "inside:garbage", "inside:alert",
	"forward:short", "forward:long", "forward:chunk", "forward:loop", "forward:html", "forward:downgrade", "forward:cut",
	"tls/tunnel", "tls/login:basic", "tls/status:403", "tls/head:half-stall", "tls/cut:20000", "tls-mutual/tunnel", "tls-other-name/tunnel",
	"socks/tunnel", "socks/login", "socks/no-method", "socks/refused", "socks/reply:1", "socks/reply:2", "socks/reply:3", "socks/reply:4",
	"socks/reply:5", "socks/reply:6", "socks/reply:7", "socks/reply:8", "socks/silent", "socks/half", "socks/garbage", "socks/close",
	"socks/cut:20000", "socks/stall:20000",
	"slot:0", "slot:1", "slot:2", "slot:3", "slot:4", "slot:5", "slot:6", "slot:7", "slot:8", "slot:9", "slot:10", "slot:11",
	"slot:12", "slot:13", "slot:14", "slot:15", "slot:16", "slot:17", "slot:18", "slot:19", "slot:20", "slot:21", "slot:22", "slot:23",
	"slot:24", "slot:25", "slot:26", "slot:27", "slot:28", "slot:29", "slot:30", "slot:31", "slot:32", "slot:33", "slot:34", "slot:35",
	"slot:36", "slot:37", "slot:38", "slot:39", "slot:40", "slot:41", "slot:42", "slot:43", "slot:44", "slot:45", "slot:46", "slot:47",
}

// mode is one entry, parsed.
type mode struct {
	spec      string
	front     string
	behaviour behaviour
}

// behaviour deals with one connection and says how it ended.
type behaviour func(*session) string

func (m mode) scheme() string {
	switch m.front {
	case frontHTTP:
		return "http"
	case frontSOCKS:
		return "socks5h"
	}
	return "https"
}

func parseMode(spec string) (mode, error) {
	front, rest, fronted := strings.Cut(spec, "/")
	if !fronted {
		front, rest = frontHTTP, spec
	}
	name, argument, _ := strings.Cut(rest, ":")
	found, err := behaviourOf(front, name, argument)
	if err != nil {
		return mode{}, fmt.Errorf("mode %q: %w", spec, err)
	}
	return mode{spec: spec, front: front, behaviour: found}, nil
}

func behaviourOf(front, name, argument string) (behaviour, error) {
	if name == "slot" {
		return nil, nil
	}
	if shape, isShape, err := parseShape(name, argument); isShape || err != nil {
		if front == frontSOCKS {
			return socksTunnel(false, shape), err
		}
		return tunnelShaped(shape), err
	}
	if front == frontSOCKS {
		return socksBehaviour(name, argument)
	}
	table, known := map[string]map[string]behaviour{
		"auth": challenges, "login": logins, "connect": openings, "head": brokenHeads, "accept": deaf, "inside": insides, "forward": forwards,
	}[name]
	if known {
		if found, ok := table[argument]; ok {
			return found, nil
		}
		return nil, fmt.Errorf("%s has no %q", name, argument)
	}
	code, wait, _ := strings.Cut(argument, ":")
	number, err := strconv.Atoi(code)
	if err != nil {
		return nil, errors.New("not known")
	}
	switch name {
	case "status":
		return refuse(number, wait), nil
	case "html":
		return refuseWithPage(number), nil
	}
	return nil, errors.New("not known")
}

// parseShape reads what becomes of a tunnel's answer.
func parseShape(name, argument string) (shape, bool, error) {
	if name == "tunnel" {
		return shape{}, true, nil
	}
	kind, known := map[string]shapeKind{"cut": shapeCut, "reset": shapeReset, "stall": shapeStall, "trickle": shapeTrickle}[name]
	if !known {
		return shape{}, false, nil
	}
	free, slow, _ := strings.Cut(argument, ":")
	result := shape{kind: kind}
	var err error
	if result.free, err = strconv.ParseInt(free, 10, 64); err != nil {
		return shape{}, true, err
	}
	if slow != "" {
		if result.slow, err = strconv.ParseInt(slow, 10, 64); err != nil {
			return shape{}, true, err
		}
	}
	return result, true, nil
}

// slotMode reads what the control file says about a slot: a JSON object, slot to mode.
func (p *misbehavior) slotMode(slot string) (mode, error) {
	content, err := os.ReadFile(p.control)
	if errors.Is(err, fs.ErrNotExist) {
		return parseMode("tunnel")
	}
	if err != nil {
		return mode{}, err
	}
	var wanted map[string]string
	if err := json.Unmarshal(content, &wanted); err != nil {
		return mode{}, fmt.Errorf("%s is not a JSON object of slots: %w", p.control, err)
	}
	if spec, named := wanted[slot]; named {
		return parseMode(spec)
	}
	return parseMode("tunnel")
}

// dripInterval makes five bytes a second.
const dripInterval = 200 * time.Millisecond
