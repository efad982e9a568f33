package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// publicPrefix is the part of the root that needs no password.
const publicPrefix = "/public/"

// readyPath answers 204 to anyone and is not logged: those who wait for the server must not disturb those who count requests.
const readyPath = "/-/ready"

// server answers git's smart HTTP protocol for the bare repositories below one directory.
type server struct {
	root     string
	backend  string
	control  string
	username string
	password string
	journal  *journal
}

// access is one line of the access log, written when the answer is complete.
type access struct {
	Time          string  `json:"time"`
	Scheme        string  `json:"scheme"`
	Client        string  `json:"client"`
	Host          string  `json:"host"`
	Method        string  `json:"method"`
	Path          string  `json:"path"`
	Query         string  `json:"query,omitempty"`
	Service       string  `json:"service,omitempty"`
	GitProtocol   string  `json:"git_protocol,omitempty"`
	Command       string  `json:"command,omitempty"`
	UserAgent     string  `json:"user_agent,omitempty"`
	Via           string  `json:"via,omitempty"`
	User          string  `json:"user,omitempty"`
	UserOK        bool    `json:"user_ok"`
	Fault         string  `json:"fault,omitempty"`
	Status        int     `json:"status"`
	RequestBytes  int64   `json:"request_bytes"`
	ResponseBytes int64   `json:"response_bytes"`
	Milliseconds  float64 `json:"milliseconds"`
}

func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	root := flags.String("root", "", "directory of the bare repositories (required)")
	http80 := flags.String("http", "", "address of the plain HTTP listener, e.g. :80")
	https443 := flags.String("https", "", "address of the TLS listener, e.g. :443")
	certificate := flags.String("tls-certificate", "", "certificate chain of the TLS listener")
	key := flags.String("tls-key", "", "key of the TLS listener")
	username := flags.String("username", "", "user every request must be of (required)")
	passwordFile := flags.String("password-file", "", "file with the user's password (required)")
	logFile := flags.String("access-log", "", "file for one JSON line per request (required)")
	control := flags.String("control", "", "file that switches faults on; read for every request")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if *root == "" || *username == "" || *passwordFile == "" || *logFile == "" || (*http80 == "" && *https443 == "") {
		return errors.New("serve needs -root, -username, -password-file, -access-log and at least one of -http and -https")
	}
	password, err := os.ReadFile(*passwordFile)
	if err != nil {
		return fmt.Errorf("cannot read the password: %w", err)
	}
	execPath, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("cannot find git: %w", err)
	}
	absolute, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	accessLog, err := openJournal(*logFile)
	if err != nil {
		return err
	}
	handler := &server{
		root:     absolute,
		backend:  filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		control:  *control,
		username: *username,
		password: strings.TrimSuffix(string(password), "\n"),
		journal:  accessLog,
	}
	ended := make(chan error, 2)
	if *http80 != "" {
		plain := &http.Server{Addr: *http80, Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { ended <- plain.ListenAndServe() }()
	}
	if *https443 != "" {
		secure := &http.Server{Addr: *https443, Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { ended <- secure.ListenAndServeTLS(*certificate, *key) }()
	}
	return <-ended
}

func (s *server) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	if request.URL.Path == readyPath {
		writer.WriteHeader(http.StatusNoContent)
		return
	}
	started := time.Now()
	entry := access{
		Time: timestamp(started), Scheme: "http", Client: request.RemoteAddr, Host: request.Host, Method: request.Method,
		Path: request.URL.Path, Query: request.URL.RawQuery, GitProtocol: request.Header.Get("Git-Protocol"),
		UserAgent: request.UserAgent(), Via: request.Header.Get("Via"),
	}
	if request.TLS != nil {
		entry.Scheme = "https"
	}
	body := &countingBody{inner: request.Body}
	request.Body = body
	counted := &countingWriter{inner: writer, remaining: -1}
	// Deferred, because a cut answer ends in a panic that net/http turns into a closed connection.
	defer func() {
		entry.Status, entry.RequestBytes, entry.ResponseBytes = counted.status, body.count, counted.count
		entry.Milliseconds = float64(time.Since(started).Microseconds()) / 1000
		s.journal.record(entry)
	}()
	s.answer(counted, request, &entry)
}

func (s *server) answer(writer *countingWriter, request *http.Request, entry *access) {
	entry.Service = request.URL.Query().Get("service")
	if last := request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]; strings.HasPrefix(last, "git-") {
		entry.Service = last
	}
	user, password, _ := request.BasicAuth()
	entry.User = user
	entry.UserOK = subtle.ConstantTimeCompare([]byte(user), []byte(s.username))&subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
	if request.Method == http.MethodPost && entry.Service == "git-upload-pack" {
		entry.Command = peekCommand(request)
	}

	what, err := effectFor(s.control, request.URL.Path)
	if err != nil {
		entry.Fault = "invalid"
		http.Error(writer, "test bed: "+err.Error(), http.StatusInternalServerError)
		return
	}
	switch what.kind {
	case faultNone:
	case faultDown:
		entry.Fault = "down"
		panic(http.ErrAbortHandler)
	case faultStall:
		entry.Fault = "stall"
		// Reading the body lets net/http notice that the client has gone.
		_, _ = io.Copy(io.Discard, request.Body)
		stallUntilReleased(s.control, request.URL.Path, request.Context().Done())
		panic(http.ErrAbortHandler)
	case faultStatus:
		entry.Fault = "status"
		http.Error(writer, fmt.Sprintf("test bed: answering %d as told", what.number), what.number)
		return
	case faultRedirect:
		entry.Fault = "redirect"
		http.Redirect(writer, request, what.text+request.URL.RequestURI(), http.StatusFound)
		return
	case faultDelay:
		entry.Fault = "delay"
		select {
		case <-time.After(time.Duration(what.number) * time.Millisecond):
		case <-request.Context().Done():
			panic(http.ErrAbortHandler)
		}
	case faultCut, faultReset, faultFreeze, faultTrickle:
		entry.Fault = map[faultKind]string{faultCut: "cut", faultReset: "reset", faultFreeze: "freeze", faultTrickle: "trickle"}[what.kind]
		writer.remaining, writer.then = int64(what.number), what.kind
		writer.gone = request.Context().Done()
	case faultLength:
		entry.Fault = "length"
		whole := &wholeAnswer{head: http.Header{}}
		s.runBackendOrRefuse(whole, request, entry.UserOK)
		maps.Copy(writer.Header(), whole.head)
		writer.Header().Set("Content-Length", strconv.Itoa(whole.body.Len()+what.number))
		writer.WriteHeader(whole.status)
		_, _ = writer.Write(whole.body.Bytes())
		writer.Flush()
		panic(http.ErrAbortHandler)
	case faultHTML:
		entry.Fault = "html"
		writer.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(writer, page)
		return
	case faultGarbage:
		entry.Fault = "garbage"
		writer.Header().Set("Content-Type", "application/x-"+entry.Service+map[bool]string{true: "-result", false: "-advertisement"}[request.Method == http.MethodPost])
		_, _ = io.WriteString(writer, strings.Repeat("zzzz not a packet line\x00\xff", 20))
		return
	case faultProtocol0:
		entry.Fault = "protocol:0"
		request.Header.Del("Git-Protocol")
	}

	s.runBackendOrRefuse(writer, request, entry.UserOK)
}

func (s *server) runBackendOrRefuse(writer http.ResponseWriter, request *http.Request, userOK bool) {
	if !userOK && !strings.HasPrefix(request.URL.Path, publicPrefix) {
		writer.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(writer, "a user and password are required", http.StatusUnauthorized)
		return
	}
	if s.serveLFS(writer, request) {
		return
	}
	s.runBackend(writer, request, userOK)
}

// runBackend hands the request to `git http-backend`. It sees no configuration of the machine it runs on.
func (s *server) runBackend(writer http.ResponseWriter, request *http.Request, userOK bool) {
	environment := []string{
		"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "HOME=/nonexistent",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_COUNT=3",
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=uploadpack.allowAnySHA1InWant", "GIT_CONFIG_VALUE_1=true",
		"GIT_CONFIG_KEY_2=uploadpack.allowFilter", "GIT_CONFIG_VALUE_2=true",
	}
	if protocol := request.Header.Get("Git-Protocol"); protocol != "" {
		environment = append(environment, "GIT_PROTOCOL="+protocol)
	}
	if userOK {
		environment = append(environment, "REMOTE_USER="+s.username)
	}
	if len(request.TransferEncoding) > 0 {
		// CGI has no chunked bodies: the length must be known before the program starts.
		content, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(writer, "cannot read the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		request.TransferEncoding, request.ContentLength = nil, int64(len(content))
		request.Body = io.NopCloser(bytes.NewReader(content))
	}

	backend := &cgi.Handler{Path: s.backend, Env: environment, Logger: log.New(os.Stderr, "http-backend: ", 0), Stderr: os.Stderr}
	backend.ServeHTTP(writer, request)
}

// peekCommand returns the protocol v2 command of an upload-pack request without consuming its body.
func peekCommand(request *http.Request) string {
	reader := bufio.NewReaderSize(request.Body, 4096)
	head, _ := reader.Peek(512)
	request.Body = struct {
		io.Reader
		io.Closer
	}{reader, request.Body}
	if request.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(bytes.NewReader(head))
		if err != nil {
			return ""
		}
		plain := make([]byte, 64)
		count, _ := io.ReadFull(unzipped, plain)
		head = plain[:count]
	}
	// A packet line: its whole length in four hexadecimal digits, then "command=ls-refs", with or without a newline.
	if len(head) < 4 {
		return ""
	}
	length, err := strconv.ParseUint(string(head[:4]), 16, 16)
	if err != nil || length < 4 || int(length) > len(head) {
		return ""
	}
	line := strings.TrimSuffix(string(head[4:length]), "\n")
	command, found := strings.CutPrefix(line, "command=")
	if !found {
		return ""
	}
	return command
}

type countingBody struct {
	inner io.ReadCloser
	count int64
}

func (b *countingBody) Read(buffer []byte) (int, error) {
	count, err := b.inner.Read(buffer)
	b.count += int64(count)
	return count, err
}

func (b *countingBody) Close() error { return b.inner.Close() }

// wholeAnswer keeps an answer.
type wholeAnswer struct {
	head   http.Header
	status int
	body   bytes.Buffer
}

func (w *wholeAnswer) Header() http.Header { return w.head }

func (w *wholeAnswer) WriteHeader(status int) { w.status = status }

func (w *wholeAnswer) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(data)
}

// countingWriter counts the answer's body and, when remaining is not negative, does what `then` says after that many bytes.
type countingWriter struct {
	inner     http.ResponseWriter
	status    int
	count     int64
	remaining int64
	then      faultKind
	gone      <-chan struct{}
}

func (w *countingWriter) Header() http.Header { return w.inner.Header() }

func (w *countingWriter) WriteHeader(status int) {
	w.status = status
	if w.remaining >= 0 {
		// A declared length would be a lie, and net/http enforces it.
		w.inner.Header().Del("Content-Length")
	}
	w.inner.WriteHeader(status)
}

func (w *countingWriter) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.remaining < 0 || int64(len(data)) < w.remaining {
		count, err := w.inner.Write(data)
		w.count += int64(count)
		if w.remaining >= 0 {
			w.remaining -= int64(count)
		}
		return count, err
	}
	count, err := w.inner.Write(data[:w.remaining])
	w.count += int64(count)
	w.remaining -= int64(count)
	if err != nil {
		return count, err
	}
	w.Flush()
	switch w.then {
	case faultReset:
		w.reset()
		panic(http.ErrAbortHandler)
	case faultFreeze:
		<-w.gone
		panic(http.ErrAbortHandler)
	case faultTrickle:
		rest := data[count:]
		slow := rest[:min(len(rest), 300)]
		for _, value := range slow {
			if _, err := w.inner.Write([]byte{value}); err != nil {
				return count, err
			}
			w.Flush()
			time.Sleep(dripInterval)
		}
		w.remaining = -1
		more, err := w.inner.Write(rest[len(slow):])
		w.count += int64(len(slow) + more)
		return count + len(slow) + more, err
	default:
		panic(http.ErrAbortHandler)
	}
}

// reset takes the connection from net/http and ends it with a RST.
func (w *countingWriter) reset() {
	connection, _, err := http.NewResponseController(w.inner).Hijack()
	if err != nil {
		return
	}
	raw := connection
	if secure, ok := connection.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if stream, ok := raw.(*net.TCPConn); ok {
		_ = stream.SetLinger(0)
	}
	_ = raw.Close()
}

func (w *countingWriter) Flush() {
	if flusher, ok := w.inner.(http.Flusher); ok {
		flusher.Flush()
	}
}
