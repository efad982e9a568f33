package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Git LFS beside the repositories: the batch API and the downloads that it grants. Contents lie in <repository>/lfs/<oid>; where a
// file <repository>/lfs/host names another host, downloads are granted there, with credentials of their own.

const (
	lfsBatch = "/info/lfs/objects/batch"
	lfsMedia = "/info/lfs/media/"
	lfsType  = "application/vnd.git-lfs+json"
)

var lfsName = regexp.MustCompile(`^[0-9a-f]{64}$`)

type lfsObject struct {
	Oid     string               `json:"oid"`
	Size    int64                `json:"size"`
	Actions map[string]lfsAction `json:"actions,omitempty"`
	Error   *lfsError            `json:"error,omitempty"`
}

type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header,omitempty"`
}

type lfsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// serveLFS answers requests about LFS and says whether this was one.
func (s *server) serveLFS(writer http.ResponseWriter, request *http.Request) bool {
	if repository, found := strings.CutSuffix(request.URL.Path, lfsBatch); found && request.Method == http.MethodPost {
		s.lfsGrant(writer, request, repository)
		return true
	}
	repository, oid, found := strings.Cut(request.URL.Path, lfsMedia)
	if !found {
		return false
	}
	if !lfsName.MatchString(oid) {
		http.NotFound(writer, request)
		return true
	}
	http.ServeFile(writer, request, s.lfsPath(repository, oid))
	return true
}

func (s *server) lfsPath(repository, name string) string {
	return filepath.Join(s.root, filepath.Clean("/"+repository), "lfs", name)
}

func (s *server) lfsGrant(writer http.ResponseWriter, request *http.Request, repository string) {
	var asked struct {
		Operation string      `json:"operation"`
		Objects   []lfsObject `json:"objects"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil || asked.Operation != "download" {
		http.Error(writer, "only downloads can be asked for", http.StatusUnprocessableEntity)
		return
	}
	host, header := request.Host, map[string]string(nil)
	if other, err := os.ReadFile(s.lfsPath(repository, "host")); err == nil {
		host = strings.TrimSpace(string(other))
		pair := base64.StdEncoding.EncodeToString([]byte(s.username + ":" + s.password))
		header = map[string]string{"Authorization": "Basic " + pair}
	}
	scheme := "http"
	if request.TLS != nil {
		scheme = "https"
	}
	for index := range asked.Objects {
		object := &asked.Objects[index]
		if _, err := os.Stat(s.lfsPath(repository, object.Oid)); !lfsName.MatchString(object.Oid) || err != nil {
			object.Error = &lfsError{Code: http.StatusNotFound, Message: "Object does not exist on the server"}
			continue
		}
		object.Actions = map[string]lfsAction{"download": {Href: scheme + "://" + host + repository + lfsMedia + object.Oid, Header: header}}
	}
	writer.Header().Set("Content-Type", lfsType)
	_ = json.NewEncoder(writer).Encode(map[string]any{"transfer": "basic", "objects": asked.Objects})
}
