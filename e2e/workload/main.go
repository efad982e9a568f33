// Command app is what the containers of the test bed and of the demo run.
//
//	app serve   HTTP on :8080 ($PORT): / version and environment as JSON, /healthz, /readyz
//	app run     exit 0 after $DURATION (Go syntax, e.g. 500ms; bare numbers are seconds; default at once)
//	app fail    a message on stderr, exit 1
//
// What `serve` obeys: READY_DELAY (seconds before /readyz says yes), NOT_READY=1 (never says yes), CRASH=1 (exits 1 at start).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var err error
	switch command {
	case "serve":
		err = serve(ended)
	case "run":
		err = run(ended)
	case "fail":
		err = errors.New("failing as told")
	default:
		err = fmt.Errorf("unknown command %q: write serve, run or fail", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func serve(ended context.Context) error {
	if os.Getenv("CRASH") == "1" {
		return errors.New("crashing as told by CRASH=1")
	}
	delay, err := duration("READY_DELAY")
	if err != nil {
		return err
	}
	readyAt := time.Now().Add(delay)
	neverReady := os.Getenv("NOT_READY") == "1"

	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(writer http.ResponseWriter, _ *http.Request) { fmt.Fprintln(writer, "ok") })
	mux.HandleFunc("/readyz", func(writer http.ResponseWriter, _ *http.Request) {
		if neverReady || time.Now().Before(readyAt) {
			http.Error(writer, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(writer, "ready")
	})
	mux.HandleFunc("/", describe)

	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	fmt.Printf("version %s serves on :%s\n", os.Getenv("VERSION"), port)
	select {
	case err := <-failed:
		return err
	case <-ended.Done():
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return server.Shutdown(grace)
	}
}

func describe(writer http.ResponseWriter, _ *http.Request) {
	hostname, _ := os.Hostname()
	environment := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		environment[name] = value
	}
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(map[string]any{
		"version": os.Getenv("VERSION"), "hostname": hostname, "uid": os.Getuid(), "environment": environment,
	})
}

func run(ended context.Context) error {
	wait, err := duration("DURATION")
	if err != nil {
		return err
	}
	select {
	case <-time.After(wait):
		fmt.Printf("version %s ran for %s\n", os.Getenv("VERSION"), wait)
		return nil
	case <-ended.Done():
		return errors.New("interrupted")
	}
}

// duration reads an environment variable as seconds or in Go's syntax; unset means zero.
func duration(name string) (time.Duration, error) {
	text := os.Getenv(name)
	if text == "" {
		return 0, nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return 0, fmt.Errorf("%s=%q is not a duration: write seconds or e.g. 500ms", name, text)
	}
	return parsed, nil
}
