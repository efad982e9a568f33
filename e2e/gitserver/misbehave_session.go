package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// contact is one line of the misbehaving proxy's log.
type contact struct {
	Time         string  `json:"time"`
	Number       int64   `json:"number"`
	Mode         string  `json:"mode"`
	Acting       string  `json:"acting,omitempty"`
	Client       string  `json:"client"`
	Method       string  `json:"method,omitempty"`
	Target       string  `json:"target,omitempty"`
	Scheme       string  `json:"scheme,omitempty"`
	Credentials  string  `json:"credentials,omitempty"`
	CredentialOK bool    `json:"credentials_ok"`
	Headers      string  `json:"headers,omitempty"`
	Up           int64   `json:"up"`
	Down         int64   `json:"down"`
	Outcome      string  `json:"outcome"`
	Milliseconds float64 `json:"milliseconds"`
}

// session is one connection of a client.
type session struct {
	proxy      *misbehavior
	chosen     mode
	raw        net.Conn
	connection net.Conn
	reader     *bufio.Reader
	request    *http.Request
	entry      contact
	up, down   atomic.Int64
}

// patience ends a connection that neither side does.
const patience = 10 * time.Minute

func newSession(proxy *misbehavior, raw net.Conn, chosen mode) *session {
	s := &session{proxy: proxy, chosen: chosen, raw: raw, connection: raw}
	s.entry = contact{Mode: chosen.spec, Client: raw.RemoteAddr().String()}
	_ = raw.SetDeadline(time.Now().Add(patience))
	return s
}

func (s *session) meet() string {
	if configuration, wanted := s.proxy.tls[s.chosen.front]; wanted {
		secure := tls.Server(s.raw, configuration)
		if err := secure.Handshake(); err != nil {
			return "tls: " + err.Error()
		}
		s.connection = secure
	}
	s.reader = bufio.NewReaderSize(s.connection, 32<<10)
	acting := s.chosen
	if acting.behaviour == nil {
		var err error
		if acting, err = s.proxy.slotMode(s.chosen.spec); err != nil {
			return err.Error()
		}
		s.entry.Acting = acting.spec
		ended := make(chan struct{})
		defer close(ended)
		go s.leaveWhenChanged(acting.spec, ended)
	}
	return acting.behaviour(s)
}

// leaveWhenChanged ends a slot's connection when the slot becomes something else: a client that keeps connections must
// meet the new mode too.
func (s *session) leaveWhenChanged(spec string, ended <-chan struct{}) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
			if now, err := s.proxy.slotMode(s.chosen.spec); err == nil && now.spec != spec {
				_ = s.raw.Close()
				return
			}
		}
	}
}

// read takes the request's head; a text says why there is none.
func (s *session) read() string {
	request, err := http.ReadRequest(s.reader)
	if err != nil {
		return "no request: " + err.Error()
	}
	s.request = request
	s.entry.Method, s.entry.Target = request.Method, request.Host
	if request.Method != http.MethodConnect {
		s.entry.Target = request.URL.String()
	}
	names := make([]string, 0, len(request.Header))
	for name := range request.Header {
		names = append(names, name)
	}
	s.entry.Headers = strings.Join(sorted(names), " ")
	if value := request.Header.Get("Proxy-Authorization"); value != "" {
		s.entry.Scheme, _, _ = strings.Cut(value, " ")
		digest := sha256.Sum256([]byte(value))
		s.entry.Credentials = hex.EncodeToString(digest[:6])
		right := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.proxy.username+":"+s.proxy.password))
		s.entry.CredentialOK = subtle.ConstantTimeCompare([]byte(value), []byte(right)) == 1
	}
	return ""
}

// write sends bytes as they are.
func (s *session) write(text string) error {
	count, err := io.WriteString(s.connection, text)
	s.down.Add(int64(count))
	return err
}

// answer sends a whole answer and ends the connection without losing it.
func (s *session) answer(status int, headers []string, body string) string {
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %03d %s\r\n", status, http.StatusText(status))
	for _, header := range headers {
		head.WriteString(header + "\r\n")
	}
	fmt.Fprintf(&head, "Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	_ = s.write(head.String())
	s.finish()
	return fmt.Sprintf("answered %d", status)
}

// finish sends a FIN and waits until the client has ended too: closing with unread bytes would be a reset.
func (s *session) finish() {
	_ = s.connection.SetDeadline(time.Now().Add(5 * time.Second))
	if closer, ok := s.connection.(interface{ CloseWrite() error }); ok {
		_ = closer.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, s.reader)
}

// reset ends the connection with a RST.
func (s *session) reset() {
	if stream, ok := s.raw.(*net.TCPConn); ok {
		_ = stream.SetLinger(0)
	}
	_ = s.raw.Close()
}

// wait says nothing until the client goes.
func (s *session) wait() string {
	count, _ := io.Copy(io.Discard, s.reader)
	s.up.Add(count)
	return "the client gave up"
}
