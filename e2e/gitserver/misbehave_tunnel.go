package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type shapeKind int

const (
	shapeNone shapeKind = iota
	shapeCut
	shapeReset
	shapeStall
	shapeTrickle
)

// shape is what becomes of a destination's bytes after `free` of them have passed.
type shape struct {
	kind shapeKind
	free int64
	slow int64
}

const dialTimeout = 10 * time.Second

func tunnelShaped(form shape) behaviour {
	return asked(func(s *session) string { return s.open("HTTP/1.1 200 Connection established\r\n\r\n", form) })
}

// open connects to what the request asks for, and passes on by the shape: a tunnel, or one plain request.
func (s *session) open(head string, form shape) string {
	if s.request.Method != http.MethodConnect {
		return s.forward(form)
	}
	upstream, err := net.DialTimeout("tcp", s.request.Host, dialTimeout)
	if err != nil {
		return s.answer(http.StatusServiceUnavailable, nil, err.Error()+"\n")
	}
	defer upstream.Close()
	if s.write(head) != nil {
		return "the client gave up"
	}
	s.down.Store(0)
	return s.relay(upstream, upstream, form)
}

// forward sends a plain request on in origin form.
func (s *session) forward(form shape) string {
	upstream, err := s.sendPlain()
	if err != nil {
		return s.answer(http.StatusServiceUnavailable, nil, err.Error()+"\n")
	}
	defer upstream.Close()
	return s.relay(upstream, upstream, form)
}

func (s *session) sendPlain() (net.Conn, error) {
	host := s.request.URL.Host
	if s.request.URL.Port() == "" {
		host = net.JoinHostPort(host, "80")
	}
	upstream, err := net.DialTimeout("tcp", host, dialTimeout)
	if err != nil {
		return nil, err
	}
	s.request.Header.Del("Proxy-Authorization")
	s.request.Header.Del("Proxy-Connection")
	s.request.Header.Set("Via", "1.1 misbehave")
	s.request.Close = true
	if err := s.request.Write(upstream); err != nil {
		_ = upstream.Close()
		return nil, err
	}
	return upstream, nil
}

// relay passes bytes both ways until one side ends; counted from the tunnel's first byte on.
func (s *session) relay(upstream net.Conn, source io.Reader, form shape) string {
	_ = upstream.SetDeadline(time.Now().Add(patience))
	go func() {
		count, _ := io.Copy(upstream, s.reader)
		s.up.Add(count)
		if stream, ok := upstream.(*net.TCPConn); ok {
			_ = stream.CloseWrite()
		}
	}()
	buffer := make([]byte, 32<<10)
	for {
		count, err := source.Read(buffer)
		if outcome := s.pass(buffer[:count], &form); outcome != "" {
			return outcome
		}
		if err != nil {
			if closer, ok := s.connection.(interface{ CloseWrite() error }); ok {
				_ = closer.CloseWrite()
			}
			return "ended"
		}
	}
}

// pass sends what came from the destination; a text says why it is the end.
func (s *session) pass(chunk []byte, form *shape) string {
	room := form.free - s.down.Load()
	if form.kind == shapeNone || int64(len(chunk)) < room {
		return s.send(chunk)
	}
	room = max(room, 0)
	if outcome := s.send(chunk[:room]); outcome != "" {
		return outcome
	}
	rest := chunk[room:]
	passed := s.down.Load()
	switch form.kind {
	case shapeNone:
	case shapeCut:
		if closer, ok := s.raw.(*net.TCPConn); ok {
			_ = closer.CloseWrite()
			time.Sleep(100 * time.Millisecond) // the other goroutine still reads, so that this is not a reset
		}
		return fmt.Sprintf("cut after %d bytes", passed)
	case shapeReset:
		s.reset()
		return fmt.Sprintf("reset after %d bytes", passed)
	case shapeStall:
		// The other goroutine reads, so the kernel is asked whether the client is still there.
		for stream, ok := s.raw.(*net.TCPConn); ok && !connectionEnded(stream); {
			time.Sleep(100 * time.Millisecond)
		}
		return fmt.Sprintf("stalled after %d bytes until the client gave up", passed)
	case shapeTrickle:
		for len(rest) > 0 && form.slow > 0 {
			if outcome := s.send(rest[:1]); outcome != "" {
				return outcome
			}
			rest = rest[1:]
			form.slow--
			time.Sleep(dripInterval)
		}
		if form.slow == 0 {
			form.kind = shapeNone
		}
		return s.send(rest)
	}
	return ""
}

func (s *session) send(chunk []byte) string {
	count, err := s.connection.Write(chunk)
	s.down.Add(int64(count))
	if err != nil {
		return "the client gave up"
	}
	return ""
}

// whole reads the destination's answer to a plain request.
func (s *session) whole() (*http.Response, []byte, error) {
	upstream, err := s.sendPlain()
	if err != nil {
		return nil, nil, err
	}
	defer upstream.Close()
	response, err := http.ReadResponse(bufio.NewReader(upstream), s.request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

// withLength answers with the destination's body and a wrong length.
func withLength(difference int) behaviour {
	return asked(func(s *session) string {
		response, body, err := s.whole()
		if err != nil {
			return s.answer(http.StatusBadGateway, nil, err.Error()+"\n")
		}
		_ = s.write(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			response.StatusCode, response.Header.Get("Content-Type"), len(body)+difference, body))
		s.finish()
		return fmt.Sprintf("said %d bytes, sent %d", len(body)+difference, len(body))
	})
}

// forwards break the answer to a plain request.
var forwards = map[string]behaviour{
	"short": withLength(-10), "long": withLength(10),
	"chunk": asked(func(s *session) string {
		response, body, err := s.whole()
		if err != nil {
			return s.answer(http.StatusBadGateway, nil, err.Error()+"\n")
		}
		half := body[:len(body)/2]
		_ = s.write(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s",
			response.StatusCode, response.Header.Get("Content-Type"), len(body), half))
		s.finish()
		return "ended within a chunk"
	}),
	"cut": asked(func(s *session) string {
		response, body, err := s.whole()
		if err != nil {
			return s.answer(http.StatusBadGateway, nil, err.Error()+"\n")
		}
		_ = s.write(fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			response.StatusCode, response.Header.Get("Content-Type"), len(body), body[:len(body)/2]))
		s.finish()
		return "ended within the body"
	}),
	"loop": asked(func(s *session) string {
		hop := len(s.request.URL.Query()["hop"])
		next := *s.request.URL
		query := next.Query()
		query["hop"] = append(query["hop"], fmt.Sprint(hop))
		next.RawQuery = query.Encode()
		return s.answer(http.StatusFound, []string{"Location: " + next.String()}, "")
	}),
	"html": asked(func(s *session) string { return s.answer(http.StatusOK, []string{"Content-Type: text/html"}, page) }),
	"downgrade": asked(func(s *session) string {
		next := &url.URL{Scheme: "http", Host: strings.Replace(s.request.URL.Host, "git.", "mirror.", 1), Path: s.request.URL.Path, RawQuery: s.request.URL.RawQuery}
		return s.answer(http.StatusFound, []string{"Location: " + next.String()}, "")
	}),
}
