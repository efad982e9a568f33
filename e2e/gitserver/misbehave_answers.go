package main

import (
	"fmt"
	"math/rand"
	"net/http"
	"slices"
	"strings"
	"time"
)

// page is what a corporate block page looks like: HTML of a few kilobytes, with the words that matter at its beginning.
var page = "<!DOCTYPE html>\n<html><head><title>Access blocked</title></head>\n<body><h1>Access blocked by policy 4711</h1>\n" +
	strings.Repeat("<p>This site belongs to a category that is not allowed here. Ask the service desk.</p>\n", 40) + "</body></html>\n"

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// asked wraps a behaviour that first reads the request.
func asked(then behaviour) behaviour {
	return func(s *session) string {
		if problem := s.read(); problem != "" {
			return problem
		}
		return then(s)
	}
}

func refuse(status int, wait string) behaviour {
	return asked(func(s *session) string {
		headers := []string{"Content-Type: text/plain"}
		if wait != "" {
			headers = append(headers, "Retry-After: "+wait)
		}
		if status == http.StatusFound {
			headers = append(headers, "Location: http://login.corp.test/")
		}
		if status == http.StatusProxyAuthRequired {
			headers = append(headers, `Proxy-Authenticate: Basic realm="corporate proxy"`)
		}
		return s.answer(status, headers, fmt.Sprintf("test bed: the proxy answers %d\n", status))
	})
}

func refuseWithPage(status int) behaviour {
	return asked(func(s *session) string {
		return s.answer(status, []string{"Content-Type: text/html; charset=utf-8"}, page)
	})
}

func challenge(headers ...string) behaviour {
	return asked(func(s *session) string {
		return s.answer(http.StatusProxyAuthRequired, headers, "test bed: log in\n")
	})
}

const (
	basicChallenge     = `Proxy-Authenticate: Basic realm="corporate proxy"`
	joinedChallenge    = `Proxy-Authenticate: Negotiate, Basic realm="corporate proxy"`
	negotiateChallenge = "Proxy-Authenticate: Negotiate"
	ntlmChallenge      = "Proxy-Authenticate: NTLM"
	digestChallenge    = `Proxy-Authenticate: Digest realm="corporate proxy", nonce="4711", qop="auth", algorithm=SHA-256`
)

// challenges refuse everybody.
var challenges = map[string]behaviour{
	"none": challenge(), "basic": challenge(basicChallenge), "joined": challenge(joinedChallenge),
	"repeated": challenge(negotiateChallenge, ntlmChallenge, basicChallenge), "ntlm": challenge(ntlmChallenge),
	"negotiate": challenge(negotiateChallenge), "duplicate": challenge(basicChallenge, basicChallenge), "digest": challenge(digestChallenge),
	// Neither a length nor an end: what is left of the connection is the body.
	"open": asked(func(s *session) string {
		_ = s.write("HTTP/1.1 407 Proxy Authentication Required\r\n" + basicChallenge + "\r\n\r\n<html>log in</html>")
		return s.wait()
	}),
	"html": asked(func(s *session) string {
		return s.answer(http.StatusProxyAuthRequired, []string{basicChallenge, "Content-Type: text/html"}, page)
	}),
}

func login(status int, headers ...string) behaviour {
	return asked(func(s *session) string {
		if s.entry.CredentialOK {
			return s.open("HTTP/1.1 200 Connection established\r\n\r\n", shape{})
		}
		return s.answer(status, headers, "test bed: log in\n")
	})
}

// logins want the right password before they work.
var logins = map[string]behaviour{
	"basic": login(http.StatusProxyAuthRequired, basicChallenge), "joined": login(http.StatusProxyAuthRequired, joinedChallenge),
	"repeated":  login(http.StatusProxyAuthRequired, negotiateChallenge, ntlmChallenge, basicChallenge),
	"forbidden": login(http.StatusForbidden),
}

func opening(head string) behaviour {
	return asked(func(s *session) string { return s.open(head, shape{}) })
}

// openings are answers to CONNECT that open a tunnel all the same (RFC 9110 §9.3.6: any 2xx, without a body whatever the
// head says; interim answers may come before).
var openings = map[string]behaviour{
	"201": opening("HTTP/1.1 201 Created\r\n\r\n"), "204": opening("HTTP/1.1 204 No Content\r\n\r\n"),
	"chunked": opening("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
	"length":  opening("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
	"100":     opening("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
	"103":     opening("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
	"http10":  opening("HTTP/1.0 200 Connection established\r\nProxy-agent: old/0.1\r\n\r\n"),
	"bare":    opening("HTTP/1.1 200\r\n\r\n"), "lf": opening("HTTP/1.1 200 OK\nVia: test\n\n"),
	// A login page instead of a tunnel.
	"page": asked(func(s *session) string {
		return s.answer(http.StatusOK, []string{"Content-Type: text/html"}, page)
	}),
}

// brokenHeads are answers whose head can't be read.
var brokenHeads = map[string]behaviour{
	"half-close": asked(func(s *session) string {
		_ = s.write("HTTP/1.1 200 Connection estab")
		s.finish()
		return "closed within the head"
	}),
	"half-stall": asked(func(s *session) string {
		_ = s.write("HTTP/1.1 200 OK\r\nVia: te")
		return s.wait()
	}),
	"large": asked(func(s *session) string {
		return s.open("HTTP/1.1 200 OK\r\nX-Padding: "+strings.Repeat("x", 20<<10)+"\r\n\r\n", shape{})
	}),
	"many": asked(func(s *session) string {
		return s.open("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Padding: x\r\n", 400)+"\r\n", shape{})
	}),
	"line": asked(func(s *session) string {
		_ = s.write(strings.Repeat("HTTP/1.1 200 ", 8<<10))
		return s.wait()
	}),
	"endless": asked(func(s *session) string {
		_ = s.write("HTTP/1.1 200 OK\r\n")
		for s.write("X-Padding: "+strings.Repeat("x", 100)+"\r\n") == nil {
			time.Sleep(time.Millisecond)
		}
		return "the client gave up"
	}),
	"garbage": asked(func(s *session) string {
		bytes := make([]byte, 512)
		source := rand.New(rand.NewSource(4711)) // the same every time
		for index := range bytes {
			bytes[index] = byte(source.Intn(256))
		}
		_ = s.write(string(bytes))
		s.finish()
		return "sent garbage"
	}),
	"empty": asked(func(s *session) string {
		s.finish()
		return "closed without an answer"
	}),
	"reset": asked(func(s *session) string {
		s.reset()
		return "reset without an answer"
	}),
	"drip": asked(func(s *session) string {
		for _, character := range "HTTP/1.1 200 OK\r\nVia: " + strings.Repeat("x", 600) {
			if s.write(string(character)) != nil {
				return "the client gave up"
			}
			time.Sleep(dripInterval)
		}
		return s.wait()
	}),
	"ssh": asked(func(s *session) string {
		_ = s.write("SSH-2.0-OpenSSH_9.2\r\n")
		return s.wait()
	}),
}

// deaf modes read nothing.
var deaf = map[string]behaviour{
	"close": func(s *session) string {
		_ = s.raw.Close()
		return "closed at once"
	},
	"reset": func(s *session) string {
		s.reset()
		return "reset at once"
	},
	"silent": func(s *session) string {
		// What comes is read, so that the log knows when the client leaves; nothing is answered.
		if problem := s.read(); problem != "" {
			return problem
		}
		return s.wait()
	},
}

func inside(bytes string) behaviour {
	return asked(func(s *session) string {
		if s.write("HTTP/1.1 200 Connection established\r\n\r\n") != nil {
			return "the client gave up"
		}
		// The client speaks first in TLS; what it says is not looked at.
		_, _ = s.reader.Peek(1)
		_ = s.write(bytes)
		s.finish()
		return "spoke for the destination"
	})
}

// insides put words into the destination's mouth.
var insides = map[string]behaviour{
	"html":    inside("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n" + page),
	"garbage": inside("\x00\x01\x02\x03 not a record of TLS\xff\xfe"),
	// A TLS alert: fatal, handshake_failure (RFC 8446 §6).
	"alert": inside("\x15\x03\x03\x00\x02\x02\x28"),
}
