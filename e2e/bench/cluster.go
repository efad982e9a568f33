package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Cluster is an API server and how to speak to it: one HTTP/2 connection with a client certificate.
type Cluster struct {
	base   string
	client *http.Client
}

// connect reads a kubeconfig in JSON, as the test bed writes it, with everything inline.
func connect(path string) (*Cluster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Clusters []struct {
			Cluster struct {
				Server    string
				Authority []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("%s is not a kubeconfig in JSON: %w", path, err)
	}
	if len(file.Clusters) != 1 || len(file.Users) != 1 {
		return nil, fmt.Errorf("%s has %d clusters and %d users, wanted one of each", path, len(file.Clusters), len(file.Users))
	}
	pair, err := tls.X509KeyPair(file.Users[0].User.Certificate, file.Users[0].User.Key)
	if err != nil {
		return nil, fmt.Errorf("client certificate in %s: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(file.Clusters[0].Cluster.Authority) {
		return nil, fmt.Errorf("%s holds no certificate authority", path)
	}
	// No Proxy: the environment's proxy is not for the API server.
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	return &Cluster{base: file.Clusters[0].Cluster.Server, client: &http.Client{Transport: transport}}, nil
}

const (
	typeJSON       = "application/json"
	typeApply      = "application/apply-patch+yaml"
	typeMergePatch = "application/merge-patch+json"
)

// refusal is an answer other than success.
type refusal struct {
	what   string
	status int
	body   string
}

func (r refusal) Error() string { return fmt.Sprintf("%s: HTTP %d: %.300s", r.what, r.status, r.body) }

func isStatus(err error, status int) bool {
	var refused refusal
	return errors.As(err, &refused) && refused.status == status
}

func (c *Cluster) open(ctx context.Context, method, path, contentType string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", typeJSON)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return nil, refusal{method + " " + path, answer.StatusCode, string(text)}
	}
	return answer.Body, nil
}

// call sends one request and reads the whole answer, into out when it is not nil.
func (c *Cluster) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := c.open(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer)
		return err
	}
	return json.NewDecoder(answer).Decode(out)
}

// Object is what the measurer reads of any object.
type Object struct {
	Metadata struct {
		Name, Namespace, ResourceVersion string
	}
	Data   map[string]string
	Status struct {
		Sync   struct{ Status, Revision string }
		Health struct{ Status string }
	}
}

type list struct {
	Metadata struct{ ResourceVersion string }
	Items    []Object
}

func (c *Cluster) list(ctx context.Context, path string) (list, error) {
	var found list
	err := c.call(ctx, http.MethodGet, path, "", nil, &found)
	return found, err
}

// watch calls back for every object there is and for every change until the context ends; then err is nil.
func (c *Cluster) watch(ctx context.Context, path string, changed func(Object)) error {
	found, err := c.list(ctx, path)
	if err != nil {
		return err
	}
	for _, object := range found.Items {
		changed(object)
	}
	separator := "?"
	if bytes.ContainsRune([]byte(path), '?') {
		separator = "&"
	}
	stream, err := c.open(ctx, http.MethodGet, path+separator+"watch=true&timeoutSeconds=3600&resourceVersion="+found.Metadata.ResourceVersion, "", nil)
	if err != nil {
		return err
	}
	defer stream.Close()
	decoder := json.NewDecoder(stream)
	for {
		var event struct {
			Type   string
			Object Object
		}
		if err := decoder.Decode(&event); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the watch of %s ended: %w", path, err)
		}
		if event.Type == "ERROR" {
			return fmt.Errorf("the watch of %s failed", path)
		}
		changed(event.Object)
	}
}

// each runs act for 0..count-1, inFlight at a time, and returns the first error.
func each(ctx context.Context, count, inFlight int, act func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	turns := make(chan int)
	done := make(chan struct{})
	for range inFlight {
		go func() {
			for index := range turns {
				if err := act(ctx, index); err != nil {
					cancel(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for index := range count {
		select {
		case turns <- index:
		case <-ctx.Done():
		}
	}
	close(turns)
	for range inFlight {
		<-done
	}
	return context.Cause(ctx)
}
